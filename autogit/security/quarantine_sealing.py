"""Sealing of quarantined texts: whoever writes needs the public recipient only, whoever reads needs the identity."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyrage

from autogit.errors import QuarantineError

RECIPIENT_FILE = "recipient"
LONGEST_TEXT_BYTES = 64 << 20

Opener = Callable[[bytes], bytes]
"""What decrypts a sealed record; raises QuarantineError or SecretStoreError."""

_HEAD = struct.Struct(">Q")


class Texts(NamedTuple):
    """The two texts of a record."""

    original: str
    sanitized: str


def encoded(text: str) -> bytes:
    """Return a text as bytes, lone surrogates too: none may be refused, least of all an odd one."""
    return text.encode("utf-8", "surrogatepass")


def load_recipient(folder: Path) -> pyrage.x25519.Recipient:
    """Return the public key that texts are sealed for. Raises QuarantineError."""
    path = folder / RECIPIENT_FILE
    try:
        return pyrage.x25519.Recipient.from_str(path.read_text(encoding="ascii").strip())
    except FileNotFoundError as exc:
        raise QuarantineError(
            f"{path} is missing: there is no key to seal quarantined texts with", hint="autogit up"
        ) from exc
    except (OSError, UnicodeDecodeError, pyrage.RecipientError) as exc:
        raise QuarantineError(f"{path} holds no age recipient", hint="remove the file; autogit up") from exc


def seal(texts: Texts, recipient: pyrage.x25519.Recipient) -> bytes:
    """Return both texts as one age file. Raises QuarantineError where they are too long."""
    original, sanitized = encoded(texts.original), encoded(texts.sanitized)
    if max(len(original), len(sanitized)) > LONGEST_TEXT_BYTES:
        raise QuarantineError(
            f"a text of {len(original) >> 20} MB is too long for the quarantine", hint="give it in parts"
        )
    plain = zlib.compress(_HEAD.pack(len(original)) + original + sanitized, level=1)
    return bytes(pyrage.encrypt(plain, [recipient]))


def unseal(sealed: bytes, opener: Opener) -> Texts:
    """Return the texts of a sealed record. Raises QuarantineError and what the opener raises."""
    try:
        # Whoever has the recipient can write such a file: it must not unpack to more than it may hold.
        plain = zlib.decompressobj().decompress(opener(sealed), 2 * LONGEST_TEXT_BYTES + _HEAD.size)
        (length,) = _HEAD.unpack_from(plain)
        original, sanitized = plain[_HEAD.size :][:length], plain[_HEAD.size :][length:]
        return Texts(original.decode("utf-8", "surrogatepass"), sanitized.decode("utf-8", "surrogatepass"))
    except (zlib.error, struct.error, UnicodeDecodeError) as exc:
        raise QuarantineError("the texts of this record are damaged", hint="restore a backup") from exc
