"""The texts of a request's body: what stands between the punctuation of JSON, forms and multipart.

Whatever does not parse is one text as it stands: it is never left out. Where two readers may understand a body
differently, both understandings are looked at (keys that occur twice, a charset that is declared).
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Sequence
from encodings import normalize_encoding
from encodings.aliases import aliases
from urllib.parse import parse_qsl, unquote_plus

_MOST_FIELDS = 10_000
_MOST_PARTS = 500
_DEEPEST = 3
_LARGEST_PART_HEAD = 16 * 1024
_MOST_CONTROLS = 0.05  # of what is compressed, a tenth is control characters
_PDF = b"%PDF-"
_FORM = "application/x-www-form-urlencoded"
_CHARSET = re.compile(r";\s*charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_BOUNDARY = re.compile(r";\s*boundary\s*=\s*(?:\"([^\"]{1,200})\"|([^\s;,\"]{1,200}))", re.IGNORECASE)
_CDATA = "<![CDATA["
_FILENAME = re.compile(r"filename\*?=(?:[\w.:-]{0,40}'')?([^\";\s]+)")  # unbounded, a head of these takes seconds
_SURROGATES = re.compile("[\ud800-\udfff]")
_CODECS = frozenset({*aliases.values(), "cp720", "cp737", "cp856", "cp874", "cp875", "cp1006", "koi8_t", "koi8_u"}) - {
    *("ascii", "utf_8", "mbcs", "tactis"),
    *("base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec"),
}
"""Codecs that a charset may name: of texts, and linear. Asking Python for any name would keep each in memory."""
_WIDE = re.compile(r"utf_?(16|32)_?([lb]e)")
_EBCDIC = re.compile(r"(x_)?(cs)?(ibm|cp|ebcdic)")
_CONTROLS = bytes(code for code in range(32) if chr(code) not in "\t\n\f\r\x1b")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    ("<?xm".encode("cp037"), "cp037"),  # XML, appendix F
)


def texts_of(body: bytes, content_type: str, depth: int = 0) -> list[str]:
    """Return every text of a body, in order; never raises."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith("multipart/") and depth < _DEEPEST:
        boundaries = {one[1] or one[2] for one in _BOUNDARY.finditer(content_type)}
        # Of two boundaries, some readers take the first and some the last.
        parts = _parts(body, boundaries.pop(), depth) if len(boundaries) == 1 else None
        if parts is not None:
            return parts
    charset = _CHARSET.search(content_type)
    codec = _codec(charset[1]) if charset else ""
    found: list[str] = []
    for text in _decodings(body, codec):
        is_json = "json" in kind or (kind != _FORM and text.lstrip()[:1] in ("{", "["))
        found += _json_texts(text) if is_json else _plain_texts(text, kind)
    if codec and kind == _FORM:  # the charset may be that of what the percent signs stand for
        found += _fields(body.decode("utf-8", "replace"), codec)
    return [_sound(text) for text in found if text and not text.isspace()]


def _codec(charset: str) -> str:
    """Return the codec that a charset names; nothing for ASCII, UTF-8, and what nobody knows."""
    name = normalize_encoding(charset).lower()
    if wide := _WIDE.fullmatch(name):
        return f"utf_{wide[1]}_{wide[2]}"
    name = aliases.get(name, name)
    if name in _CODECS:
        return name
    return "cp037" if _EBCDIC.match(name) else ""  # letters are the same in all of these pages


def _decodings(body: bytes, codec: str) -> list[str]:
    """Return every text that a reader may take the body for.

    A byte order mark, a charset and NULs at every other place tell of another encoding, and may lie: UTF-8 is always
    looked at too.
    """
    names = [name for mark, name in _BOMS if body.startswith(mark)][:1]
    if codec:
        names.append(codec)
    begin = body[:400]
    if not names and begin.count(0) * 3 >= len(begin) > 1:  # RFC 4627, section 3
        names.append("utf-16-be" if begin[::2].count(0) > begin[1::2].count(0) else "utf-16-le")
    texts = [body.decode(name, "replace").removeprefix("\ufeff") for name in (*names, "utf-8")]
    return list(dict.fromkeys(texts))


