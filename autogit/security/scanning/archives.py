"""Reading the texts in zip and tar archives: in memory, bounded in number, size and ratio; nothing is unpacked."""

from __future__ import annotations

import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from autogit.security.scanning.decoding import decode
from autogit.security.scanning.texts import FILE, ScanText, Skipped, larger_than

_MOST_MEMBERS = 10_000
_MOST_TOTAL_BYTES = 256_000_000
_MOST_RATIO = 200
_LEAST_SUSPECT_BYTES = 1_000_000
"""Small archives of very repetitive text compress better than any ratio: below this nobody minds."""
_MOST_DIRECTORY_BYTES = 8_000_000
_END_OF_DIRECTORY, _END_64 = b"PK\x05\x06", b"PK\x06\x07"
_BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, KeyError,
    NotImplementedError, RuntimeError, struct.error, OverflowError,
)  # fmt: skip
"""What the standard library raises for archives that are damaged, encrypted or made to hurt."""
_MAGIC = ((b"PK\x03\x04", 0), (b"PK\x05\x06", 0), (b"\x1f\x8b", 0), (b"BZh", 0), (b"\xfd7zXZ\x00", 0), (b"ustar", 257))


class _TooMuchError(Exception):
    """More comes out of an archive than may."""


@dataclass
class _Budget:
    """How many bytes may still come out of one archive."""

    packed: int
    used: int = 0
    members: int = 0

    def member(self) -> None:
        self.members += 1
        if self.members > _MOST_MEMBERS:
            raise _TooMuchError(f"has more than {_MOST_MEMBERS} members")

    def take(self, count: int) -> None:
        self.used += count
        if self.used > _MOST_TOTAL_BYTES:
            raise _TooMuchError(f"unpacks to more than {_MOST_TOTAL_BYTES // 1_000_000} MB")
        if self.used > max(_LEAST_SUSPECT_BYTES, _MOST_RATIO * self.packed):
            raise _TooMuchError(f"unpacks to more than {_MOST_RATIO} times its size")


def is_archive(data: bytes) -> bool:
    """Tell whether bytes begin like an archive that can be read."""
    return any(data.startswith(magic, at) for magic, at in _MAGIC)


def read_archive(path: str, data: bytes, most_bytes: int) -> Iterator[ScanText | Skipped]:
    """Yield the texts of an archive's members as `ARCHIVE!/MEMBER`, and what is left out. Never raises."""
    budget = _Budget(len(data))
    read = _read_zip if data.startswith(b"PK") else _read_tar
    try:
        for name, member in read(data, budget, most_bytes):
            yield _member(f"{path}!/{name}", member)
    except _TooMuchError as exc:
        yield Skipped(path, f"archive that {exc}: not read to its end")
    except MemoryError:
        yield Skipped(path, "archive that takes too much memory")
    except _BROKEN as exc:
        yield Skipped(path, f"archive that cannot be read: {type(exc).__name__}")


def _member(path: str, data: bytes | str) -> ScanText | Skipped:
    if isinstance(data, str):
        return Skipped(path, data)
    if is_archive(data):
        return Skipped(path, "archive within an archive")
    text = decode(data)
    return Skipped(path, "binary") if text is None else ScanText(path, FILE, text)


def _read_zip(data: bytes, budget: _Budget, most_bytes: int) -> Iterator[tuple[str, bytes | str]]:
    _check_directory(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            budget.member()
            if info.is_dir():
                continue
            if info.flag_bits & 1:
                yield info.filename, "encrypted"
                continue
            try:
                with archive.open(info) as member:
                    yield info.filename, _read_member(member, budget, most_bytes)
            except _BROKEN as exc:
                yield info.filename, f"cannot be read: {type(exc).__name__}"


def _check_directory(data: bytes) -> None:
    """Refuse a directory so long that reading it alone would take the memory away."""
    at = data.rfind(_END_OF_DIRECTORY)
    if at < 0 or len(data) < at + 22:
        raise zipfile.BadZipFile
    if struct.unpack_from("<I", data, at + 12)[0] > _MOST_DIRECTORY_BYTES or data[max(at - 20, 0) :][:4] == _END_64:
        raise _TooMuchError(f"has more than {_MOST_MEMBERS} members")


def _read_tar(data: bytes, budget: _Budget, most_bytes: int) -> Iterator[tuple[str, bytes | str]]:
    if not _is_tar(data):
        yield "content", _read_member(_unpacked(data), budget, most_bytes)
        return
    # As a stream: what is skipped is unpacked too, so all of it goes through the budget.
    stream = _Counted(_unpacked(data), budget)
    with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
        for info in archive:
            budget.member()
            if info.isfile() and (member := archive.extractfile(info)) is not None:
                # The stream has counted already, but for holes: those come from nowhere.
                counted = budget if info.issparse() else _Budget(_MOST_TOTAL_BYTES)
                yield info.name, _read_member(member, counted, most_bytes)
            archive.members = []  # else every head ever read is kept


def _is_tar(data: bytes) -> bool:
    return _unpacked(data).read(512)[257:262] == b"ustar"


def _read_member(member: IO[bytes], budget: _Budget, most_bytes: int) -> bytes | str:
    read: Callable[[int], bytes] = member.read
    parts, size = [], 0
    while chunk := read(1 << 16):
        budget.take(len(chunk))
        size += len(chunk)
        if size > most_bytes:
            return larger_than(most_bytes)
        parts.append(chunk)
    return b"".join(parts)


def _unpacked(data: bytes) -> IO[bytes]:
    import bz2  # noqa: PLC0415 - few archives need each
    import gzip  # noqa: PLC0415

    packed = io.BytesIO(data)
    if data.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=packed)  # type: ignore[return-value]
    if data.startswith(b"BZh"):
        return bz2.BZ2File(packed)
    return lzma.LZMAFile(packed) if data.startswith(b"\xfd7z") else packed


class _Counted:
    """A stream that tells the budget what comes out of it."""

    def __init__(self, stream: IO[bytes], budget: _Budget) -> None:
        self._stream = stream
        self._budget = budget

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes. Raises _TooMuchError."""
        got = self._stream.read(min(size, 1 << 20))
        self._budget.take(len(got))
        return got

    def close(self) -> None:
        """Close the stream."""
        with suppress(OSError):
            self._stream.close()
