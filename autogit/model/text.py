"""Text made fit to be shown: what comes from elsewhere, and moments."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return a text without signs that steer a terminal: each as `\DDD`, as zone files have it; line ends stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else f"\\{ord(c):03d}" for c in text)


def one_line(text: str) -> str:
    """Return a text fit for a single line of a terminal: nothing in it steers anything."""
    return printable(text).replace("\n", "\\010")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 text`, `2 texts`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def moment_words(text: str) -> str:
    """Return a moment (RFC 3339, UTC) as sentences have it: `2026-11-27 15:00 UTC`; "" for none."""
    return f"{text[:10]} {text[11:16]} UTC" if text else ""


def age_words(seconds: int) -> str:
    """Return about how long ago something was: `26 h`, `3 d`."""
    for size, least, unit in ((86400, 2, "d"), (3600, 1, "h"), (60, 1, "min")):
        if seconds >= size * least:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
