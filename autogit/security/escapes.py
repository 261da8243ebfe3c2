"""Decoders of texts in which single characters are written in another way: percent signs, entities, escapes."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from html.entities import html5

from autogit.security import hints
from autogit.security.regions import Part, substituted

_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+|\+")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31}(?=;));?")
_ESCAPE = re.compile(
    r"(?:\\x[0-9A-Fa-f]{2})+|\\u\{[0-9A-Fa-f]{1,6}\}|\\u[0-9A-Fa-f]{4}|\\U[0-9A-Fa-f]{8}|(?:\\[0-3][0-7]{2})+"
    r"|\\0?[0-7]{2}(?=\\)|U\+[0-9A-Fa-f]{4,5}[ ,]?|\\[nrt]"
)
_QUOTED = re.compile(r"(?:=[0-9A-F]{2})+|=[ \t]{0,8}\r?\n")
_JOIN = re.compile(
    r"""["'`]\s{0,8}(?:\+|\.{1,2}|&|~|\|\|)\s{0,40}[fFrRuUbB]?["'`]|(?<=[A-Za-z])(?:""|''|``)(?=[A-Za-z])|\\[nr]"""
)


def percent_tokens(text: str) -> Iterator[Part]:
    """Yield the lines that hold percent-encoded characters or words joined by plus signs, decoded."""
    return substituted(text, _PERCENT, _unpercent, hints.PERCENT)


def _unpercent(found: str) -> str:
    return " " if found == "+" else _text(bytes.fromhex(found.replace("%", "")))


def entity_lines(text: str) -> Iterator[Part]:
    """Yield the lines that hold HTML entities (the everyday ones apart), decoded."""
    return substituted(text, _ENTITY, _character, hints.ENTITIES)


def _character(found: str) -> str:
    return html.unescape(found) if found[1] == "#" else html5.get(found[1:], found)


def escape_lines(text: str) -> Iterator[Part]:
    """Yield the lines that hold escapes of programming languages, decoded."""
    return substituted(text, _ESCAPE, _unescape, hints.ESCAPES)


def _unescape(found: str) -> str:
    kind = found[1:2]
    if kind in "nrt":
        return " " if kind == "t" else "\n"
    if kind == "x":
        return _text(bytes.fromhex(found.replace("\\x", "")))
    if kind in "uU+":
        code = int(found.strip("\\uU+{}, "), 16)
        return chr(code) if code <= 0x10FFFF else "\ufffd"  # noqa: PLR2004 - the last code point
    return _text(bytes(int(one, 8) & 0xFF for one in found.split("\\")[1:]))


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def quoted_lines(text: str) -> Iterator[Part]:
    """Yield the lines that hold quoted-printable characters, decoded, soft line ends taken out."""
    return substituted(text, _QUOTED, _unquote, r"=[0-9A-F]{2}(?:[^\n]*=[ \t]*\r?\n)*[^\n]*")


def _unquote(found: str) -> str:
    return "" if found[1].isspace() else _text(bytes.fromhex(found.replace("=", "")))


def joined_strings(text: str) -> Iterator[Part]:
    """Yield the lines in which a string is put together from pieces, put together."""
    return substituted(text, _JOIN, lambda found: "\n" if found[0] == "\\" else "", hints.JOINED)