def _json_texts(text: str) -> list[str]:
    """Return keys and values of a JSON text, or of each of its lines; twice the same key is two values."""
    try:
        return _strings(_JSON.decode(text))
    except (ValueError, RecursionError):
        pass
    if "\n" not in text:
        return [text]
    found: list[str] = []
    try:
        for line in text.splitlines():
            found += _strings(_JSON.decode(line)) if line.strip() else []
    except (ValueError, RecursionError):
        return [text]
    return found


class _Pairs(list[tuple[str, object]]):
    """A JSON object with all that it holds."""


_JSON = json.JSONDecoder(object_pairs_hook=_Pairs)


def _strings(value: object) -> list[str]:
    """Return all strings of a value in their order, without recursion."""
    found: list[str] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, _Pairs):
            waiting.extend(part for key, inner in reversed(one) for part in (inner, key))
        elif isinstance(one, list):
            waiting.extend(reversed(one))
    return found


def _plain_texts(text: str, kind: str) -> list[str]:
    """Return the fields of a form, or the text as it stands. Without a type, a form is likely and not sure: both."""
    if kind == _FORM:
        return _fields(text)
    if not kind:
        return [text, *(part for part in _fields(text) if part not in text)]
    if _CDATA in text:  # it may begin and end within a word
        return [text, text.replace(_CDATA, "").replace("]]>", "")]
    return [text]


def _fields(text: str, codec: str = "utf-8") -> list[str]:
    """Return names and values of a form; a name that comes again at once (a list's) does not part its values."""
    try:
        fields = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, encoding=codec, errors="replace")
    except ValueError:
        return [unquote_plus(text, codec, errors="replace")]
    found: list[str] = []
    last = None
    for name, value in fields:
        found += [value] if name == last else [name, value]
        last = name
    return found


def _parts(body: bytes, boundary: str, depth: int) -> list[str] | None:
    """Return the texts of all parts; None where it is not what it says, so that it is looked at as a whole."""
    mark = b"--" + boundary.encode("utf-8", "replace")
    preamble, *parts = (b"\r\n" + body).split(b"\r\n" + mark, _MOST_PARTS + 1)
    if not parts or len(parts) > _MOST_PARTS or not parts[-1].startswith(b"--"):
        return None
    found = texts_of(preamble.strip(), "text/plain", depth + 1)
    for part in parts[:-1]:
        head, split, content = part.partition(b"\r\n\r\n")
        if not split or len(head) > _LARGEST_PART_HEAD or mark in content:
            return None
        found += _part_texts(head.decode("utf-8", "replace"), content, depth)
    return found + texts_of(parts[-1][2:].strip(), "text/plain", depth + 1)


def _part_texts(head: str, content: bytes, depth: int) -> list[str]:
    """Return the names that a part gives itself and, unless it is binary, its content."""
    fields = {
        name.strip().lower(): value.strip() for line in head.split("\r\n") for name, _, value in [line.partition(":")]
    }
    names = [unquote_plus(word, errors="replace") for word in re.findall(r'"([^"]*)"', head)]
    names += [unquote_plus(word, errors="replace") for word in _FILENAME.findall(head)]
    kind = fields.get("content-type", "text/plain")
    is_text = kind.lower().startswith(("text/", "multipart/")) or "json" in kind or "xml" in kind
    inner = texts_of(content, kind, depth + 1) if is_text or _looks_like_text(content) else []
    return [*(_sound(name) for name in names if name), *inner]


def _looks_like_text(content: bytes) -> bool:
    """Tell whether a file is text, whatever type it claims and whatever few bytes of it are none."""
    begin = content[:4096]
    if begin.startswith(_PDF):
        return False
    if begin.startswith(tuple(mark for mark, _ in _BOMS)) or begin.count(0) * 3 >= len(begin) > begin[:2].count(0) > 0:
        begin = begin.replace(b"\0", b"")
    return len(begin) - len(begin.translate(None, _CONTROLS)) <= len(begin) * _MOST_CONTROLS


def _sound(text: str) -> str:
    """Return a text without lone surrogates, which no file and no database can hold."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def joined(texts: Sequence[str]) -> tuple[str, list[int]]:
    """Return all texts as one, and where each begins in it."""
    starts: list[int] = []
    place = 0
    for text in texts:
        starts.append(place)
        place += len(text) + 1
    return "\n".join(texts), starts
