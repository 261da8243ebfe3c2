"""Decoders of bytes that were written as text: base64, base32, base85, hexadecimal, binary, character codes."""

from __future__ import annotations

import base64
import binascii
import bz2
import codecs
import re
import zlib
from collections.abc import Callable, Iterator
from itertools import islice

from autogit.security import hints
from autogit.security.regions import Part, matches

_MOST_UNPACKED = 256 << 10
_BASE64 = re.compile(
    r"(?:[A-Za-z0-9+/_-]{40,}[ \t]{0,8}\r?\n[ \t>#*|]{0,8})+[A-Za-z0-9+/_-]+={0,2}|[A-Za-z0-9+/_-]{16,}={0,2}"
)
_LINE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}")
_PACKED64 = re.compile(hints.PACKED64)
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/_-]+")
_BASE32 = re.compile(r"[A-Z2-7]{16,}|[a-z2-7]{24,}")
_FIRSTS32, _MOST_STARTS = re.compile(r"(?=(?:[E-P].{7}){2})"), 3
_ASCII85 = re.compile(r"<~([!-uz\s]{8,100000}?)~>")
_HEX = re.compile(r"(?<![G-Zg-z])(?:0x|\\x)?[0-9A-Fa-f]{2}(?:[ :,;|.-]{0,2}(?:0x|\\x)?[0-9A-Fa-f]{2}){7,}")
_HEX_PIECE = re.compile("[0-9A-Fa-f]{16,}")
_HEX_DROPPED = re.compile(r"[ :,;|.-]|0x|\\x")
_BINARY = re.compile(r"[01]{7,8}(?:[ ,;|_\n-]{0,2}[01]{7,8}){4,}")
_CODES = re.compile(r"\d{2,3}(?:[ ,;.|-]{1,2}\d{2,3}){7,}")
_DIGITS = re.compile(r"[0-9A-Fa-f\s]{16,}")
_UNPRINTABLE = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffd]")
_LEAST_LETTERS = 5
_SAMPLE = 400
_LEAST_BASE85 = 25
_LONG_TOKEN = re.compile(rf"(?<!\S)\S{{{_LEAST_BASE85},}}")
_QUOTES = "\"'`()[],"
_GIT, _ADOBE = (
    re.compile(rf"(?:[{first}]\S{{4}}){{4}}(?:[{first}]|\Z)") for first in (r"A-Za-e", r"+,\-./0-9:;<=>?@A-I")
)
"""With what each group of five begins that holds four characters of ASCII, in the two alphabets."""
_FRONT85 = re.compile(rf"{_GIT.pattern}|{_ADOBE.pattern}|[{re.escape(_QUOTES)}]")
_ASCII_END = 128
_MOST_REST, _CONTINUED = 3, bytes(range(0x80, 0xC0))
"""How many bytes of a character follow its first one at most, and which they are (RFC 3629, section 3)."""
_LEAST_FRONT = 24
_STRAY = 9
"""How many bytes at the end may be nonsense: the letters of a word behind the run."""


def text_of(data: bytes) -> str | None:
    """Return the text that bytes hold (packed or not; UTF-8, UTF-16), or nothing where they hold none."""
    if len(data) < _LEAST_LETTERS:
        return None
    data = _from_character(_unpacked(data) or data)
    if b"\x00" in data[:8] and (text := _utf16(data)):
        return text
    text = data.replace(b"\0", b"").decode("utf-8-sig", "replace")
    # What follows a readable front may be anything: letters of the next word, padding, noise to put us off.
    front, noise, _ = text.partition("\ufffd")
    if noise and len(front) < min(_LEAST_FRONT, len(text) - _STRAY):
        return None
    return text if is_text(front) else None


def is_text(text: str) -> bool:
    """Say whether a decoded text reads like one: nothing unprintable to speak of, and letters enough."""
    sample = text[:_SAMPLE]
    if len(_UNPRINTABLE.findall(sample)) * 50 > len(sample):
        return False
    wordy = sum(map(str.isalnum, sample)) + sample.count(" ") + sample.count("\n")
    if not sum(map(str.isalpha, sample)) >= _LEAST_LETTERS and not _DIGITS.search(sample):
        return False
    return wordy * 2 >= len(sample)


def _unpacked(data: bytes) -> bytes | None:
    try:
        if data[:2] == b"\x1f\x8b" or (data[:1] == b"\x78" and data[1:2] in b"\x01\x5e\x9c\xda"):
            return zlib.decompressobj(wbits=47).decompress(data, _MOST_UNPACKED)
        if data[:3] == b"BZh":
            return bz2.BZ2Decompressor().decompress(data, _MOST_UNPACKED)
    except (zlib.error, OSError, EOFError, ValueError):
        return None
    return None


