"""Keeps records wherever dns-lexicon can: its modules for DNS hosts that AutoGit has no provider for."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from operator import methodcaller
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, ConfigDict, Field, SecretStr

from autogit.errors import AutogitError, MissingError, ProviderError, RejectedError, UnsupportedError
from autogit.model.dns import Capabilities, RecordKey, RecordSet, Zone, normal_name
from autogit.providers.base import HealthStatus, ProviderContext
from autogit.providers.dns.asking import Texts
from autogit.providers.dns.base import DNSConfig, DNSProvider
from autogit.providers.dns.lexicon_library import Library, pairs
from autogit.providers.dns.presentation import normal_value, shown_name, zone_value

_ALIAS = "CNAME"
# Of other signs each module makes something else: some quote a text, some hand it on as a line of a zone file, where
# a blank parts it in two. What is read back looks the same then, and what DNS answers does not.
_SAFE_TEXT = re.compile(r"[A-Za-z0-9_.,:=/+@~*-]{1,255}")
# These show a name without its final dot only where it is relative to the zone, as a zone file does.
_AS_ZONE_FILE = frozenset({"localzone"})
# These put the zone behind every name that a CNAME leads to, unless that is in the zone.
_OWN_TARGETS = frozenset({"devnomads", "mythicbeasts", "powerdns", "rcodezero"})


def _is_options(text: str) -> str:
    pairs(text)
    return text


def _is_host(text: str) -> str:
    if text == "auto":
        raise ValueError("`auto` has lexicon look for the DNS host by itself: name the host")
    return text


class LexiconConfig(DNSConfig):
    """Which of lexicon's modules, for which zones, with whose rights."""

    model_config = ConfigDict(hide_input_in_errors=True)

    provider: Annotated[str, AfterValidator(_is_host)] = Field(
        ..., pattern=r"^[a-z0-9]+$", description="Lexicon's own name of the DNS host; `lexicon --help` lists them"
    )
    zones: Texts = Field(..., min_length=1, description="Zones to keep records in, separated by commas")
    options: Annotated[str, AfterValidator(_is_options)] = Field(
        "", description="Lexicon's options for that host that are no secrets, as key=value,key=value"
    )
    secrets: SecretStr = Field(
        SecretStr(""), description="Lexicon's options that are secrets, such as auth_token=..., as key=value,key=value"
    )
    ttl: int = Field(300, ge=1, le=86400, description="TTL, in seconds, of every record that is written")
    private: bool = Field(False, description="Whether only the own network sees these zones")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One record that lexicon lists: of which set it is, and its value in normal form.

    `content` is the value as lexicon has it, `handle` its name for the record where no other record has the same.
    """

    key: RecordKey
    value: str
    content: str
    handle: Any


class LexiconDNS(DNSProvider[LexiconConfig]):
    """The zones of the configuration, by one of lexicon's modules; AutoGit tries but few of them itself.

    Lexicon knows single records. So a set is changed by several requests: the new values come first and are looked
    for, then the old ones go, so that a name never has none. What a stop leaves in between has all old or all new
    values and nothing else, and a repeated change goes on from there. A set that is to be created is not taken over
    where some of its values are there, for nobody knows whose they are; unless this object itself wrote them.

    Every set counts as having the `ttl` of the configuration: not all modules say which TTL a record has.
    """

    provider_name: ClassVar[str] = "lexicon"
    capabilities: ClassVar[Capabilities] = Capabilities(
        # MX and SRV are left out: the number before the name is an option of lexicon's client for some modules, a
        # part of the value for others.
        types=frozenset({"A", "AAAA", "CAA", "CNAME", "TXT"}),
        one_ttl=True,
    )
    Config: ClassVar[type[DNSConfig]] = LexiconConfig
    timeout_seconds: ClassVar[float] = 60.0
    """For one call of lexicon."""
    pauses_seconds: ClassVar[tuple[float, ...]] = (0.0, 1.0, 3.0)
    """Before each look whether a write is there; after the last one it is given up."""

    def __init__(self, context: ProviderContext, config: LexiconConfig) -> None:
        super().__init__(context, config)
        self._zones = [Zone(name, name, self.private) for name in dict.fromkeys(map(normal_name, config.zones))]
        self._begun: dict[tuple[str, RecordKey], frozenset[str]] = {}
        fitting = replace(self.capabilities, least_ttl=config.ttl, most_ttl=config.ttl)
        self.capabilities = fitting  # type: ignore[misc] # the configuration says which TTL

    async def list_zones(self) -> Sequence[Zone]:
        """Return the zones of the configuration; their names are their ids."""
        return self._zones

    async def list_records(self, zone: Zone, keys: Collection[RecordKey] | None = None) -> Sequence[RecordSet]:
        """Return the sets. The whole zone is read for any of them: many modules miss some when they are to filter."""
        if keys is not None and not keys:
            return []
        found: dict[RecordKey, list[str]] = {}
        for entry in await self._read(zone):
            found.setdefault(entry.key, []).append(entry.value)
        return [self._set(key, found[key]) for key in sorted(found) if keys is None or key in keys]

    async def create_record(self, zone: Zone, wanted: RecordSet) -> None:
        """Create the values of a set; where one is refused, those before it are taken away again."""
        await self._swap(zone, wanted.key, None, wanted)

    async def update_record(self, zone: Zone, old: RecordSet, wanted: RecordSet) -> None:
        """Create the new values, then delete the old ones."""
        await self._swap(zone, wanted.key, old, wanted)

    async def delete_record(self, zone: Zone, old: RecordSet) -> None:
        """Delete the values one by one."""
        await self._swap(zone, old.key, old, None)

    async def health(self) -> HealthStatus:
        """Read each zone: that takes credentials, rights and reach, and changes nothing."""
        try:
            for zone in self._zones:
                await self._read(zone)
        except ProviderError as exc:
            return HealthStatus(ok=False, detail=exc.message, fix=exc.hint)
        return await super().health()

    async def _swap(self, zone: Zone, key: RecordKey, old: RecordSet | None, wanted: RecordSet | None) -> None:
        """Change a set from `old` to `wanted`, None being nothing. Raises StalePlanError, RejectedError."""
        entries = await self._read(zone)
        now, before, goal = _values(entries, key), _as_values(old), _as_values(wanted)
        if now == goal:
            return
        if not _is_on_the_way(now, before, goal, self._begun.get((zone.id, key), frozenset())):
            raise self.changed(key, self._set(key, now) if now else None)
        if wanted is not None and (new := sorted(goal - now)):
            self._check_supported(zone, wanted, new)
            _check_alias(entries, key)
            entries = await self._add(zone, key, new)
        gone = [one for one in entries if one.key == key and one.value in now - goal]
        for entry in gone:
            await self._remove(zone, entry)
        if gone or _values(entries, key) != goal:
            await self._shown(zone, key, lambda there: there == goal, "the change")

    def _check_supported(self, zone: Zone, wanted: RecordSet, new: Sequence[str]) -> None:
        kind, host = wanted.key.type, self.config.provider
        if kind not in self.capabilities.types:
            raise UnsupportedError(f"lexicon: {wanted.key}: AutoGit does not write {kind} records through lexicon")
        if wanted.proxied:
            raise UnsupportedError(f"lexicon: {wanted.key} cannot be proxied: lexicon has no way to say that")
        if kind == "TXT" and not all(map(_SAFE_TEXT.fullmatch, new)):
            raise UnsupportedError(
                f"lexicon: {wanted.key}: what a text with blanks, quotes or more than 255 signs becomes depends on "
                "lexicon's module",
                hint="letters, digits and _.,:=/+@~*- can be written; enter this text at the DNS host by hand",
            )
        if kind == _ALIAS and host in _OWN_TARGETS and not all(map(zone.holds, new)):
            said = f"lexicon: {wanted.key}: the module {host} can only have a CNAME lead to a name in {zone.name}"
            raise UnsupportedError(said, hint="use A and AAAA, or enter it at the DNS host by hand")

    async def _add(self, zone: Zone, key: RecordKey, new: Sequence[str]) -> Sequence[_Entry]:
        """Create values, and return what is in the zone then; where that fails, try to leave it as it was."""
        self._begun[zone.id, key] = self._begun.get((zone.id, key), frozenset()).union(new)
        try:
            for value in new:
                # A text without quotes: the modules add them where their hosts want them.
                wire = value if key.type == "TXT" else zone_value(key.type, value)
                await self._ask(zone, methodcaller("create_record", key.type, key.name, wire))
            there = await self._shown(zone, key, frozenset(new).issubset, ", ".join(new))
        except AutogitError:
            with suppress(AutogitError):  # the first error tells more than a second one
                await self._take_back(zone, key, new)
            raise
        self._begun.pop((zone.id, key))
        return there

    async def _take_back(self, zone: Zone, key: RecordKey, new: Sequence[str]) -> None:
        for entry in await self._read(zone):
            if entry.key == key and entry.value in new:
                await self._remove(zone, entry)
        self._begun[zone.id, key] = self._begun[zone.id, key].difference(new)

    async def _remove(self, zone: Zone, entry: _Entry) -> None:
        key = entry.key
        await self._ask(zone, methodcaller("delete_record", entry.handle, key.type, key.name, entry.content))

    async def _shown(
        self, zone: Zone, key: RecordKey, is_there: Callable[[frozenset[str]], bool], what: str
    ) -> Sequence[_Entry]:
        """Look until the zone shows a write, whatever lexicon returned for it. Raises RejectedError."""
        values: frozenset[str] = frozenset()
        for pause in self.pauses_seconds:
            await asyncio.sleep(pause)
            entries = await self._read(zone)
            values = _values(entries, key)
            if is_there(values):
                return entries
        seen = ", ".join(sorted(values)) or "nothing"
        raise RejectedError(
            f"lexicon: {self.config.provider} took {what} for {key}, and shows {seen}",
            hint="see the zone at the DNS host; lexicon's module for it may write such a value in another way",
        )

    async def _read(self, zone: Zone) -> Sequence[_Entry]:
        """Return all records of a zone."""
        listed = await self._ask(zone, lambda api: list(api.list_records()))
        relative = self.config.provider in _AS_ZONE_FILE
        found = [_entry(raw, content, zone.name, relative=relative) for raw in listed for content in _contents(raw)]
        # Some modules call all values of a set the same, or even all sets of a name: deleting one deletes them all.
        often = Counter(str(entry.handle) for entry in found)
        return [entry if often[str(entry.handle)] == 1 else replace(entry, handle=None) for entry in found]

    async def _ask(self, zone: Zone, ask: Callable[[Any], Any]) -> Any:
        if zone not in self._zones:
            raise MissingError(f"lexicon: LEXICON_ZONES has no zone {zone.name}")
        return await self._library.carry_out(zone.name, ask)

    @cached_property
    def _library(self) -> Library:
        own = self.config
        return Library(own.provider, own.options, own.secrets, own.ttl, self.context.clock, self.timeout_seconds)

    def _set(self, key: RecordKey, values: Iterable[str]) -> RecordSet:
        return RecordSet(key, self.config.ttl, tuple(sorted(set(values))))


def _is_on_the_way(now: frozenset[str], before: frozenset[str], goal: frozenset[str], begun: frozenset[str]) -> bool:
    """Tell whether a set is at the begin of a change, or where a stop left one.

    | There are | It is |
    |---|---|
    | all old values and none, some or all of the new ones | the beginning, or a stop between the creations |
    | all new values and some old ones | a stop between the deletions |
    | some new ones, and there was no set | another's, but for those that this object has begun with |
    | anything else | another's change |
    """
    if not before:
        return now <= begun & goal
    return now <= before | goal and (now >= before or now >= goal)


def _check_alias(entries: Iterable[_Entry], key: RecordKey) -> None:
    """Refuse a CNAME beside other data (RFC 1034 section 3.6.2): some hosts would drop what is there."""
    beside = sorted({one.key for one in entries if one.key.name == key.name and one.key.type != key.type})
    if beside and _ALIAS in {key.type, *(other.type for other in beside)}:
        raise RejectedError(f"lexicon: {key} cannot be beside {beside[0]}: a CNAME stands alone")


def _values(entries: Iterable[_Entry], key: RecordKey) -> frozenset[str]:
    return frozenset(one.value for one in entries if one.key == key)


def _as_values(one: RecordSet | None) -> frozenset[str]:
    return frozenset(one.values if one else ())


def _contents(raw: Mapping[str, Any]) -> list[str]:
    """Return the values of what a module lists: mostly one."""
    content = raw.get("content")
    return [str(one or "") for one in (content if isinstance(content, (list, tuple)) else [content])]


def _entry(raw: Mapping[str, Any], content: str, zone: str, *, relative: bool) -> _Entry:
    kind = str(raw.get("type") or "").upper()
    value = normal_value(kind, content.strip(), lambda name: _target(name, zone, relative=relative))
    return _Entry(RecordKey(_name(str(raw.get("name") or ""), zone), kind), value, content, raw.get("id"))


def _name(text: str, zone: str) -> str:
    r"""Return a record's name in normal form: modules show `git`, `git.home.test`, `git.home.test.`, `@` or nothing.

    Some show `*` in octal (`\052`), where RFC 1035 has decimal numbers, of which no name needs that one.
    """
    plain = re.sub(r"^@(\.|$)", "", text.strip()).replace("\\052", "*")
    name = shown_name(plain) if plain else zone
    is_whole = plain.endswith(".") or name == zone or name.endswith(f".{zone}")
    return name if is_whole else f"{name}.{zone}"


def _target(name: str, zone: str, *, relative: bool) -> str:
    """Return the name that a value leads to; without any dot it is one of the zone."""
    if name == "@":
        return zone
    is_whole = name.endswith(".") or ("." in name and not relative)
    return shown_name(name) if is_whole else f"{shown_name(name)}.{zone}"
