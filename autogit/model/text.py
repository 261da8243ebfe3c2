"""Text from elsewhere, made fit to be shown."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return a text without signs that steer a terminal: each as `\DDD`, as zone files have it; line ends stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else f"\\{ord(c):03d}" for c in text)
