"""Keeps records in two files that a dnsmasq reads: exact addresses in its hostsdir, all else in its conf-dir."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import ipaddress
import os
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from autogit.errors import (
    MissingError,
    ProviderError,
    RejectedError,
    UnavailableError,
    UnsupportedError,
)
from autogit.model.dns import Capabilities, RecordKey, RecordSet, Zone, normal_name
from autogit.providers.base import HealthStatus, ProviderContext
from autogit.providers.dns import dnsmasq_lines
from autogit.providers.dns.asking import Endpoint, Texts, answered, ask
from autogit.providers.dns.base import DNSConfig, DNSProvider
from autogit.providers.dns.dnsmasq_files import content_of, files, locked, rights, run, store

_OURS = b"# Written by AutoGit, which replaces the whole file: what is changed here by hand is lost."
_MARK = "# mark "
_LONGEST_LINE_BYTES = 1000  # dnsmasq takes what is beyond the 1024th byte for another line
_ADMIN_PATHS = ":/usr/local/sbin:/usr/sbin:/sbin"
_ASK_SECONDS = 1.0
_PAUSE_SECONDS = 0.02

Command = Annotated[str, AfterValidator(lambda text: shlex.join(shlex.split(text)))]
_ADDRESSES = frozenset({"A", "AAAA"})


class DnsmasqConfig(DNSConfig):
    """Where dnsmasq's files are, how it is restarted and where it answers."""

    zones: Texts = Field(
        (), description="Zones that AutoGit keeps records of, separated by commas. Unset: the base domain"
    )
    conf_dir: Path = Field(description="Folder that the main configuration reads as conf-dir=FOLDER,*.conf")
    hosts_dir: Path = Field(description="Folder that the main configuration reads as hostsdir=FOLDER")
    restart_command: Command = Field("", description="Restarts dnsmasq, without a shell (for wildcards, TXT and CAA)")
    test_config: Path | None = Field(None, description="Main configuration, to be tested before a restart (optional)")
    server: Endpoint = Field("127.0.0.1:53", description="Where dnsmasq answers, host:port")
    ttl: int = Field(0, ge=0, le=86400, description="TTL of all records: what the main configuration's local-ttl says")


@dataclass(frozen=True, slots=True)
class _File:
    """One of our two files, how its lines are read and written, and the name that proves which version was read."""

    path: Path
    option: str
    proof: RecordKey
    read: Callable[[str], Mapping[RecordKey, set[str]]]
    lines: Callable[[RecordSet], list[str]]

    def content(self, sets: Mapping[RecordKey, RecordSet]) -> tuple[bytes, str]:
        """Return all of it and its proof: an address of the discard prefix (RFC 6666) that is made of its lines."""
        body = [line for key in sorted(sets) for line in self.marked(sets[key])]
        said = _raw("\n".join(line for line in body if not line.startswith(_MARK)))
        proof = str(ipaddress.IPv6Address(b"\x01" + bytes(7) + hashlib.sha256(said).digest()[:8]))
        proving = self.lines(RecordSet(self.proof, 0, (proof,)))
        return b"\n".join([_OURS, *map(_raw, [*proving, *body, ""])]), proof

    def marked(self, wanted: RecordSet) -> list[str]:
        """Return the lines of a set, its mark before them."""
        return [*([f"{_MARK}{wanted.key} {wanted.mark}"] if wanted.mark else []), *self.lines(wanted)]


@dataclass(frozen=True, slots=True)
class _World:
    """What the files say: ours by file, the proofs in them, others' values with the file that each is in."""

    ours: dict[_File, dict[RecordKey, RecordSet]]
    proofs: dict[_File, str]
    foreign: dict[RecordKey, dict[str, Path]]
    unread: _File | None = None

    def there(self, ttl: int) -> dict[RecordKey, RecordSet]:
        """Return the sets that dnsmasq answers with: what it has not read since it was written is not there."""
        found = {key: one for file, sets in self.ours.items() if file != self.unread for key, one in sets.items()}
        for key, values in self.foreign.items():
            ours = found.get(key, RecordSet(key, ttl, ()))
            places = tuple(sorted({str(path) for path in values.values()}))
            found[key] = replace(ours, values=tuple(sorted({*values, *ours.values})), handles=places)
        return found


