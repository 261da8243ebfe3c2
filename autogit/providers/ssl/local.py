"""The local issuer: certificates signed by AutoGit's own authority, in versioned folders that are never rewritten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from autogit.errors import AutogitError, CertificateError
from autogit.model.host import CertificateFacts
from autogit.model.plan import Action, Change, Outcome
from autogit.model.resource import Resource, Value
from autogit.model.spec import CertificateSpec
from autogit.providers.base import HealthStatus, ProviderContext, Scope
from autogit.providers.ssl.authority import Authority, private_pem, sha256_of, signed_by
from autogit.providers.ssl.base import CertificateProvider
from autogit.providers.ssl.store import AUTHORITIES, CertificateStore, Pair, Stored, dns_names

_RENEW_WHEN_LEFT = 3
"""A certificate is due when one third of its life is left."""


class LocalIssuer(CertificateProvider):
    """Issues `certificate/<base domain>` for the apex and its wildcard."""

    provider_name: ClassVar[str] = "local"

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self.store = CertificateStore(context.paths.certs)

    def root_path(self, base_domain: str) -> Path:
        """Return the file of a domain's root."""
        return self.authority(base_domain).root_file

    def authority(self, base_domain: str) -> Authority:
        """Return a domain's authority; it need not exist yet."""
        return Authority(self.context.paths.local_root(base_domain).parent, base_domain)

    async def health(self) -> HealthStatus:
        """Tell whether every authority in the store can sign."""
        folder = self.context.paths.certs / AUTHORITIES
        for one in sorted(folder.iterdir()) if folder.is_dir() else []:
            try:
                Authority(one, one.name).check()
            except AutogitError as exc:
                return HealthStatus(ok=False, detail=exc.message)
        return HealthStatus(ok=True, detail="the local authority can sign")

    def facts(self, now: datetime) -> Mapping[str, CertificateFacts]:
        """Return the newest version of each certificate and why it is due, if it is."""
        found = ((name, self._newest(name)) for name in self.store.names())
        return {name: self._facts(stored, now) for name, stored in found if stored}

    def _facts(self, stored: Stored, now: datetime) -> CertificateFacts:
        own = stored.issuer == self.provider_name
        moved = "" if own else f"issuer {stored.issuer} -> {self.provider_name}"
        if not own and stored.leaf is None:
            return CertificateFacts(version=stored.version, due=moved, issuer=stored.issuer)
        if stored.leaf is None or (own and stored.damage):
            return CertificateFacts(version=stored.version, due=f"damaged: {stored.damage}")
        leaf = stored.leaf
        renew_at = _renew_at(leaf)
        life, left = leaf.not_valid_after_utc - leaf.not_valid_before_utc, leaf.not_valid_after_utc - now
        due = f"{max(left.days, 0)} of {life.days} days left" if now >= renew_at else ""
        return CertificateFacts(
            version=stored.version,
            due=moved or due,
            names=dns_names(leaf),
            renew_at=renew_at.isoformat(),
            not_after=leaf.not_valid_after_utc.isoformat(),
            serial=f"{leaf.serial_number:x}",
            issuer=stored.issuer,
        )

    async def observe(self, scope: Scope) -> Sequence[Resource]:
        """Return the newest version of each certificate that is wished for or recorded."""
        addresses = sorted({*scope.desired, *scope.owned})
        seen: list[Resource] = []
        for address in addresses:
            stored = self._newest(address.name)
            if stored is None:
                continue
            attributes: dict[str, Value] = {"version": stored.version}
            if stored.leaf is not None and not stored.damage:
                attributes |= self._attributes(address.name, stored.leaf)
            seen.append(Resource(address, attributes))
        return seen

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Issue each certificate into its new version's folder; a delete leaves the files where they are."""
        for change in changes:
            try:
                attributes = await self._carry_out(change)
            except AutogitError as exc:
                yield Outcome(change.address, change.action, ok=False, error=exc)
            else:
                yield Outcome(change.address, change.action, ok=True, attributes=attributes)

    async def _carry_out(self, change: Change) -> dict[str, Value]:
        if change.action is Action.DELETE or change.after is None:
            return {}
        wish: CertificateSpec = change.after.payload
        stored = self._read(wish.name, wish.version)
        if stored.leaf is None or stored.damage:
            await self.issue(change, wish)
            stored = self._read(wish.name, wish.version)
        if stored.leaf is None or stored.damage:
            raise CertificateError(f"local: the new certificate of {wish.name} cannot be used: {stored.damage}")
        await asyncio.to_thread(self.put_live, wish.name, wish.version)
        return {**change.after.attributes, **self._attributes(wish.name, stored.leaf)}

    async def issue(self, change: Change, wish: CertificateSpec) -> str:
        """Sign one here. Raises CertificateError where the authority is damaged."""
        del change
        await asyncio.to_thread(self._issue, wish)
        return ""

    def _issue(self, wish: CertificateSpec) -> None:
        now = self.context.clock()
        leaf, root, key = self.authority(wish.name).issue(wish.names, wish.lifetime_days, now)
        meta = {"names": wish.names, "serial": f"{leaf.serial_number:x}", "root_sha256": sha256_of(root)}
        chain = leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM)
        self.store.write(wish.name, wish.version, Pair(chain, private_pem(key), meta), now)

    def _attributes(self, name: str, leaf: x509.Certificate) -> dict[str, Value]:
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        root = self.authority(name).load_root()
        return {
            "issuer": self.provider_name,
            "names": dns_names(leaf),
            "key_type": "P-256",
            "lifetime_days": life.days,
            "serial": f"{leaf.serial_number:x}",
            "not_after": leaf.not_valid_after_utc.isoformat(),
            "root_sha256": sha256_of(root) if root else "",
        }

    def _newest(self, name: str) -> Stored | None:
        versions = self.store.versions(name)
        return self._read(name, versions[-1]) if versions else None

    def _read(self, name: str, version: int) -> Stored:
        stored = self.store.read(name, version)
        root = self.authority(name).load_root()
        if stored.leaf is None or stored.damage or (root is not None and signed_by(stored.leaf, root)):
            return stored
        return replace(stored, damage="it is not signed by the present root")


def _renew_at(leaf: x509.Certificate) -> datetime:
    life: timedelta = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    return leaf.not_valid_after_utc - life / _RENEW_WHEN_LEFT
