"""Reading what is to be scanned: a file gives one text, an archive one for each member."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autogit.security.scanning.archives import is_archive, read_archive
from autogit.security.scanning.decoding import decode
from autogit.security.scanning.files import FileTarget, read_bytes
from autogit.security.scanning.texts import FILE, LOG, ScanText, Skipped, too_large

_MOST_ARCHIVE_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read: the largest that is, and whether archives are opened."""

    most_bytes: int = 10_000_000
    archives: bool = False


def read_target(target: FileTarget, reading: Reading) -> Iterator[ScanText | Skipped]:
    """Yield a file's texts, or why it has none. Never raises."""
    most = max(reading.most_bytes, _MOST_ARCHIVE_BYTES) if reading.archives else reading.most_bytes
    data = read_bytes(target, most)
    if isinstance(data, Skipped):
        yield data
    elif reading.archives and is_archive(data):
        yield from read_archive(target.path, data, reading.most_bytes)
    elif len(data) > reading.most_bytes:
        yield too_large(target.path, reading.most_bytes)
    else:
        yield text_of(target.path, data, LOG if target.path.endswith((".log", ".log.txt")) else FILE)


def text_of(path: str, data: bytes, source: str) -> ScanText | Skipped:
    """Return the text that bytes hold, or that they hold none."""
    text = decode(data)
    return Skipped(path, "binary") if text is None else ScanText(path, source, text)
