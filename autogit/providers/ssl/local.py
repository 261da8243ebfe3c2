"""The local issuer: certificates signed by AutoGit's own authority, in versioned folders that are never rewritten."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import stat
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from autogit.errors import AutogitError, CertificateError, StorageFullError
from autogit.model.host import CertificateFacts
from autogit.model.plan import Action, Change, Outcome
from autogit.model.resource import Resource, Value
from autogit.model.spec import CertificateSpec
from autogit.providers.base import HealthStatus, Scope
from autogit.providers.host.atomic import write_atomic
from autogit.providers.ssl.authority import Authority, matches_key, private_pem, sha256_of, signed_by
from autogit.providers.ssl.base import CertificateProvider

_AUTHORITIES = "local-ca"
_VERSIONS_KEPT = 3
_RENEW_WHEN_LEFT = 3
"""A certificate is due when one third of its life is left."""


@dataclass(frozen=True)
class _Stored:
    """One version as found on disk; `damage` says what is wrong with it ("" for nothing)."""

    version: int
    leaf: x509.Certificate | None = None
    damage: str = ""


class LocalIssuer(CertificateProvider):
    """Issues `certificate/<base domain>` for the apex and its wildcard."""

    provider_name: ClassVar[str] = "local"

    def root_path(self, base_domain: str) -> Path:
        """Return the file of a domain's root."""
        return self.authority(base_domain).root_file

    def authority(self, base_domain: str) -> Authority:
        """Return a domain's authority; it need not exist yet."""
        return Authority(self.context.paths.local_root(base_domain).parent, base_domain)

    async def health(self) -> HealthStatus:
        """Tell whether every authority in the store can sign."""
        folder = self.context.paths.certs / _AUTHORITIES
        for one in sorted(folder.iterdir()) if folder.is_dir() else []:
            try:
                Authority(one, one.name).check()
            except AutogitError as exc:
                return HealthStatus(ok=False, detail=exc.message)
        return HealthStatus(ok=True, detail="the local authority can sign")

    def facts(self, now: datetime) -> Mapping[str, CertificateFacts]:
        """Return the newest version of each certificate and why it is due, if it is."""
        folder = self.context.paths.certs
        names = sorted(p.name for p in folder.iterdir() if p.name != _AUTHORITIES) if folder.is_dir() else []
        return {name: self._facts(name, now) for name in names if self._versions(name)}

    def _facts(self, name: str, now: datetime) -> CertificateFacts:
        stored = self._read(name, self._versions(name)[-1])
        if stored.leaf is None or stored.damage:
            return CertificateFacts(version=stored.version, due=f"damaged: {stored.damage}")
        leaf = stored.leaf
        renew_at = _renew_at(leaf)
        life, left = leaf.not_valid_after_utc - leaf.not_valid_before_utc, leaf.not_valid_after_utc - now
        due = f"{max(left.days, 0)} of {life.days} days left" if now >= renew_at else ""
        return CertificateFacts(
            version=stored.version,
            due=due,
            names=_names(leaf),
            renew_at=renew_at.isoformat(),
            not_after=leaf.not_valid_after_utc.isoformat(),
            serial=f"{leaf.serial_number:x}",
        )

    async def observe(self, scope: Scope) -> Sequence[Resource]:
        """Return the newest version of each certificate that is wished for or recorded."""
        addresses = sorted({*scope.desired, *scope.owned})
        seen: list[Resource] = []
        for address in addresses:
            versions = self._versions(address.name)
            if not versions:
                continue
            stored = self._read(address.name, versions[-1])
            attributes: dict[str, Value] = {"version": stored.version}
            if stored.leaf is not None and not stored.damage:
                attributes |= self._attributes(address.name, stored.leaf)
            seen.append(Resource(address, attributes))
        return seen

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Issue each certificate into its new version's folder; a delete leaves the files where they are."""
        for change in changes:
            try:
                attributes = await asyncio.to_thread(self._carry_out, change)
            except AutogitError as exc:
                yield Outcome(change.address, change.action, ok=False, error=exc)
            else:
                yield Outcome(change.address, change.action, ok=True, attributes=attributes)

    def _carry_out(self, change: Change) -> dict[str, Value]:
        if change.action is Action.DELETE or change.after is None:
            return {}
        wish: CertificateSpec = change.after.payload
        stored = self._read(wish.name, wish.version)
        if stored.leaf is None or stored.damage:
            self._issue(wish)
            stored = self._read(wish.name, wish.version)
        if stored.leaf is None or stored.damage:
            raise CertificateError(f"local: the new certificate of {wish.name} cannot be used: {stored.damage}")
        self._tidy(wish)
        return {**change.after.attributes, **self._attributes(wish.name, stored.leaf)}

    def _issue(self, wish: CertificateSpec) -> None:
        """Write pair and facts beside the final place, then move the whole folder there at once."""
        now = self.context.clock()
        leaf, root, key = self.authority(wish.name).issue(wish.names, wish.lifetime_days, now)
        final = Path(wish.fullchain).parent
        fresh = final.with_name(f".{final.name}.new")
        try:
            shutil.rmtree(fresh, ignore_errors=True)
            facts = {"names": wish.names, "serial": f"{leaf.serial_number:x}", "root_sha256": sha256_of(root)}
            chain = leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM)
            write_atomic(fresh / "key.pem", private_pem(key), 0o600)
            write_atomic(fresh / "fullchain.pem", chain, 0o644)
            write_atomic(fresh / "meta.json", json.dumps(facts, indent=1).encode(), 0o644)
            if final.exists():  # a damaged pair of this number that nothing names any more
                final.rename(final.with_name(f"{final.name}.damaged-{int(now.timestamp())}"))
            fresh.rename(final)
        except OSError as exc:
            raise StorageFullError(f"cannot write {final}: {exc.strerror}", hint="free space, then autogit up") from exc

    def _tidy(self, wish: CertificateSpec) -> None:
        """Point `live` at the new version and remove all but the newest three."""
        folder = Path(wish.fullchain).parent.parent
        fresh = folder / ".live.new"
        try:
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(f"v{wish.version}")
            fresh.replace(folder / "live")
            for version in self._versions(wish.name)[:-_VERSIONS_KEPT]:
                shutil.rmtree(folder / f"v{version}")
        except OSError as exc:
            raise StorageFullError(
                f"cannot write {folder}: {exc.strerror}", hint="free space, then autogit up"
            ) from exc

    def _attributes(self, name: str, leaf: x509.Certificate) -> dict[str, Value]:
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        root = self.authority(name).load_root()
        return {
            "issuer": self.provider_name,
            "names": _names(leaf),
            "key_type": "P-256",
            "lifetime_days": life.days,
            "serial": f"{leaf.serial_number:x}",
            "not_after": leaf.not_valid_after_utc.isoformat(),
            "root_sha256": sha256_of(root) if root else "",
        }

    def _versions(self, name: str) -> list[int]:
        folder = self.context.paths.certs / name
        found = (re.fullmatch(r"v([1-9]\d*)", p.name) for p in folder.iterdir()) if folder.is_dir() else ()
        return sorted(int(match[1]) for match in found if match)

    def _read(self, name: str, version: int) -> _Stored:
        folder = self.context.paths.certs / name / f"v{version}"
        try:
            chain = x509.load_pem_x509_certificates((folder / "fullchain.pem").read_bytes())
            key_pem = (folder / "key.pem").read_bytes()
            mode = stat.S_IMODE((folder / "key.pem").stat().st_mode)
        except FileNotFoundError as exc:
            return _Stored(version, damage=f"{Path(str(exc.filename)).name} is missing")
        except (OSError, ValueError):
            return _Stored(version, damage="the certificate cannot be read")
        leaf = chain[0]
        root = self.authority(name).load_root()
        if not matches_key(leaf, key_pem):
            return _Stored(version, leaf, "key and certificate do not belong together")
        if mode & 0o077:
            return _Stored(version, leaf, "others can read its private key")
        if root is None or not signed_by(leaf, root):
            return _Stored(version, leaf, "it is not signed by the present root")
        return _Stored(version, leaf)


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    """Return the DNS names in the order a wish has them: apex, then wildcard."""
    alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return tuple(sorted(alternatives.get_values_for_type(x509.DNSName), key=lambda name: (name.startswith("*"), name)))


def _renew_at(leaf: x509.Certificate) -> datetime:
    life: timedelta = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    return leaf.not_valid_after_utc - life / _RENEW_WHEN_LEFT
