"""Which addresses DNS names should lead to: kinds of addresses, and a book of them that does not believe at once.

| a look found | the book had | becomes |
|---|---|---|
| an address | none | it is in force at once |
| the one in force | any candidate | no candidate any more |
| another one | another candidate, or none | it is the candidate, seen once |
| another one | it as candidate | seen once more; in force when it was seen often enough in a row |
| nothing | anything | no candidate any more; what is in force stays, and the problem is kept |

So two addresses that take turns (two lines, DS-Lite) never change what is in force.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autogit.model.addresses import (
    FIELDS,
    AddressBook,
    AddressClass,
    AddressField,
    BookEntry,
    HostAddresses,
    address_class,
    family_of,
    parse_ip,
    unfit_for_public,
)
from autogit.providers.host.atomic import write_atomic

__all__ = [
    "READINGS",
    "AddressClass",
    "address_class",
    "dump_book",
    "load_book",
    "parse_book",
    "save_book",
    "unfit_for_public",
    "updated",
]

READINGS = 2
"""How many looks in a row must find another address before it is believed."""
SCHEMA = 1

_LONGEST_BOOK_BYTES = 65536


def updated(book: AddressBook, reading: HostAddresses, now: datetime) -> AddressBook:
    """Return the book after one look; fields that were not looked at stay as they are. `now` is aware."""
    entries = dict(book.entries)
    for name in FIELDS:
        value, problem = reading.value(name), reading.problems.get(name, "")
        if value or problem:
            entries[name] = _after(entries.get(name, BookEntry()), value, problem, _stamp(now))
    return replace(book, entries=entries)


def _after(entry: BookEntry, value: str, problem: str, now: str) -> BookEntry:
    looked = replace(entry, candidate="", candidate_seen=0, checked_at=now, problem=problem)
    if not value or value == entry.value:
        return looked
    seen = entry.candidate_seen + 1 if value == entry.candidate else 1
    if not entry.value or seen >= READINGS:
        return replace(looked, value=value, since=now)
    return replace(looked, candidate=value, candidate_seen=seen)


def load_book(path: Path) -> AddressBook:
    """Return the book of a file, an empty one where there is none; a damaged one too, and `problem` says so."""
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST_BOOK_BYTES + 1)
    except FileNotFoundError:
        return AddressBook()
    except OSError as exc:
        return AddressBook(problem=f"{path.name} cannot be read ({exc.strerror}): addresses are looked for anew")
    return parse_book(data, path.name)


def save_book(path: Path, book: AddressBook) -> None:
    """Write the book, for its owner only. Raises StorageFullError; the former file stays intact."""
    write_atomic(path, dump_book(book).encode(), 0o600)


def dump_book(book: AddressBook) -> str:
    """Return the text that `parse_book` reads."""
    entries = {name: asdict(entry) for name, entry in book.entries.items()}
    return json.dumps({"schema": SCHEMA, "addresses": entries}, indent=1, sort_keys=True) + "\n"


def parse_book(data: bytes, name: str) -> AddressBook:
    """Return what was dumped; of what is damaged, even in part, only the sentence in `problem` that names it."""
    try:
        return AddressBook(_entries(data))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return AddressBook(problem=f"{name} is damaged: it counts as none, and addresses are looked for anew")


def _entries(data: bytes) -> dict[AddressField, BookEntry]:
    if len(data) > _LONGEST_BOOK_BYTES:
        raise ValueError("too long")
    raw = json.loads(data)
    if raw.keys() != {"schema", "addresses"} or raw["schema"] != SCHEMA or raw["addresses"].keys() - set(FIELDS):
        raise ValueError("other keys than a book has")
    return {name: _read(name, raw["addresses"][name]) for name in FIELDS if name in raw["addresses"]}


def _read(name: AddressField, raw: dict[str, Any]) -> BookEntry:
    if raw.keys() != {field.name for field in fields(BookEntry)}:
        raise ValueError("other keys than an entry has")
    seen = raw["candidate_seen"]
    if type(seen) is not int or not 0 <= seen < READINGS or bool(seen) != bool(raw["candidate"]):
        raise ValueError("a candidate that cannot be")
    entry = BookEntry(
        value=_address(name, raw["value"]),
        since=_moment(raw["since"]),
        candidate=_address(name, raw["candidate"]),
        candidate_seen=seen,
        checked_at=_moment(raw["checked_at"]),
        problem=_text(raw["problem"]),
    )
    if bool(entry.value) != bool(entry.since):
        raise ValueError("an address and its moment belong together")
    return entry


def _address(name: AddressField, raw: Any) -> str:
    """Return an address that may be in a field: what was written into the file by others is not published."""
    text = _text(raw)
    if text and (family_of(parse_ip(text)) != name[-2:] or (name.startswith("public") and unfit_for_public(text))):
        raise ValueError("an address that this field cannot have")
    return str(parse_ip(text)) if text else ""


def _moment(raw: Any) -> str:
    text = _text(raw)
    moment = datetime.fromisoformat(text) if text else None
    if moment and moment.tzinfo is None:
        raise ValueError("a moment without a time zone")
    return _stamp(moment) if moment else ""


def _text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise TypeError("not a text")
    return raw


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
