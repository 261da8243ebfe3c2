"""Decoders of words that were drawn apart or respelt: spaced letters, leetspeak, Morse, letters upside down."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from autogit.security import hints
from autogit.security.encodings import is_text
from autogit.security.regions import Part, backwards, blocks, matches, substituted
from autogit.security.vocabulary import split, words

_SIGN = r"(?:[^\w\s()\[\]{}<>\"'`=]|_)"
_SPACED = re.compile(
    # Any characters with blanks between, with a sign of one kind between (blanks among them, or not), a line for each.
    rf"(?<!\S)\S(?:[ \t]{{1,4}}\S(?!\S)){{3,}}|(?<![^\s\"'`(])[^\n](?P<sign>{_SIGN})(?:[\s\S](?P=sign)){{5,}}\S?"
    rf"|(?<!\S)\S(?P<mark>{_SIGN})\S(?:(?P=mark)\S)*(?P=mark)?(?!\S)|(?<![^\n])\S(?:\n{{1,2}}\S(?![^\n])){{4,}}"
)
_PAIR = re.compile(r"(\S)(\s*)")
_LEET = re.compile(r"[A-Za-z0-9@$!|+€]{2,32}")
_LEET_SIGNS = str.maketrans("0345789@$+€", "oeastbgaste")
_DOUBTFUL = {"|": "li", "!": "il", "6": "gb", "1": "il"}
_WORD_LENGTH = 12
_LEAST_LEET, _SHORTEST_LEET = 2, 3
_CHANCE = 200
"""Of so many random tokens, one or the other may spell a word."""
_MOST_LEET = 8_000
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
TURNED = re.compile("[ɐɔǝɟƃɓɥᴉɾʞɯɹʇʌʍʎ]")
_PIG = re.compile(r"\b([A-Za-z]{3,18})ay\b")


def spaced_letters(text: str) -> Iterator[Part]:
    """Yield the lines that hold words with something between each two letters, drawn together."""
    return substituted(text, _SPACED, _drawn_together, hints.SPACED)


def _drawn_together(match: re.Match[str]) -> str:
    """Return the words of a run: the commonest gap stands between letters, any other one between words."""
    run, sign = match.group(), match.group("sign") or match.group("mark")
    if sign:
        drawn = run[::2] if run[1::2].strip(sign) == "" else run
        return _worded(drawn)
    pairs = _PAIR.findall(run)
    gaps = Counter(gap for _, gap in pairs[:-1])
    usual = max(gaps, key=lambda gap: (gaps[gap], -len(gap)))
    drawn = "".join(letter if gap in {usual, ""} else f"{letter} " for letter, gap in pairs)
    return _worded(drawn)


def _worded(drawn: str) -> str:
    """Return drawn-together letters word by word; where the run told no words apart, those that are known are."""
    found = drawn.split()
    return " ".join(found if len(drawn) <= _WORD_LENGTH * len(found) else map(split, found))


def leet_lines(text: str) -> Iterator[Part]:
    """Yield the lines that hold English words with digits and signs for letters, respelt."""
    tokens = {one for start, end in blocks(text, hints.leet()) for one in _LEET.findall(text, start, end)}
    spelt = {one: _unleet(one) for one in islice(sorted(tokens), _MOST_LEET)}
    found = [word for one, word in spelt.items() if word != one and len(word) >= _SHORTEST_LEET and word in words()]
    if len(found) >= max(_LEAST_LEET, len(spelt) // _CHANCE) or any(len(one) > _LONG_LEET for one in found):
        yield from substituted(text, _LEET, lambda match: spelt.get(match.group()) or match.group(), hints.leet())


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
    for start, end in blocks(text, TURNED.pattern):
        block = text[start:end]
        yield Part(start, end, block[::-1].translate(table), backwards(len(block)))


def pig_latin(text: str) -> Iterator[Part]:
    """Yield the lines in pig Latin, put right."""
    return substituted(text, _PIG, _unpig, hints.PIG_LATIN)


def _unpig(match: re.Match[str]) -> str:
    whole = match.group(1)
    guesses = [whole[:-1], *(whole[-size:] + whole[:-size] for size in range(1, min(5, len(whole))))]
    return next((one for one in guesses if one.lower() in words()), match.group())
