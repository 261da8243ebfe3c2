"""The folder of a repository's data: lists as JSON, files of releases. What the source deletes stays here, marked."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from autogit.errors import RejectedError
from autogit.providers.host.atomic import write_atomic
from autogit.providers.mirrors.data import Asset, Collected, DataKind, Entry, Page, key_of

DELETED = "deleted_at_source"
_NOTES = ".state.json"
_UNSAFE = re.compile(r"[^A-Za-z0-9._+~-]+")
_LONGEST_NAME = 120
_DIGITS = 8


@dataclass(frozen=True, slots=True)
class AssetNote:
    """What is known of a file that was fetched."""

    size_bytes: int
    sha256: str
    stamp: str = ""
    etag: str = ""


class DataFolder:
    """One folder; AutoGit alone writes it, one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pages: dict[str, dict[str, Any]] = {}
        self._assets: dict[str, dict[str, Any]] = {}
        with suppress(OSError, ValueError, KeyError, TypeError):
            notes = json.loads((path / _NOTES).read_bytes())
            self._pages, self._assets = dict(notes["pages"]), dict(notes["assets"])

    def load(self, kind: DataKind) -> dict[str, Entry]:
        """Return a list as it was written last, by keys. Raises RejectedError where somebody damaged it."""
        file = self.path / f"{kind}.json"
        try:
            entries = json.loads(file.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as exc:
            raise RejectedError(
                f"mirror data: {file} cannot be read as JSON", hint="move it away: it is made anew by the next sync"
            ) from exc
        return {key: one for one in entries if (key := key_of(one))} if isinstance(entries, list) else {}

    def pages(self, kind: DataKind) -> dict[str, Page]:
        """Return what is known of a list's pages; nothing of it where that is damaged."""
        try:
            found = self._pages[kind]
            return {path: Page(one["etag"], tuple(one["keys"]), one["following"]) for path, one in found.items()}
        except (AttributeError, KeyError, TypeError):
            return {}

    def save(self, kind: DataKind, collected: Collected, now: datetime) -> None:
        """Write a list in order of its keys; what is not in it any more stays, with the time that this was seen."""
        before = self.load(kind)
        gone = {key: {DELETED: f"{now:%Y-%m-%dT%H:%M:%SZ}", **one} for key, one in before.items()}
        here = {key: _unmarked(one) for key, one in collected.entries.items()}
        entries = {**gone, **here}
        body = json.dumps([entries[key] for key in sorted(entries, key=_order)], indent=1, sort_keys=True)
        file = self.path / f"{kind}.json"
        if not file.exists() or file.read_bytes() != body.encode():
            write_atomic(file, body.encode(), 0o600)
        self._pages[kind] = {path: asdict(page) for path, page in collected.pages.items() if page.etag}

    def save_notes(self) -> None:
        """Write what spares the next sync requests."""
        body = json.dumps({"pages": self._pages, "assets": self._assets}, indent=0, sort_keys=True).encode()
        file = self.path / _NOTES
        if not file.exists() or file.read_bytes() != body:
            write_atomic(file, body, 0o600)

    def place(self, asset: Asset) -> Path:
        """Return where a file lies: assets/<release>/<name>, both made safe; never outside of the folder."""
        return self.path / "assets" / safe_name(asset.release) / safe_name(asset.name)

    def note(self, place: Path) -> AssetNote | None:
        """Return what is known of a file, None where it is not there as it was fetched."""
        try:
            note = AssetNote(**self._assets[self._name(place)])
            return note if place.stat().st_size == note.size_bytes else None
        except (KeyError, OSError, TypeError):
            return None

    def put_note(self, place: Path, note: AssetNote) -> None:
        """Keep what is known of a file."""
        self._assets[self._name(place)] = asdict(note)

    def set_aside(self, place: Path) -> Path | None:
        """Give a file that may be replaced a second name, by its content; return that, None where there is none new."""
        note = self.note(place)
        if note is None:
            return None
        kept = place.with_name(f"{place.name}.replaced-{note.sha256[:_DIGITS]}")
        if kept.exists():
            return None
        kept.hardlink_to(place)
        return kept

    def _name(self, place: Path) -> str:
        return place.relative_to(self.path).as_posix()


def safe_name(text: str) -> str:
    """Return a name that is one part of a path and nothing else; one that is not as it was has a digest at its end."""
    name = _UNSAFE.sub("_", text).lstrip(".-")[:_LONGEST_NAME]
    return name if name and name == text else f"{name or '_'}-{_digest(text)}"


def numbered(place: Path, asset: Asset) -> Path:
    """Return another place for a second file of the same name in the same release."""
    return place.with_name(f"{place.name}-{_digest(asset.url)}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_DIGITS]


def _unmarked(entry: Entry) -> Mapping[str, Any]:
    """Leave a mark out that the source has no right to set."""
    return {name: value for name, value in entry.items() if name != DELETED}


def _order(key: str) -> tuple[int, str]:
    return (int(key), "") if key.isdecimal() else (-1, key)
