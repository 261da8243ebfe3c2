"""From bytes to text, whatever they are; what is no text is told apart."""

from __future__ import annotations

import codecs
import re

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE_BYTES = 64 * 1024
_CONTROLS = bytes({*range(32)} - {*b"\t\n\r\f\b\x1b"}) + b"\x7f"
_MOST_CONTROLS = 0.03
"""Compressed and random bytes are a tenth control characters, programs far more; text with a stray NUL stays text."""
_WIDE = 0.4
_UTF8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")


def decode(data: bytes) -> str | None:
    """Return the text that bytes hold, without a byte order mark; None for what is no text. Never raises.

    UTF-8, or UTF-16 and UTF-32 by their mark or their look. Where UTF-8 is broken but there is some of it, the broken
    bytes become replacement characters; where there is none of it, the text is Latin-1.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    if wide := _wide_encoding(data[:_SAMPLE_BYTES]):
        return data.decode(wide, "replace")
    if _is_binary(data[:_SAMPLE_BYTES]):
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        # A model reads broken UTF-8 as UTF-8: a single bad byte must not hide look-alikes and invisible characters.
        return data.decode("utf-8", "replace") if _UTF8_SEQUENCE.search(data) else data.decode("latin-1")


def _wide_encoding(sample: bytes) -> str:
    """Return the name of UTF-16 without a mark: every second byte of mostly Latin text is NUL."""
    half = len(sample) // 2
    if half < 2:  # noqa: PLR2004 - one character tells nothing
        return ""
    even, odd = sample[0 : 2 * half : 2].count(0), sample[1 : 2 * half : 2].count(0)
    if odd >= _WIDE * half and even <= odd / 20:
        return "utf-16-le"
    return "utf-16-be" if even >= _WIDE * half and odd <= even / 20 else ""


def _is_binary(sample: bytes) -> bool:
    return len(sample) - len(sample.translate(None, _CONTROLS)) > _MOST_CONTROLS * len(sample)