def _utf16(data: bytes) -> str | None:
    even, odd = data[: 2 * (len(data) // 2) : 2], data[1::2]
    codec = "utf-16-le" if odd.count(0) > even.count(0) else "utf-16-be"
    text = data[: 2 * (len(data) // 2)].decode(codec, "ignore")
    return text if is_text(text) else None


def _promising(head: bytes) -> bool:
    """Say whether the first bytes may be those of a text or an archive; most names and digests end here."""
    if head.isascii():
        return not _UNPRINTABLE.search(head.decode("ascii")) or head.count(0) * 3 > len(head)
    if head[:2] == b"\x1f\x8b" or head[:1] == b"\x78" or head[:3] == b"BZh" or head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    head = _from_character(head)
    try:
        return len(codecs.utf_8_decode(head, "strict", False)[0]) >= len(head) // 3
    except UnicodeDecodeError:
        return False


def _from_character(data: bytes) -> bytes:
    """Return bytes without the rest of a character (UTF-8) in front: of a long line, any part may be looked at."""
    return data[:_MOST_REST].lstrip(_CONTINUED) + data[_MOST_REST:] if data[:1] in _CONTINUED else data


def base64_runs(text: str) -> Iterator[Part]:
    """Yield what runs of base64 say, plain or for URLs, padded or not, wrapped over lines or glued to a name."""
    tried = packed = 0  # up to where runs were taken whole, for good or not
    for match in matches(text, _BASE64, hints.BASE64):
        run, start = match.group(), match.start()
        if start < packed:
            continue
        if start >= tried and _PACKED64.match(run) and (whole := _BASE64.match(text, start)):
            # Of a long line this is the part near to a hint; of what is packed a part says nothing.
            run, tried = whole.group(), whole.end()
            packed = tried if (found := _unbase64(run)) else 0
        else:
            found = _unbase64(run)
        if found:
            yield Part(start, start + len(run), found)
        elif "\n" in run:
            for line in _LINE64.finditer(run):
                if found := _unbase64(line.group()):
                    yield Part(start + line.start(), start + line.end(), found)


def _unbase64(run: str) -> str | None:
    if run.islower() or run.isupper():
        return None
    run = _NOT_BASE64.sub("", run).replace("-", "+").replace("_", "/")
    # A name or a slash in front shifts the groups of four.
    for shift in range(4):
        if _promising(_bits64(run[shift : shift + 24])) and (found := text_of(_bits64(run[shift:]))):
            return found
    return None


def _bits64(run: str) -> bytes:
    size = len(run) - 1 if len(run) % 4 == 1 else len(run)
    return binascii.a2b_base64(run[:size] + "=" * (-size % 4))


def base32_runs(text: str) -> Iterator[Part]:
    """Yield what runs of base32 say."""
    for match in matches(text, _BASE32, hints.BASE32):
        if found := _unbase32(match.group().upper()):
            yield Part(match.start(), _padded(text, match.end()), found)


def _unbase32(run: str) -> str | None:
    # A name in front shifts the groups of eight; where they begin, ASCII has one of a few letters.
    for shift in dict.fromkeys(match.start() % 8 for match in islice(_FIRSTS32.finditer(run), _MOST_STARTS)):
        rest = run[shift:]
        if _promising(_bits32(rest[:24])) and (found := text_of(_bits32(rest))):
            return found
    return None


def _bits32(run: str) -> bytes:
    run = run[: len(run) - len(run) % 8] if len(run) % 8 in {1, 3, 6} else run
    return base64.b32decode(run + "=" * (-len(run) % 8))


def _padded(text: str, end: int) -> int:
    tail = text[end : end + 6]
    return end + len(tail) - len(tail.lstrip("="))


def base85_runs(text: str) -> Iterator[Part]:
    """Yield what runs of base85 say: Adobe's with its brackets, git's and Python's without any."""
    for match in _ASCII85.finditer(text):
        if found := _unbase85(base64.a85decode, "".join(match.group(1).split())):
            yield Part(*match.span(), found)
    for match in _LONG_TOKEN.finditer(text):
        token, at = match.group(), match.start()
        if "=" not in token and not _FRONT85.match(token):
            continue
        for run in dict.fromkeys((token, token.strip(_QUOTES), token[token.find("=") + 1 :].strip(_QUOTES))):
            if found := _bare85(run):
                yield Part(at + token.find(run), at + token.find(run) + len(run), found)
                break


def _bare85(run: str) -> str | None:
    if len(run) < _LEAST_BASE85 - 5:
        return None
    git = _unbase85(base64.b85decode, run) if _GIT.match(run) else None
    return git or (_unbase85(base64.a85decode, run) if _ADOBE.match(run) else None)


def _unbase85(decode: Callable[[str], bytes], run: str) -> str | None:
    try:
        return text_of(decode(run)) if _promising(decode(run[:20])) else None
    except ValueError:
        return None


def hex_runs(text: str) -> Iterator[Part]:
    """Yield what runs of hexadecimal digits say, in one piece or byte by byte."""
    for match in matches(text, _HEX, hints.HEX):
        if found := _unhex(match.group()):
            yield Part(*match.span(), found)
            continue
        # A short word before the run may have looked like a byte of it.
        for piece in _HEX_PIECE.finditer(text, *match.span()):
            if found := _unhex(piece.group()):
                yield Part(*piece.span(), found)


def _unhex(run: str) -> str | None:
    digits = _HEX_DROPPED.sub("", run)
    for shift in (0, 1):
        data = bytes.fromhex(digits[shift : len(digits) - (len(digits) - shift) % 2])
        if _promising(data[:12]) and (found := text_of(data)):
            return found
    return None


def binary_runs(text: str) -> Iterator[Part]:
    """Yield what bytes say that are written as bits, by sevens or eights."""
    for match in matches(text, _BINARY, hints.BINARY):
        groups = re.findall("[01]+", match.group())
        if len(groups) == 1:
            size = 7 if len(groups[0]) % 8 else 8
            groups = [groups[0][at : at + size] for at in range(0, len(groups[0]), size)]
        if found := text_of(bytes(int(one[:8], 2) for one in groups)):
            yield Part(*match.span(), found)


def code_runs(text: str) -> Iterator[Part]:
    """Yield what decimal character codes say."""
    for match in matches(text, _CODES, hints.CODES):
        codes = [int(one) for one in re.findall(r"\d+", match.group())]
        if max(codes) < _ASCII_END and (found := text_of(bytes(codes))):
            yield Part(*match.span(), found)
