"""What hints at an encoding: expressions for RE2 that ordinary text hardly matches, so that decoding stays rare."""

from __future__ import annotations

from collections.abc import Iterator

from autogit.security.vocabulary import telling

_ANY64 = "[A-Za-z0-9+/_-]"
_SIGNS = {"a": "4@", "b": "8", "e": "3€", "g": "69", "i": "1!|", "l": "1|", "o": "0", "s": "5$", "t": "7+", "z": "2"}

_SHORT = ("you", "your", "the", "this", "that", "user", "not", "and", "tell", "with", "from", "are")

PACKED64 = "H4sI|eJ[wxyz]|eNo|QlpoO"
"""The first bytes of gzip, zlib and bzip2 in base64."""
BASE64 = "|".join(
    (
        # Four bytes of ASCII leave 4 of 10, 4 of 10 and half of the letters at the three first places of each group.
        rf"(?:[I-Za-f][C-HS-Xi-nyz0-3][ABEFIJMNQRUVYZcdghklopstwx014589]{_ANY64}){{4}}",
        # UTF-8 of three bytes a character (Chinese, Japanese, Indic), then of two (Cyrillic, Arabic, Greek).
        rf"(?:[4-7][I-LY-bo-r4-7][CGKOSWaeimquy26+-]{_ANY64}){{4}}",
        rf"(?:[w-z0-3][I-LY-bo-r4-7][DHLPTXbfjnrvz37/_]{_ANY64}[g-v]{_ANY64}{{3}}){{2}}",
        # UTF-16, and the first bytes of gzip, zlib and bzip2.
        rf"(?:{_ANY64}{{2}}B{_ANY64}A[A-H]{_ANY64}A){{2}}|{PACKED64}",
    )
)
BASE32 = r"(?:[E-P][A-Z2-7]{7}){2}|(?:[e-p][a-z2-7]{7}){3}"
BASE85 = r"<~|[!-~]{25}"
HEX = (
    r"(?:[2-7][0-9A-Fa-f][ :,;|.-]{0,2}(?:0x|\\x)?){8}"
    r"|(?:[eE][3-9a-fA-F](?:[89aAbB][0-9a-fA-F]){2}){4}|(?:[dD][0-9a-fA-F][89aAbB][0-9a-fA-F]){5}"
)
BINARY = r"[01]{7,8}(?:[ ,;|_\n-]{0,2}[01]{7,8}){4}"
CODES = r"\d{2,3}(?:[ ,;.|-]{1,2}\d{2,3}){7}"
MORSE = r"[.\-_·•]{1,7}(?:[ /|\n]{1,3}[.\-_·•]{1,7}){7}"
SPACED = (
    r"\b[A-Za-z](?:[ \t.,;|/\\*+~:_·•-]{1,4}[A-Za-z]\b){3}|\b[A-Za-z](?:[^\w\s][A-Za-z]\b){4}"
    r"|\b[A-Za-z](?:_[A-Za-z]){4}|(?:[^ -~][ .·•-]{1,4}){5}|(?:\n\pL\n?){5}"
)
PIG_LATIN = r"(?i)[a-z]{2,16}ay[ ,.]+[a-z]{2,16}ay[ ,.]+[a-z]{2,16}ay\b"
PERCENT = r"%[2-7][0-9A-Fa-f]|[a-z](?:\+[A-Z]?[a-z]{1,14}){3}"
ENTITIES = r"&#[0-9xX]|&[A-Za-z]{2,31};"
ESCAPES = r"\\x[0-9A-Fa-f]{2}|\\[uU]\{?[0-9A-Fa-f]{2}|\\[0-3]?[0-7]{2}\\|U\+[0-9A-Fa-f]{4,5}[ ,]{0,2}U\+"
_QUOTED = r"=(?:20[^0-9]|[2-7][A-F]|[C-F][0-9A-F]=|[0-9A-F]{2}=[0-9A-F]{2})"
QUOTED = rf"{_QUOTED}[^\n]{{0,80}}(?:{_QUOTED}|=\n)"
JOINED = r"""["'`]\s*(?:\+|\.{1,2}|&|~|\|\|)\s*[fFrRuUbB]?["'`]|[A-Za-z](?:""|''|``)[A-Za-z]"""
COMMENT = r"<!-|<%--|\{\{!--|\{\{/\*|\{#|\{/\*"
ELEMENT = r"(?i)<[a-z][^<>]*\b(?:style|class|id|hidden|color|size)\b|<template"
LINK_TITLE = r"""\]\([^()\s]*\s+["'(]"""
REFERENCE = r"(?m)^[ \t>]*\[[^\]\n^]+\]:"
ALTERNATIVE = (
    r"!\[[^\]\n]{8}"
    r"""|(?i)\b(?:alt|title|aria-[a-z]+|placeholder|content|summary|data-[a-z-]+)\s*=\s*["']"""
)
RENDERED = (
    r"[A-Za-z]<(?:!--|/?[A-Za-z])[^<>]*>[A-Za-z]|\*\*\w|~~\w|[A-Za-z][*`][A-Za-z]|[a-z]-\n[ \t>]*[a-z]"
    r"|<(?:b|i|em|strong|span|font|u|wbr)\b"
)


def leet() -> str:
    """Return the expression for telling words with at least one sign for a letter."""
    long = "|".join(sorted({one for word in telling() for one in _marked(word)}))
    short = "|".join(sorted({one for word in _SHORT for one in _marked(word)}))
    return rf"(?i){long}|\b(?:{short})\b"


def _marked(word: str) -> Iterator[str]:
    for place, letter in enumerate(word):
        if letter in _SIGNS:
            yield f"{_loose(word[:place])}[{_SIGNS[letter]}]{_loose(word[place + 1 :])}"


def _loose(letters: str) -> str:
    return "".join(f"[{one}{_SIGNS[one]}]" if one in _SIGNS else one for one in letters)
