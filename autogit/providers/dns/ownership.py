"""Whose a record is: the marks that AutoGit leaves, and those of others; pure.

A mark is the text `heritage=autogit,owner=OWNER,v=1`. Where the provider keeps a note beside a set, it is that note.
Elsewhere it is a TXT record of its own, at `_autogit-<type>.<name>` (external-dns' TXT registry is the model): never at
the name itself, where a TXT would forbid a CNAME, and with `_wildcard` for `*`, which may stand leftmost only. Type and
prefix are one label: `_autogit.a.example.org` would have `a.example.org` exist without data, and the wildcard would not
answer for it any more (RFC 4592).

| mark | whose |
|---|---|
| of this owner, whose name the lockfile keeps | ours |
| of another owner, or of another program | theirs |
| none | somebody else's, even where the lockfile says that AutoGit made one there: this may be another |

A person who carries the writes out (`manual`) leaves no marks: there the record is as good as ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from autogit.model.dns import RecordKey, RecordSet, Zone

MARK_PREFIX = "_autogit-"
_HERITAGE = "autogit"
_VERSION = "1"
_LONGEST_NAME = 253
_SOMEBODY = "somebody else made it"
_OCTODNS = "_owner."


@dataclass(frozen=True, slots=True)
class Mark:
    """Who says that a record is theirs: the program, and the owner that it works for."""

    heritage: str
    owner: str

    def __str__(self) -> str:
        return f"{self.heritage} of {self.owner}" if self.owner else self.heritage


def mark_text(owner: str) -> str:
    """Return the mark of an owner."""
    return f"heritage={_HERITAGE},owner={owner},v={_VERSION}"


def parse_mark(text: str) -> Mark | None:
    """Return the mark that a text is, ours or of a program of the same custom (external-dns); else None."""
    fields = dict(part.partition("=")[::2] for part in text.strip().strip('"').split(","))
    heritage = fields.get("heritage", "").strip()
    if not heritage:
        return None
    return Mark(heritage, (fields.get("owner") or fields.get(f"{heritage}/owner") or "").strip())


def mark_key(key: RecordKey, zone: Zone) -> RecordKey:
    """Return the key of the TXT set that holds a set's mark where the provider has no notes.

    A name that would be longer than DNS allows is told by its hash instead.
    """
    below = key.name.removesuffix(zone.name).removesuffix(".").replace("*", "_wildcard", 1)
    parts = [f"{MARK_PREFIX}{key.type.lower()}", below, zone.name]
    name = ".".join(part for part in parts if part)
    if len(name) > _LONGEST_NAME:
        parts[1] = hashlib.sha256(below.encode()).hexdigest()[:32]
        name = ".".join(parts)
    return RecordKey(name, "TXT")


def keys_asked(keys: Collection[RecordKey], zone: Zone, *, marks: bool) -> set[RecordKey]:
    """Return what must be read to know of sets whose they are, and what stands in their way."""
    found = set(keys)
    for key in keys:
        found.add(RecordKey(key.name, "CNAME"))
        found |= set(_foreign_marks(key))
        if not marks:
            found.add(mark_key(key, zone))
    return {key for key in found if zone.holds(key.name)}  # a mark of the apex would be beside the zone


def _foreign_marks(key: RecordKey) -> Iterator[RecordKey]:
    """Yield where external-dns and OctoDNS leave a set's mark."""
    yield RecordKey(key.name, "TXT")
    if not key.name.startswith("*."):
        yield RecordKey(f"{key.type.lower()}-{key.name}", "TXT")
    yield RecordKey(f"{_OCTODNS}{key.type.lower()}.{key.name.replace('*', '_wildcard', 1)}", "TXT")


def marks_of(key: RecordKey, there: Mapping[RecordKey, RecordSet], zone: Zone, *, marks: bool) -> list[Mark]:
    """Return every mark of a set, in the note beside it or in TXT sets."""
    texts: list[str] = []
    if marks:
        texts.append(there[key].mark if key in there else "")
    elif (registry := there.get(mark_key(key, zone))) is not None:
        texts += registry.values
    found = [mark for text in texts if (mark := parse_mark(text)) is not None]
    return [*found, *(mark for _, mark in programs_marks(key, there))]


def programs_marks(key: RecordKey, there: Mapping[RecordKey, RecordSet]) -> list[tuple[RecordKey, Mark]]:
    """Return the marks that other programs keep of a set in TXT sets of their own, each with its place."""
    found: list[tuple[RecordKey, Mark]] = []
    for other in _foreign_marks(key):
        if other == key or other not in there:
            continue
        if other.name.startswith(_OCTODNS):
            found.append((other, Mark("octodns", "")))
        marks = [mark for text in there[other].values if (mark := parse_mark(text)) is not None]
        found += [(other, mark) for mark in marks if mark.heritage != _HERITAGE]
    return found


def whose(marks: Collection[Mark], owner: str, *, by_hand: bool = False) -> str:
    """Return "" where a set of these marks is ours, else who made it, as a sentence."""
    others = [mark for mark in marks if mark != Mark(_HERITAGE, owner)]
    if others:
        return f"{others[0]} made it"
    return "" if marks or by_hand else _SOMEBODY
