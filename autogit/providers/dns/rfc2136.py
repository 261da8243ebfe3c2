"""Keeps records in the zones of a primary server (BIND 9, Knot, PowerDNS) by signed dynamic updates, RFC 2136."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, SecretStr

from autogit.errors import (
    AutogitError,
    MissingError,
    ProviderError,
    RejectedError,
    UnavailableError,
    UnsupportedError,
)
from autogit.model.dns import Capabilities, RecordKey, RecordSet, Zone, normal_name, record_set
from autogit.providers.base import HealthStatus
from autogit.providers.dns.asking import Endpoint, Texts
from autogit.providers.dns.base import DNSConfig, DNSProvider

if TYPE_CHECKING:
    from autogit.providers.dns.rfc2136_wire import Found, Server, Session

_ALIAS = "CNAME"
_PAUSE_SECONDS = 0.05
_MOST_LOOKUPS = 10  # for more sets than these the whole zone is read, at once


def _normal(text: str) -> str:
    try:
        return normal_name(text)
    except RejectedError as exc:
        raise ValueError(exc.message) from None


def _all_normal(texts: tuple[str, ...]) -> tuple[str, ...]:
    if not texts:
        raise ValueError("must name at least one zone")
    return tuple(dict.fromkeys(map(_normal, texts)))


def _base64(secret: SecretStr) -> SecretStr:
    """Check that a secret is base64. What is wrong with it is not said: that may be a part of it."""
    text = "".join(secret.get_secret_value().split())
    try:
        fits = bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        fits = False
    if not fits:
        raise ValueError("must be base64: what stands between the quotes after `secret` in the key's statement")
    return SecretStr(text)


class Rfc2136Config(DNSConfig):
    """Which server, with which key, and the zones kept there."""

    model_config = ConfigDict(hide_input_in_errors=True)

    server: Endpoint = Field(description="The zones' primary server, host or host:port, asked over TCP")
    zones: Annotated[Texts, AfterValidator(_all_normal)] = Field(
        (), description="Zones kept at that server, separated by commas. Unset: the base domain"
    )
    key_name: Annotated[str, AfterValidator(_normal)] = Field(description="Name of the TSIG key")
    key_secret: Annotated[SecretStr, AfterValidator(_base64)] = Field(description="Secret of the TSIG key, in base64")
    key_algorithm: Literal["hmac-sha256", "hmac-sha224", "hmac-sha384", "hmac-sha512"] = Field(
        "hmac-sha256", description="Algorithm of the TSIG key"
    )
    private: bool = Field(False, description="Whether only the own network sees these zones")
    timeout_seconds: int = Field(10, ge=1, le=120, description="Seconds that an answer may take")


class Rfc2136DNS(DNSProvider[Rfc2136Config]):
    """Zones of one primary server. A write is one update whose prerequisites are the set as it was read.

    A server that does not transfer the zone to the key is asked name by name; the instance's capabilities say then that
    nothing lists the zone. Prerequisites compare no TTL: a set of which only that was changed is found by reading it
    right before, and someone else may come in between.
    """

    provider_name: ClassVar[str] = "rfc2136"
    capabilities: ClassVar[Capabilities] = Capabilities(
        types=frozenset({"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TXT"}), least_ttl=0
    )
    Config: ClassVar[type[DNSConfig]] = Rfc2136Config
    settle_seconds: float = 5.0
    """How long a read may lag behind a write: a moment where BIND signs inline, or a secondary hands updates on."""

    @property
    def asked_at(self) -> tuple[str, ...]:
        """The server itself."""
        return (self.config.server,)

    async def list_zones(self) -> Sequence[Zone]:
        """Return the zones of the configuration; their names are their ids. Nobody is asked."""
        return [Zone(name, name, self.private) for name in self.config.zones]

    async def list_records(self, zone: Zone, keys: Collection[RecordKey] | None = None) -> Sequence[RecordSet]:
        """Return the sets, by a transfer of the zone; few are asked for by name, and all where it is not transferred.

        Where it is not, nothing is returned without keys.
        """
        return await asyncio.to_thread(self._list, zone, keys)

    async def create_record(self, zone: Zone, wanted: RecordSet) -> None:
        """Add a set, on the condition that there is none and no CNAME in the way."""
        await asyncio.to_thread(self._create, zone, wanted)

    async def update_record(self, zone: Zone, old: RecordSet, wanted: RecordSet) -> None:
        """Put a set in the old one's place, on the condition that it has the old values."""
        await asyncio.to_thread(self._update, zone, old, wanted)

    async def delete_record(self, zone: Zone, old: RecordSet) -> None:
        """Delete a set, on the condition that it has the old values."""
        await asyncio.to_thread(self._delete, zone, old)

    async def add_txt(self, zone: Zone, name: str, value: str, ttl: int) -> None:
        """Add this value alone: what others add to the set at the same moment stays."""
        async with self.lock(zone):
            await asyncio.to_thread(self._add_txt, zone, record_set(name, "TXT", ttl, [value]))

    async def remove_txt(self, zone: Zone, name: str, value: str) -> None:
        """Take this value alone out; it need not be there."""
        async with self.lock(zone):
            await asyncio.to_thread(self._remove_txt, zone, record_set(name, "TXT", 0, [value]))

    async def health(self) -> HealthStatus:
        """Send each zone an update of nothing: that takes the key, and the primary. What it may change is not seen."""
        try:
            for zone in await self.list_zones():
                await asyncio.to_thread(self._check, zone)
        except ProviderError as exc:
            return HealthStatus(ok=False, detail=exc.message, fix=exc.hint)
        return await super().health()

    def _list(self, zone: Zone, keys: Collection[RecordKey] | None) -> list[RecordSet]:
        if keys is not None and not keys:
            return []
        by_name = keys is not None and len(set(keys)) <= _MOST_LOOKUPS
        with self._session(zone) as session:
            found = None if by_name else self._transferred(session)
            if found is None:
                session.check()
                looks = map(session.find, sorted(set(keys or ())))
                found = [one for one in looks if one]
        return sorted((one.record for one in found if keys is None or one.record.key in keys), key=lambda one: one.key)

    def _transferred(self, session: Session) -> list[Found] | None:
        """Return the whole zone, None where the server does not give it; note which."""
        from autogit.providers.dns.rfc2136_wire import TransferRefusedError  # noqa: PLC0415 - brings dnspython, slow

        try:
            found = session.transfer()
        except TransferRefusedError:
            found = None
        fitting = replace(self.capabilities, lists=found is not None)
        self.capabilities = fitting  # type: ignore[misc] # the server says whether it lists
        return found

    def _check(self, zone: Zone) -> None:
        with self._session(zone) as session:
            session.check()

    def _create(self, zone: Zone, wanted: RecordSet) -> None:
        new = self._fitted(wanted)
        with self._session(zone) as session:
            done = session.create(new)
            now = self._after(session, wanted.key, lambda now: _is(now, new.record), done=done)
            if _is(now, new.record):
                return
            if now is not None:
                raise self.changed(wanted.key, now.record)
            raise _ignored(wanted.key) if done else self._in_the_way(session, new)

    def _update(self, zone: Zone, old: RecordSet, wanted: RecordSet) -> None:
        new = self._fitted(wanted)
        with self._session(zone) as session:
            before = session.find(wanted.key)
            if _is(before, new.record):
                return
            if before is None or not before.record.same_data(old):
                raise self.changed(wanted.key, _record(before))
            done = session.replace(before, new)
            now = self._after(session, wanted.key, lambda now: _is(now, new.record), done=done)
            if not _is(now, new.record):
                raise self._not_done(wanted.key, old, now, done=done)

    def _delete(self, zone: Zone, old: RecordSet) -> None:
        with self._session(zone) as session:
            before = session.find(old.key)
            if before is None:
                return
            if not before.record.same_data(old):
                raise self.changed(old.key, before.record)
            done = session.remove(before)
            now = self._after(session, old.key, lambda now: now is None, done=done)
            if now is not None:
                raise self._not_done(old.key, old, now, done=done)

    def _add_txt(self, zone: Zone, added: RecordSet) -> None:
        value = added.values[0]
        with self._session(zone) as session:
            before = session.find(added.key)
            if _has(before, value):
                return
            # A value with another TTL would change that of the whole set (RFC 2181 section 5.2).
            ttl = before.record.ttl if before else added.ttl
            new = self._fitted(replace(added, ttl=ttl))
            done = session.add_value(new)
            now = self._after(session, added.key, lambda now: _has(now, value), done=done)
            if not _has(now, value):
                raise _ignored(added.key) if done else self._in_the_way(session, new)

    def _remove_txt(self, zone: Zone, removed: RecordSet) -> None:
        from autogit.providers.dns.presentation import value_of  # noqa: PLC0415 - beside the import of dnspython

        with self._session(zone) as session:
            before = session.find(removed.key)
            datas = [data for data in (before.rdataset if before else ()) if value_of(data, "TXT") in removed.values]
            if not datas:
                return
            session.remove_values(removed.key, datas)
            value = removed.values[0]
            if _has(self._after(session, removed.key, lambda now: not _has(now, value), done=True), value):
                raise _ignored(removed.key)

    def _after(
        self, session: Session, key: RecordKey, fits: Callable[[Found | None], bool], *, done: bool
    ) -> Found | None:
        """Return a set as it is after an update; where that was done, as soon as it fits."""
        deadline = time.monotonic() + self.settle_seconds
        while True:
            now = session.find(key)
            if not done or fits(now) or time.monotonic() >= deadline:
                return now
            time.sleep(_PAUSE_SECONDS)

    def _not_done(self, key: RecordKey, old: RecordSet, now: Found | None, *, done: bool) -> AutogitError:
        """Return the error for a set that is not as it should be after an update."""
        if not _is(now, old):
            return self.changed(key, _record(now))
        return _ignored(key) if done else _unsteady(key)

    def _in_the_way(self, session: Session, new: Found) -> AutogitError:
        """Return the error for a set that there was no place for."""
        key = new.record.key
        if session.has_place(new):
            return _unsteady(key)
        there = [kind for kind in session.types_at(key.name) if _ALIAS in {kind, key.type}]
        return RejectedError(
            f"rfc2136: {key} cannot be beside {' and '.join(there) or 'other data'} there: a CNAME stands alone",
            hint="remove the other records of that name, or choose another name",
        )

    def _fitted(self, wanted: RecordSet) -> Found:
        from autogit.providers.dns.rfc2136_wire import fitted  # noqa: PLC0415 - brings dnspython, slow

        if wanted.proxied:
            raise UnsupportedError(f"rfc2136: {wanted.key} cannot be proxied: there is nothing to tell that to")
        if wanted.key.type not in self.capabilities.types:
            raise UnsupportedError(f"rfc2136: {wanted.key} is of a type that is not written")
        return fitted(wanted)

    def _session(self, zone: Zone) -> AbstractContextManager[Session]:
        from autogit.providers.dns.rfc2136_wire import connected  # noqa: PLC0415 - brings dnspython, slow

        if zone.name not in self.config.zones:
            raise MissingError(f"rfc2136: RFC2136_ZONES has no zone {zone.name}")
        return connected(self._server(), zone.name)

    def _server(self) -> Server:
        from autogit.providers.dns.rfc2136_wire import server  # noqa: PLC0415 - brings dnspython, slow

        config = self.config
        secret = base64.b64decode(config.key_secret.get_secret_value())
        return server(config.server, config.key_name, secret, config.key_algorithm, config.timeout_seconds)


def _record(found: Found | None) -> RecordSet | None:
    return found.record if found else None


def _is(now: Found | None, wanted: RecordSet) -> bool:
    return now is not None and now.record.same_data(wanted)


def _has(now: Found | None, value: str) -> bool:
    return now is not None and value in now.record.values


def _ignored(key: RecordKey) -> RejectedError:
    return RejectedError(
        f"rfc2136: the server took the update of {key} and does not show it",
        hint="a CNAME beside other data and the last NS of a zone are ignored without a word (RFC 2136 section 3.4.2), "
        "a name below a delegation is not answered for; or it is not the primary that answers",
    )


def _unsteady(key: RecordKey) -> UnavailableError:
    return UnavailableError(f"rfc2136: {key} is being changed by somebody at this moment", hint="run the command again")
