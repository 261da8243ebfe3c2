"""Ways to disguise a text: encoded, wrapped, stuffed with what nobody sees. Fuzz tests and benchmark draw from them."""

from __future__ import annotations

import base64
import codecs
import gzip
import html
import json
import re
import urllib.parse
import zlib
from collections.abc import Callable, Mapping

_WIDE = {at: chr(at + 0xFEE0) for at in range(0x21, 0x7F)}
_CIRCLED = {ord("a") + at: chr(0x24D0 + at) for at in range(26)} | {ord("A") + at: chr(0x24B6 + at) for at in range(26)}
_ALIKE = str.maketrans("aeopcxyi", "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456")
_LEET = str.maketrans("aeiost", "431057")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _wrapped(text: str) -> str:
    return re.sub(r"(.{64})", r"\1\n", text)


def _tags(text: str) -> str:
    return "".join(chr(0xE0000 + ord(one)) for one in text if ord(one) < 128)


def _selectors(text: str) -> str:
    """Return the bytes of a text as variation selectors behind an emoji."""
    return "\U0001f642" + "".join(chr(0xFE00 + one if one < 16 else 0xE0100 + one - 16) for one in _bytes(text))


ENCODINGS: Mapping[str, Callable[[str], str]] = {
    "base64": lambda text: base64.b64encode(_bytes(text)).decode(),
    "base64, wrapped": lambda text: _wrapped(base64.b64encode(_bytes(text)).decode()),
    "base64, no padding": lambda text: base64.urlsafe_b64encode(_bytes(text)).decode().rstrip("="),
    "base64, twice": lambda text: base64.b64encode(base64.b64encode(_bytes(text))).decode(),
    "base32": lambda text: base64.b32encode(_bytes(text)).decode(),
    "base85": lambda text: base64.b85encode(_bytes(text)).decode(),
    "ascii85": lambda text: base64.a85encode(_bytes(text), adobe=True).decode(),
    "hex": lambda text: _bytes(text).hex(),
    "hex, spaced": lambda text: _bytes(text).hex(" "),
    "hex escapes": lambda text: "".join(f"\\x{one:02x}" for one in _bytes(text)),
    "percent": lambda text: "".join(f"%{one:02X}" for one in _bytes(text)),
    "entities": lambda text: "".join(f"&#{ord(one)};" for one in text),
    "hex entities": lambda text: "".join(f"&#x{ord(one):x};" for one in text),
    "unicode escapes": lambda text: "".join(f"\\u{ord(one):04x}" for one in text if ord(one) < 1 << 16),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "reversed": lambda text: text[::-1],
    "spaced letters": lambda text: "  ".join(" ".join(word) for word in text.split()),
    "dotted letters": lambda text: "  ".join(".".join(word) for word in text.split()),
    "leet": lambda text: text.lower().translate(_LEET),
    "fullwidth": lambda text: text.translate(_WIDE),
    "circled": lambda text: text.translate(_CIRCLED),
    "look-alikes": lambda text: text.translate(_ALIKE),
    "zero-width between": "\u200b".join,
    "soft hyphens between": "\u00ad".join,
    "tag characters": _tags,
    "variation selectors": _selectors,
    "gzip in base64": lambda text: base64.b64encode(gzip.compress(_bytes(text), mtime=0)).decode(),
    "zlib in base64": lambda text: base64.b64encode(zlib.compress(_bytes(text))).decode(),
    "HTML comment": lambda text: f"<!-- {text} -->",
    "hidden element": lambda text: f'<p style="display:none">{html.escape(text)}</p>',
    "link title": lambda text: f'[a](https://example.org "{" ".join(text.split()).replace(chr(34), chr(39))}")',
    "string pieces": lambda text: " + ".join(json.dumps(text[at : at + 5]) for at in range(0, len(text), 5)),
}
"""Each makes one text of another that a reader, or a program, can turn back."""

SMUGGLING = frozenset({"tag characters", "variation selectors", "zero-width between", "look-alikes", "hidden element"})
"""These hide what is written from people: worth a flag where it tells somebody to do something, whatever that is."""

WRAPPERS: Mapping[str, Callable[[str], str]] = {
    "JSON": lambda text: json.dumps({"body": text}),
    "quoted": lambda text: "".join(f"> {line}\n" for line in text.split("\n")),
    "code": lambda text: f"```\n{text}\n```",
    "table": lambda text: f"| a | b |\n|---|---|\n| 1 | {text} |\n",
    "percent, once": lambda text: urllib.parse.quote(_bytes(text)),
    "title case": str.title,
    "upper case": str.upper,
    "carriage returns": lambda text: text.replace("\n", "\r\n"),
}
"""Each puts a text where it might stand."""

INVISIBLE = (
    "\u200b",
    "\u200d",
    "\u2060",
    "\u00ad",
    "\u202e",
    "\u202c",
    "\ufe0f",
    "\U000e0041",
    "\u0301",
    "\ufeff",
    "\0",
)
"""What may be stuffed in between."""
