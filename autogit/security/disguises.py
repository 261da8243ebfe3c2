"""Decoders of words that were drawn apart or respelt: spaced letters, leetspeak, Morse, letters upside down."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby

from autogit.security import hints
from autogit.security.encodings import is_text
from autogit.security.regions import Part, backwards, blocks, matches, respelt, substituted
from autogit.security.vocabulary import split, words

_SIGN = r"(?:[^\w\s()\[\]{}<>\"'`=]|_)"
_SPACED = re.compile(
    # Any characters with blanks between, with a sign of one kind between (blanks among them, or not), a line for each.
    rf"(?<!\S)\S(?:[ \t]{{1,4}}\S(?!\S)){{3,}}|(?<![^\s\"'`(])[^\n](?P<sign>{_SIGN})(?:[\s\S](?P=sign)){{5,}}\S?"
    rf"|(?<!\S)\S(?P<mark>{_SIGN})\S(?:(?P=mark)\S)*(?P=mark)?(?!\S)|(?<![^\n])\S(?:\n{{1,2}}\S(?![^\n])){{4,}}"
)
_GAP = re.compile(r"(\s+)")
_LEET = re.compile(r"[A-Za-z0-9@$!|+€]{2,32}")
_LEET_SIGNS = str.maketrans("0345789@$+€", "oeastbgaste")
_DOUBTFUL = {"|": "li", "!": "il", "6": "gb", "1": "il"}
_WORD_LENGTH = 12
_MANY_LETTERS, _FEW_LETTERS, _LONG_TEXT = 4000, 24, 32 << 10
_SHORTEST_WORD = 2
_SPACES = re.compile("  +")
_LEAST_LEET, _SHORTEST_LEET = 2, 3
_CHANCE = 200
"""Of so many random tokens, one or the other may spell a word."""
_PIECE, _OVERLAP, _LONGEST = 8192, 512, 64
_LONG_LEET = 5
_MORSE = re.compile(r"[.\-_\u00b7\u2022]{1,7}(?:[ /|\n]{1,3}[.\-_\u00b7\u2022]{1,7}){7,}")
_MORSE_SIGNS = str.maketrans("_\u00b7\u2022|", "-../")
_MORSE_CODE = (
    ".-=a -...=b -.-.=c -..=d .=e ..-.=f --.=g ....=h ..=i .---=j -.-=k .-..=l --=m -.=n ---=o .--.=p --.-=q .-.=r "
    "...=s -=t ..-=u ...-=v .--=w -..-=x -.--=y --..=z -----=0 .----=1 ..---=2 ...--=3 ....-=4 .....=5 -....=6 "
    "--...=7 ---..=8 ----.=9 .-.-.-=. --..--=, ..--..=?"
)
_TURNED_FROM = "ɐqɔpǝɟƃɓɥıᴉɾʞʃןɯuodbɹsʇnʌʍxʎz˙¡¿"  # noqa: RUF001 - letters that look like others are the point
_TURNED_TO = "abcdefgghiijkllmnopqrstuvwxyz.!?"
TURNED_SIGNS = frozenset("ɐɔǝɟƃɓɥᴉɾʞɯɹʇʌʍʎ")
_TURNED = f"[{''.join(sorted(TURNED_SIGNS))}]"
TURNED_HINT = rf"{_TURNED}(?:[^\n]{{0,8}}{_TURNED}){{2}}"
_PIG = re.compile(r"\b([A-Za-z]{3,18})ay\b")


def spaced_letters(text: str) -> Iterator[Part]:
    """Yield the lines that hold words with something between each two letters, drawn together."""
    most = _MANY_LETTERS if len(text) <= _LONG_TEXT else _FEW_LETTERS
    return substituted(text, _SPACED, lambda run: _drawn_together(run, most), hints.SPACED)


def _drawn_together(run: str, most: int) -> str:
    """Return the words of a run: the commonest gap stands between letters, any other one between words."""
    sign = run[1]
    if not sign.isspace():
        drawn = run[::2] if run[1::2].strip(sign) == "" else run
        return _worded(drawn, most)
    if not run[1::2].strip(" "):
        return _worded(run[::2], most)
    pieces = _GAP.split(run)
    gaps = Counter(pieces[1::2])
    usual = max(gaps, key=lambda gap: (gaps[gap], -len(gap)))
    drawn = "".join(["" if piece == usual else " " if piece.isspace() else piece for piece in pieces])
    return _worded(drawn, most)


def _worded(drawn: str, most: int) -> str:
    """Return drawn-together letters word by word; where the run told no words apart, those that are known are."""
    found = drawn.split()
    return " ".join(found if len(drawn) <= _WORD_LENGTH * len(found) else (_split(one, most) for one in found))


def _split(letters: str, most: int) -> str:
    """Return letters with blanks between words: the best way of all where they are few, else the next longest word."""
    if len(letters) <= most:
        return split(letters)
    return _SPACES.sub(" ", _any_word().sub(r" \g<0> ", letters)).strip()


@lru_cache(maxsize=1)
def _any_word() -> re.Pattern[str]:
    """Return what finds the longest word that begins at a place: a tree of letters, quick to leave."""
    return re.compile(_branches(sorted(one for one in words() if len(one) >= _SHORTEST_WORD)), re.IGNORECASE)


def _branches(rests: Sequence[str]) -> str:
    """Return an expression for the rests of words, given in order."""
    found = [
        re.escape(first) + _branches([one[1:] for one in group])
        for first, group in groupby((one for one in rests if one), key=lambda one: one[0])
    ]
    if not found:
        return ""
    return f"(?:{'|'.join(found)}){'?' if '' in rests else ''}"


def leet_lines(text: str) -> Iterator[Part]:
    """Yield the lines that hold English words with digits and signs for letters, respelt.

    A long text is judged in pieces, so that no heap of other tokens makes the words in one of them look like chance.
    """
    spelt: dict[str, str] = {}

    def as_spelt(token: str) -> str:
        if token not in spelt:
            spelt[token] = _unleet(token)
        return spelt[token] or token

    for group in _groups(blocks(text, hints.leet()), text):
        tokens = {one for start, end in group for one in _LEET.findall(text, start, end)}
        for token in tokens - spelt.keys():
            spelt[token] = _unleet(token)
        if _holds_words({one: spelt[one] for one in tokens}):
            yield from filter(None, (respelt(text, span, _LEET, as_spelt) for span in group))


def _groups(spans: Iterable[tuple[int, int]], text: str) -> Iterator[list[tuple[int, int]]]:
    """Yield short neighbours together and long stretches in pieces, which overlap so that no sentence is cut in two."""
    group: list[tuple[int, int]] = []
    size = 0
    for start, end in spans:
        pieces = range(start, max(start + 1, end - _OVERLAP), _PIECE)
        for at in pieces:
            begin = max(start, text.rfind(" ", max(start, at - _LONGEST), at) + 1) if at > start else start
            group.append((begin, end if at == pieces[-1] else min(end, at + _PIECE + _OVERLAP)))
            size += group[-1][1] - begin
            if size >= _PIECE:
                yield group
                group, size = [], 0
    if group:
        yield group


def _holds_words(spelt: Mapping[str, str]) -> bool:
    found = [word for one, word in spelt.items() if word != one and len(word) >= _SHORTEST_LEET and word in words()]
    return len(found) >= max(_LEAST_LEET, len(spelt) // _CHANCE) or any(len(one) > _LONG_LEET for one in found)


def _unleet(token: str) -> str:
    """Return a token with letters for digits and signs, the word that it spells if there is one."""
    if token.isalpha() or token.isdigit():
        return token
    plain = token.lower().rstrip("!").translate(_LEET_SIGNS)
    for sign, letters in _DOUBTFUL.items():
        if sign in plain:
            known = next((word for one in letters if (word := plain.replace(sign, one)) in words()), None)
            plain = known or plain.replace(sign, letters[0])
    return plain


def morse_runs(text: str) -> Iterator[Part]:
    """Yield what Morse code says."""
    letters = dict(pair.split("=") for pair in _MORSE_CODE.split(" "))
    for match in matches(text, _MORSE, hints.MORSE):
        marked = match.group().translate(_MORSE_SIGNS)
        spelt = [
            "".join(letters.get(code, "") for code in word.split())
            for word in re.split(r" {0,3}/ {0,3}| {2,3}|\n", marked)
        ]
        found = " ".join(spelt)
        if is_text(found) and len(set(found)) > _LONG_LEET:
            yield Part(*match.span(), found if len(spelt) > 1 else split(found))


def turned_lines(text: str) -> Iterator[Part]:
    """Yield the lines that are written upside down, which is back to front as well."""
    table = str.maketrans(_TURNED_FROM, _TURNED_TO)
    for start, end in blocks(text, TURNED_HINT):
        block = text[start:end]
        yield Part(start, end, block[::-1].translate(table), backwards(len(block)))


def pig_latin(text: str) -> Iterator[Part]:
    """Yield the lines in pig Latin, put right."""
    return substituted(text, _PIG, _unpig, hints.PIG_LATIN)


def _unpig(word: str) -> str:
    whole = word.removesuffix("ay")
    guesses = [whole[:-1], *(whole[-size:] + whole[:-size] for size in range(1, min(5, len(whole))))]
    return next((one for one in guesses if one.lower() in words()), word)
