"""What Traefik orders by itself (CERT_MANAGER=traefik): its file of certificates is made and looked at, no more."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import stat
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from autogit.errors import AutogitError, StorageFullError, UnsupportedError
from autogit.model.host import CertificateFacts
from autogit.model.plan import Action, Change, Outcome
from autogit.model.resource import Resource
from autogit.model.spec import CertificateSpec
from autogit.providers.base import HealthStatus, ProviderContext, Scope
from autogit.providers.host.atomic import write_atomic
from autogit.providers.ssl.base import CertificateProvider
from autogit.providers.ssl.store import CertificateStore, dns_names

RESOLVER = "letsencrypt"
_MODE = 0o600
_CHAIN_END = b"-----END CERTIFICATE-----"


class TraefikIssuer(CertificateProvider):
    """Keeps `acme_storage/<authority>`: the file is its owner's alone, and it is never deleted.

    `facts` are of what lies in it; `version` is that of the former certificate of AutoGit's that may be served still.
    """

    provider_name: ClassVar[str] = "traefik"
    kinds: ClassVar[tuple[str, ...]] = ("acme_storage",)

    def __init__(self, context: ProviderContext, storage: Path, domain: str, issuer: str) -> None:
        super().__init__(context)
        self.storage = storage
        self.domain = domain
        self.authority = issuer

    @property
    def issuer(self) -> str:
        """The authority's name."""
        return self.authority

    async def health(self) -> HealthStatus:
        """Tell whether Traefik would take its file at its next start."""
        problem = self.problem()
        return HealthStatus(
            ok=not problem, detail=problem or "Traefik's file of certificates is its owner's alone", fix="autogit up"
        )

    def problem(self) -> str:
        """Return what Traefik has against its file, "" for nothing. A file that is not there it makes itself."""
        try:
            mode = stat.S_IMODE(self.storage.stat().st_mode)
        except OSError:
            return ""
        if not mode & 0o077:
            return ""
        return (
            f"{self.storage} has mode {mode:04o}, others can read its keys: Traefik starts without its resolver then, "
            "and orders and renews nothing"
        )

    def facts(self, now: datetime) -> Mapping[str, CertificateFacts]:
        """Return what Traefik has for the domain that is good now; of several the one that ends first."""
        held = sorted(self._good(now), key=lambda chain: chain[0].not_valid_after_utc)
        former = self._former(now)
        if not held:
            nothing = "Traefik has no certificate yet"
            return {self.domain: CertificateFacts(former, due=nothing, renew_at=now.isoformat())}
        leaf = held[0][0]
        ends = leaf.not_valid_after_utc.isoformat()
        return {
            self.domain: CertificateFacts(
                version=former,
                due="",
                names=tuple(sorted({name for chain in held for name in dns_names(chain[0])})),
                renew_at=ends,
                not_after=ends,
                serial=f"{leaf.serial_number:x}",
                issuer=self.authority,
            )
        }

    def serials(self, now: datetime) -> frozenset[str]:
        """Return the serials (hex) of all certificates that Traefik has and that are good now."""
        return frozenset(f"{chain[0].serial_number:x}" for chain in self._good(now))

    def root_path(self, base_domain: str) -> Path:
        """Return the file of what signed what is served: copied from Traefik's own, else that of the former one."""
        file, now = self.context.paths.certs / "traefik" / base_domain / "issuer.pem", self.context.clock()
        text = b"".join(dict.fromkeys(chain[-1].public_bytes(Encoding.PEM) for chain in self._good(now)))
        if text and not (file.is_file() and file.read_bytes() == text):
            with suppress(StorageFullError):  # who may only look (the API's container) has the copy of the last `up`
                write_atomic(file, text, 0o644)
        former = 0 if text else self._former(now)
        return CertificateStore(self.context.paths.certs).folder(base_domain, former) / "issuer.pem" if former else file

    def _good(self, now: datetime) -> Iterator[tuple[x509.Certificate, ...]]:
        for chain in self._chains():
            of_domain = any(name == self.domain or name.endswith(f".{self.domain}") for name in dns_names(chain[0]))
            if of_domain and chain[0].not_valid_before_utc <= now < chain[0].not_valid_after_utc:
                yield chain

    def _chains(self) -> Iterator[tuple[x509.Certificate, ...]]:
        """Yield each chain; of a file that Traefik is just writing, or that is none of its, there are none."""
        try:
            known = json.loads(self.storage.read_text(encoding="utf-8") or "{}")
            rows = (known.get(RESOLVER) or {}).get("Certificates") or ()
            texts = [base64.b64decode(row["certificate"]) for row in rows]
            chains = [tuple(x509.load_pem_x509_certificates(text)) for text in texts if _CHAIN_END in text]
        except (OSError, ValueError, AttributeError, KeyError, TypeError, binascii.Error):
            return
        yield from chains

    def _former(self, now: datetime) -> int:
        """Return the version of AutoGit's own certificate of the domain that is good still, 0 for none."""
        stored = CertificateStore(self.context.paths.certs).newest(self.domain)
        if stored is None or stored.leaf is None or stored.damage or stored.leaf.not_valid_after_utc <= now:
            return 0
        return stored.version

    async def observe(self, scope: Scope) -> Sequence[Resource]:
        """Return the file with its mode."""
        seen = []
        for address, wish in scope.desired.items():
            try:
                mode = stat.S_IMODE(Path(wish.payload).stat().st_mode)
            except OSError:
                continue
            seen.append(Resource(address, {"mode": f"{mode:04o}"}))
        return seen

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Make the file, empty, or take away what others may do with it; a delete leaves it where it is."""
        for change in changes:
            try:
                await asyncio.to_thread(self._carry_out, change)
            except AutogitError as exc:
                yield Outcome(change.address, change.action, ok=False, error=exc)
            else:
                attributes = dict(change.after.attributes) if change.after else {}
                yield Outcome(change.address, change.action, ok=True, attributes=attributes)

    def _carry_out(self, change: Change) -> None:
        if change.action is Action.DELETE or change.after is None:
            return
        file = Path(change.after.payload)
        if not file.exists():
            write_atomic(file, b"", _MODE)
            # Traefik's container is given the store of certificates, for the former one: it must be there, be it empty.
            self.context.paths.certs.mkdir(mode=0o700, exist_ok=True)
            return
        try:
            file.chmod(_MODE)
        except OSError as exc:
            raise StorageFullError(f"cannot change {file}: {exc.strerror}", hint=f"mend it: chmod 600 {file}") from exc

    async def issue(self, change: Change, wish: CertificateSpec) -> str:
        """Issue nothing: Traefik does."""
        raise UnsupportedError(f"{change.address}: Traefik orders {wish.name} itself", hint="set CERT_MANAGER=autogit")
