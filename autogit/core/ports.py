"""Host ports: an explicit setting, else what the lockfile remembers, else the preferred one, else the pool; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from autogit.core.certificates import answers_challenges
from autogit.errors import Fault, PortTakenError
from autogit.model.host import HostFacts
from autogit.model.lockfile import Lockfile
from autogit.model.plan import Note
from autogit.model.service import PortDescriptor, ServiceDescriptor
from autogit.model.settings import Settings

_OTHER_PORT = "end that process, or name another port in .env"


def allocate_ports(
    descriptors: Sequence[ServiceDescriptor], settings: Settings, facts: HostFacts, lockfile: Lockfile
) -> tuple[dict[str, int], list[Note]]:
    """Return `service/port name` -> host port for every port that needs one, and what a reader should know.

    As processes of the host services need one for each of their ports, as containers for the published ones only, and
    in both for those that AutoGit listens on itself, while it has to.

    Raises PortTakenError with every wanted port that another process holds.
    """
    return _Allocation(settings, facts, lockfile).run(descriptors)


def port_keys(service: str, name: str, port: PortDescriptor) -> tuple[str, ...]:
    """Return the `.env` keys that fix a port, the most specific first."""
    prefix = "PORT_" + service.upper().replace("-", "_")
    keys = (port.setting,) if port.setting else ()
    return (*keys, f"{prefix}_{name.upper().replace('-', '_')}", *((prefix,) if name == "http" else ()))


class _Allocation:
    """One pass over all ports: explicit ones first, so that no other choice takes them away."""

    def __init__(self, settings: Settings, facts: HostFacts, lockfile: Lockfile) -> None:
        self.settings = settings
        self.facts = facts
        self.remembered = lockfile.ports
        self.ports: dict[str, int] = {}
        self.reserved: dict[int, str] = {}  # in its container the ingress listens on the host's numbers and on its own
        self.faults: list[Fault] = []
        self.notes: list[Note] = []

    def run(self, descriptors: Sequence[ServiceDescriptor]) -> tuple[dict[str, int], list[Note]]:
        on_host = self.settings.runtime == "embedded"
        if not on_host:
            self.reserved = {
                port.internal: f"{d.service}'s own port for {name}"
                for d in descriptors
                if d.role == "ingress"
                for name, port in d.ports.items()
                if not (port.published or port.on_host)
            }
        has_challenges = answers_challenges(self.settings)
        wanted = {
            f"{d.service}/{n}": (d.service, n, p)
            for d in descriptors
            for n, p in d.ports.items()
            if (has_challenges if p.on_host else on_host or p.published or p.via_ingress)
        }
        for address, (service, name, port) in wanted.items():
            for key in port_keys(service, name, port):
                number = self._explicit(key)
                if number is not None:
                    self._claim_explicit(address, key, number)
                    break
        for address in wanted:
            if address not in self.ports:
                self._remember(address)
        for address, (_, _, port) in wanted.items():
            if address not in self.ports:
                self.ports[address] = self._choose(address, port)
        if self.faults:
            raise PortTakenError(
                "a wanted port is in use" if len(self.faults) == 1 else f"{len(self.faults)} wanted ports are in use",
                faults=self.faults,
                hint=f"end that process, or choose another port: {next(self._free(), 'none of PORT_POOL')} is free",
            )
        return dict(sorted(self.ports.items())), self.notes

    def _explicit(self, key: str) -> int | None:
        if key == "HTTP_PORT":
            return self.settings.http_port
        if key == "HTTPS_PORT":
            return self.settings.https_port
        return self.settings.port_overrides.get(key)

    def _claim_explicit(self, address: str, key: str, number: int) -> None:
        if number in self.facts.busy_ports:
            holder = self.facts.busy_ports[number] or "another process"
            self.faults.append(Fault(self.settings.source_of(key), f"{key}={number}", f"is in use by {holder}"))
        elif number in self.reserved:
            self.faults.append(Fault(self.settings.source_of(key), f"{key}={number}", f"is {self.reserved[number]}"))
        self.ports[address] = number

    def _remember(self, address: str) -> None:
        number = self.remembered.get(address)
        if number is None or number in self.ports.values():
            return
        if number in self.facts.busy_ports:
            holder = self.facts.busy_ports[number] or "another process"
            self.notes.append(
                Note("warning", address, f"port {number} is now held by {holder}: another one is taken", _OTHER_PORT)
            )
            return
        self.ports[address] = number

    def _choose(self, address: str, port: PortDescriptor) -> int:
        preferred = port.embedded_preferred if self.settings.runtime == "embedded" else port.preferred
        if preferred and self._is_free(preferred):
            return preferred
        if preferred and self.settings.port_allocation == "explicit":
            holder = self.facts.busy_ports.get(preferred) or "another service"
            self.faults.append(Fault("PORT_ALLOCATION=explicit", f"{address}={preferred}", f"is in use by {holder}"))
            return preferred
        number = next(self._free(), None)
        if number is None:
            low, high = self.settings.port_range
            self.faults.append(
                Fault(self.settings.source_of("PORT_POOL"), "PORT_POOL", f"{low}-{high} has no free port")
            )
            return 0
        if preferred and (port.published or port.via_ingress):
            holder = self.facts.busy_ports.get(preferred) or "another service of this platform"
            message = f"port {preferred} is in use by {holder}: {number} is taken"
            self.notes.append(Note("warning", address, message, _OTHER_PORT))
        return number

    def _free(self) -> Iterator[int]:
        low, high = self.settings.port_range
        return (number for number in range(low, high + 1) if self._is_free(number))

    def _is_free(self, number: int) -> bool:
        taken: Mapping[str, int] = self.ports
        return number not in self.facts.busy_ports and number not in taken.values() and number not in self.reserved
