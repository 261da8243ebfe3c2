"""Make `autogit/security/data/confusables.txt`: which characters look like which ASCII letter.

    python scripts/confusables.py CONFUSABLES_JSON

CONFUSABLES_JSON is the Unicode consortium's confusables (UTS 39) as the package `confusable_homoglyphs` ships them
(Unicode License).
The table holds one line for each letter: the letter, a blank, and all that looks like it.
"""

# ruff: noqa: INP001, RUF001 - a script beside others, not a package; letters that look like others are its subject

from __future__ import annotations

import json
import sys
import unicodedata
from collections import defaultdict
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "autogit" / "security" / "data" / "confusables.txt"
SCRIPTS = frozenset(
    (
        *("ARMENIAN", "CANADIAN", "CARIAN", "CHEROKEE", "COPTIC", "CYRILLIC", "DESERET", "ELBASAN", "GEORGIAN"),
        *("GOTHIC", "GREEK", "LATIN", "LISU", "LYCIAN", "MODIFIER", "OLD", "OSMANYA", "RUNIC", "TIFINAGH"),
        *("VAI", "WARANG"),
    )
)
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
OWN = {
    "a": "ᴀɐα",
    "b": "ʙƀβв",
    "c": "ᴄɔ",
    "d": "ᴅđ",
    "e": "ᴇǝəεєҽ",
    "f": "ꜰƒ",
    "g": "ɢƃ",
    "h": "ʜħɥн",
    "i": "ɪıᴉ",
    "j": "ᴊɾ",
    "k": "ᴋʞκк",
    "l": "ʟł",
    "m": "ᴍɯм",
    "n": "ɴŋηп",
    "o": "ᴏøο",
    "p": "ᴘρþ",
    "q": "ꞯ",
    "r": "ʀɹг",
    "s": "ꜱ",
    "t": "ᴛʇŧтτ",
    "u": "ᴜυ",
    "v": "ᴠʌν",
    "w": "ᴡʍωѡ",
    "x": "χ",
    "y": "ʏʎγ",
    "z": "ᴢƶ",
}
"""Small capitals, turned and struck letters, and Greek and Cyrillic ones that pass for Latin inside a word."""


def main(source: Path) -> None:
    """Write the table."""
    found: dict[str, str] = {}
    listed = json.loads(source.read_text(encoding="utf-8"))
    for letter in LETTERS:
        for one in listed.get(letter, ()):
            if len(one["c"]) == 1 and _is_foreign(one["c"]):
                found.setdefault(one["c"], letter)
    found |= {char: letter for letter, chars in OWN.items() for char in chars}
    # A capital looks like what its small letter looks like: the I-like ones are listed as small l.
    for char in list(found):
        if (small := char.lower()) != char and small in found:
            found[char] = found[small].upper()
    for char, letter in list(found.items()):
        if len(capital := char.upper()) == 1 and capital != char and _is_foreign(capital):
            found.setdefault(capital, letter.upper())
    for first, chars in _enclosed():
        found |= {chr(first + number): letter for number, letter in enumerate(chars)}
    rows: dict[str, list[str]] = defaultdict(list)
    for char, letter in sorted(found.items()):
        rows[letter].append(char)
    text = "".join(f"{letter} {''.join(rows[letter])}\n" for letter in sorted(rows))
    TARGET.write_text(text, encoding="utf-8")
    print(f"{TARGET}: {len(found)} characters")  # noqa: T201 - a script that people run


def _is_foreign(char: str) -> bool:
    words = unicodedata.name(char, "").split()
    return (
        not char.isascii()
        and unicodedata.normalize("NFKC", char) == char
        and unicodedata.category(char)[0] in "LN"
        and bool(words)
        and words[0] in SCRIPTS
    )


def _enclosed() -> list[tuple[int, str]]:
    """Return letters in black circles and squares, and regional indicators, which NFKC leaves as they are."""
    capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return [(0x1F150, capitals), (0x1F170, capitals), (0x1F1E6, capitals)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
