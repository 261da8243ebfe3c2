"""Content-Encoding undone, never to more bytes than allowed: a bomb costs no more than the limit."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]  # it has no annotations
import zstandard

_MOST_LAYERS = 3
_GZIP = 16 + zlib.MAX_WBITS
_LARGEST_WINDOW = 8 * 1024 * 1024
"""What RFC 8878 asks every decoder to support; a frame that wants more is refused before memory is given to it."""


class UnreadableError(ValueError):
    """A Content-Encoding that is unknown, or a body that does not follow it."""


class TooLargeError(ValueError):
    """More bytes than a text may have."""


def decoded(body: bytes, content_encoding: str, limit: int) -> bytes:
    """Return a body without its encodings (a Content-Encoding header's value, the last one applied last).

    Raises UnreadableError and TooLargeError.
    """
    layers = [name for word in content_encoding.lower().split(",") if (name := word.strip()) not in ("", "identity")]
    if len(layers) > _MOST_LAYERS or any(name not in _DECODERS for name in layers):
        raise UnreadableError(content_encoding)
    for name in reversed(layers):
        try:
            body = _DECODERS[name](body, limit)
        except (zlib.error, brotli.error, zstandard.ZstdError, MemoryError) as exc:
            raise UnreadableError(name) from exc
    if len(body) > limit:
        raise TooLargeError
    return body


def _inflated(body: bytes, limit: int, window: int) -> bytes:
    """Return what one or more streams hold; a reader may take only the first, or all of them: all are looked at."""
    found: list[bytes] = []
    left = limit
    while body:
        stream = zlib.decompressobj(window)
        piece = stream.decompress(body, left + 1)
        left -= len(piece)
        if left < 0:
            raise TooLargeError
        if not stream.eof:
            raise UnreadableError("the stream is cut off")
        found.append(piece)
        body = stream.unused_data
    return b"".join(found)


def _gunzipped(body: bytes, limit: int) -> bytes:
    return _inflated(body, limit, _GZIP)


def _deflated(body: bytes, limit: int) -> bytes:
    """Undo `deflate`: zlib's form, or the bare one that some clients send in spite of RFC 9110, section 8.4.1.2."""
    try:
        return _inflated(body, limit, zlib.MAX_WBITS)
    except zlib.error:
        return _inflated(body, limit, -zlib.MAX_WBITS)


def _unbrotlied(body: bytes, limit: int) -> bytes:
    stream = brotli.Decompressor()
    found = [stream.process(body, output_buffer_limit=limit + 1)]
    left = limit - len(found[0])
    while left >= 0 and not stream.can_accept_more_data():
        found.append(stream.process(b"", output_buffer_limit=left + 1))
        left -= len(found[-1])
    if left < 0:
        raise TooLargeError
    if not stream.is_finished():
        raise UnreadableError("the stream is cut off")
    return b"".join(found)


def _unzstd(body: bytes, limit: int) -> bytes:
    # A stream that is cut off gives what it has: nobody else can get more out of it.
    reader = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).stream_reader(body, read_across_frames=True)
    found = reader.read(limit + 1)
    if len(found) > limit:
        raise TooLargeError
    return bytes(found)


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gunzipped,
    "x-gzip": _gunzipped,
    "deflate": _deflated,
    "br": _unbrotlied,
    "zstd": _unzstd,
}