class DnsmasqDNS(DNSProvider[DnsmasqConfig]):
    """Records of a dnsmasq on this host.

    Exact A and AAAA names are in a file of its hostsdir, which it reads again by itself; wildcards, TXT and CAA in one
    of its conf-dir, which it reads when it starts. A wildcard answers for all names below, not for the apex; other than
    by RFC 4592 also for names that have other types only. CNAME is left out: its target is looked up among dnsmasq's
    own names only. There is one TTL, the configuration's: every wish is taken for that one, and the capabilities have
    it as least and most. Asking for the address that is made of a file's lines tells whether dnsmasq has read them.
    """

    provider_name: ClassVar[str] = "dnsmasq"
    capabilities: ClassVar[Capabilities] = Capabilities(
        types=frozenset({"A", "AAAA", "CAA", "TXT"}), marks=True, least_ttl=0, one_ttl=True
    )
    Config: ClassVar[type[DNSConfig]] = DnsmasqConfig
    settle_seconds: float = 10.0

    def __init__(self, context: ProviderContext, config: DnsmasqConfig) -> None:
        super().__init__(context, config)
        self._zones = [Zone(name, name, self.private) for name in dict.fromkeys(map(normal_name, config.zones))]
        path, proof = config.conf_dir / "autogit-records.conf", RecordKey("conf.autogit.invalid", "AAAA")
        self._conf = _File(path, "conf-dir={},*.conf", proof, dnsmasq_lines.conf_values, dnsmasq_lines.conf_lines)
        path, proof = config.hosts_dir / "autogit-records", RecordKey("hosts.autogit.invalid", "AAAA")
        self._hosts = _File(path, "hostsdir={}", proof, dnsmasq_lines.hosts_values, dnsmasq_lines.hosts_lines)
        types = self.capabilities.types if config.restart_command else _ADDRESSES
        fitting = replace(self.capabilities, types=types, least_ttl=config.ttl, most_ttl=config.ttl)
        self.capabilities = fitting  # type: ignore[misc] # the configuration says what can be held

    @property
    def private(self) -> bool:
        """It serves the own network; nobody delegates a domain to it."""
        return True

    def fixed_by(self, one: RecordSet) -> str:
        """Others' files are theirs."""
        return f"it is in {', '.join(one.handles)}, which AutoGit does not change" if one.handles else ""

    @property
    def asked_at(self) -> tuple[str, ...]:
        """The server itself."""
        return (self.config.server,)

    async def list_zones(self) -> Sequence[Zone]:
        """Return the zones of the configuration; their names are their ids."""
        return self._zones

    async def list_records(self, zone: Zone, keys: Collection[RecordKey] | None = None) -> Sequence[RecordSet]:
        """Return what our files and the others in both folders say."""
        if zone not in self._zones:
            raise MissingError(f"dnsmasq: DNSMASQ_ZONES has no zone {zone.name}")
        there = (await asyncio.to_thread(self._look)).there(self.config.ttl)
        mine = [key for key in sorted(there) if self.choose_zone(key.name, self._zones) == zone]
        return [there[key] for key in mine if keys is None or key in keys]

    async def create_record(self, zone: Zone, wanted: RecordSet) -> None:
        """Add a set to one of our files."""
        wanted = self._fit(zone, wanted)
        await asyncio.to_thread(self._change, wanted.key, wanted, (None, wanted))

    async def update_record(self, zone: Zone, old: RecordSet, wanted: RecordSet) -> None:
        """Change a set in one of our files."""
        wanted = self._fit(zone, wanted)
        await asyncio.to_thread(self._change, wanted.key, wanted, (old, wanted))

    async def delete_record(self, zone: Zone, old: RecordSet) -> None:
        """Take a set out of one of our files."""
        del zone
        await asyncio.to_thread(self._change, old.key, None, (None, old))

    async def health(self) -> HealthStatus:
        """Look whether both folders can be written to and dnsmasq answers."""
        try:
            self._check_folders()
            await asyncio.to_thread(self._answer, self._hosts.proof)
        except ProviderError as exc:
            return HealthStatus(ok=False, detail=exc.message, fix=exc.hint)
        return await super().health()

    def _file(self, key: RecordKey) -> _File:
        return self._hosts if key.type in _ADDRESSES and not key.name.startswith("*.") else self._conf

    def _fit(self, zone: Zone, wanted: RecordSet) -> RecordSet:
        """Return a wish as it can be held. Raises what is in its way, whatever the files hold."""
        key = wanted.key
        if self.choose_zone(key.name, self._zones) != zone:
            raise RejectedError(f"dnsmasq: {key} is not in the zone {zone.name}")
        wild = key.name.startswith("*.") and key.type not in _ADDRESSES
        if wild or wanted.proxied or key.type not in type(self).capabilities.types:
            hint = "dnsmasq has A, AAAA, CAA and TXT, wildcards of A and AAAA, and no proxy"
            raise UnsupportedError(f"dnsmasq: {key} cannot be held", hint=hint)
        for value in wanted.values if key.type in _ADDRESSES else ():
            if dnsmasq_lines.addresses_of(value) != [(key.type, value)]:
                raise RejectedError(f"dnsmasq: {key} cannot be {value!r}: that is not such an address")
        for line in map(_raw, self._file(key).marked(wanted)):
            if len(line) > _LONGEST_LINE_BYTES or min(line) < ord(" "):
                what = f"control characters or more than {_LONGEST_LINE_BYTES} bytes on a line"
                raise UnsupportedError(f"dnsmasq: {key} has {what}, which dnsmasq cannot read")
        return replace(wanted, ttl=self.config.ttl, handles=())

    def _look(self) -> _World:
        """Read all files; dnsmasq is asked whether it has read our conf file, for a stop may have come before that."""
        world = _World({self._conf: {}, self._hosts: {}}, {}, {})
        places = [(self._conf, path) for path in files(self.config.conf_dir) if path.suffix == ".conf"]
        places += [(self._hosts, path) for path in files(self.config.hosts_dir)]
        places += [(self._conf, self.config.test_config)] if self.config.test_config else []
        for file, path in places:
            content = content_of(path) or b""
            text = content.decode("utf-8", "surrogateescape")
            marks = dict(line[len(_MARK) :].split(" ", 1) for line in text.split("\n") if line.startswith(_MARK))
            for key, values in file.read(text).items():
                if path != file.path or not content.startswith(_OURS):
                    world.foreign.setdefault(key, {}).update(dict.fromkeys(values, path))
                elif key == file.proof:
                    world.proofs[file] = max(values)
                else:
                    ttl, mark = self.config.ttl, marks.get(str(key), "")
                    world.ours[file][key] = RecordSet(key, ttl, tuple(sorted(values)), mark=mark)
        proof = world.proofs.get(self._conf)
        unread = proof and self._answer(self._conf.proof)[0] != [proof]
        return replace(world, unread=self._conf if unread else None)

    def _change(self, key: RecordKey, wanted: RecordSet | None, allowed: tuple[RecordSet | None, RecordSet]) -> None:
        """Have a set be as wanted where it is one of the allowed ones now."""
        self._check_folders()
        with locked(self.config.conf_dir / ".autogit-records.lock"):
            world = self._look()
            there = world.there(self.config.ttl)
            now = there.get(key)
            if not any(_alike(now, one) for one in allowed):
                raise self.changed(key, now)
            alias = RecordKey(key.name, "CNAME")
            if wanted and alias in there:
                raise RejectedError(f"dnsmasq: {key} cannot be beside {alias}: a CNAME stands alone")
            if key not in world.foreign:
                self._put(world, key, wanted)
            elif not _alike(now, wanted):
                places = ", ".join(sorted({str(path) for path in world.foreign[key].values()}))
                raise RejectedError(
                    f"dnsmasq: {key} is in {places}, which AutoGit does not change",
                    hint="change it there, or take it out there and have AutoGit create it",
                )

    def _put(self, world: _World, key: RecordKey, wanted: RecordSet | None) -> None:
        """Write one of our files and have dnsmasq read it; the former one is back where that fails."""
        file = self._file(key)
        rest = {other: one for other, one in world.ours[file].items() if other != key}
        sets = rest | ({key: wanted} if wanted else {})
        if sets == world.ours[file] and file != world.unread:
            return
        content, proof = file.content(sets)
        former = content_of(file.path)
        if former is not None and not former.startswith(_OURS):
            raise RejectedError(f"dnsmasq: {file.path} is not AutoGit's", hint="move that file away")
        restart = file is self._conf and (file == world.unread or proof != world.proofs.get(file))
        if restart:
            self._test(key, content)
        store(file.path, content)
        try:
            if restart:
                self._restart()
            self._wait_for(file, proof)
            if wanted:
                self._check_answer(wanted)
        except ProviderError as exc:
            store(file.path, former) if former else file.path.unlink()
            if restart:
                self._start_again(exc)
            raise

    def _start_again(self, why: ProviderError) -> None:
        try:
            self._restart()
        except ProviderError as exc:
            raise RejectedError(f"{why.message}; nor with the former file: {exc.message}", hint=why.hint) from exc

    def _test(self, key: RecordKey, content: bytes) -> None:
        """Have dnsmasq, where its program is here, look at our lines before it reads them, and at its own ones."""
        if not self.config.restart_command:
            raise UnsupportedError(
                f"dnsmasq: {key} takes a restart of dnsmasq, and nothing says how to do that",
                hint="set DNSMASQ_RESTART_COMMAND, for example to: sudo -n systemctl restart dnsmasq",
            )
        candidate = self.config.conf_dir / ".autogit-records.candidate"
        store(candidate, content)
        program = shutil.which("dnsmasq", path=os.environ.get("PATH", os.defpath) + _ADMIN_PATHS)
        try:
            for config in filter(None, (candidate, self.config.test_config)) if program else ():
                run([str(program), "--test", "-C", str(config)], "dnsmasq --test")
        finally:
            candidate.unlink(missing_ok=True)

    def _restart(self) -> None:
        run(shlex.split(self.config.restart_command), "DNSMASQ_RESTART_COMMAND")

    def _wait_for(self, file: _File, proof: str) -> None:
        limit = time.monotonic() + self.settle_seconds
        while time.monotonic() < limit:
            with suppress(UnavailableError):
                if self._answer(file.proof)[0] == [proof]:
                    return
            time.sleep(_PAUSE_SECONDS)
        self._answer(file.proof)
        raise RejectedError(
            f"dnsmasq: it does not read {file.path}",
            hint=f"have its main configuration say {file.option.format(file.path.parent)}; is it DNSMASQ_SERVER?",
        )

    def _check_answer(self, wanted: RecordSet) -> None:
        """Compare what dnsmasq answers: a lease, /etc/hosts or a line elsewhere may have a say too."""
        values, ttl = self._answer(wanted.key)
        if values != list(wanted.values):
            raise RejectedError(
                f"dnsmasq: {wanted.key} is answered with {', '.join(values) or 'nothing'} once it is written",
                hint="something else names it: /etc/hosts, a DHCP lease, an option of the main configuration",
            )
        if ttl != self.config.ttl:
            raise RejectedError(
                f"dnsmasq: it answers with a TTL of {ttl} seconds, and DNSMASQ_TTL is {self.config.ttl}",
                hint=f"have its main configuration say local-ttl={self.config.ttl}, or set DNSMASQ_TTL={ttl}",
            )

    def _answer(self, key: RecordKey) -> tuple[list[str], int]:
        """Return values and TTL. A refusal is an answer: with no server above it, dnsmasq has its own names only."""
        try:
            answer = ask(self.config.server, key, _ASK_SECONDS)
        except UnavailableError as exc:
            raise UnavailableError(f"dnsmasq: {exc.message}", hint="is it running? DNSMASQ_SERVER says where") from exc
        return answered(answer, key), answer.answer[0].ttl if answer.answer else 0

    def _check_folders(self) -> None:
        for name, folder in (("CONF", self.config.conf_dir), ("HOSTS", self.config.hosts_dir)):
            with rights(folder):
                if not folder.is_dir():
                    raise MissingError(f"dnsmasq: there is no folder {folder}", hint=f"DNSMASQ_{name}_DIR says which")
                if not os.access(folder, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, "no right to write")


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _alike(one: RecordSet | None, other: RecordSet | None) -> bool:
    return replace(one, ttl=0).same_data(replace(other, ttl=0)) if one and other else one is other
