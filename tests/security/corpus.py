"""Reads a corpus of attacks and look-alikes (its texts are data, and never part of this repository).

A corpus is a file of JSON lines, gzip or not: `text`, `label` (0 benign, 1 attack), `source`, `category`, and where
known `sub`, `tier` (overt, covert), `payload` (the exact string that was planted in the text).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "AUTOGIT_PROMPT_CORPUS"
_FEWEST = 12
"""Of each kind at least so many are in a sample, where there are so many."""


class CorpusError(Exception):
    """There is no corpus; the message is for a reader."""


@dataclass(frozen=True, slots=True)
class Row:
    """One text of a corpus."""

    text: str
    attack: bool
    source: str
    category: str
    sub: str = ""
    tier: str = ""
    payload: str = ""

    @property
    def overt(self) -> bool:
        """Whether it is an attack that shows itself."""
        return self.attack and self.tier != "covert"

    @property
    def stratum(self) -> tuple[str, str, str]:
        """What it counts as in a sample."""
        return (self.category, self.sub, self.source)


def corpus_path(given: str | None = None) -> Path:
    """Return where the corpus lies: what is given, else what the environment says."""
    named = given or os.environ.get(VARIABLE, "")
    if not named:
        raise CorpusError(f"no corpus: give its path, or set {VARIABLE} (it is not a part of this repository)")
    path = Path(named)
    if not path.is_file():
        raise CorpusError(f"no corpus at {path}: a file of JSON lines is wanted, gzip or not")
    return path


def load_corpus(path: Path) -> list[Row]:
    """Read all texts, in the order of the file."""
    data = path.read_bytes()
    lines = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8").split("\n")
    try:
        return [_row(json.loads(line)) for line in lines if line.strip()]
    except (ValueError, KeyError, TypeError) as exc:
        raise CorpusError(f"{path}: not a corpus: {exc!r}") from exc


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def take_sample(rows: Sequence[Row], size: int, seed: int = 7) -> list[Row]:
    """Take so many texts, of each kind its share but not too few; the same ones for the same seed."""
    if size <= 0 or size >= len(rows):
        return shuffled(rows, seed)
    kinds: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        kinds[row.category, row.sub if row.category == "benign-hardneg" else ""].append(row)
    part = size / len(rows)
    taken: list[Row] = []
    for name in sorted(kinds):
        kind = shuffled(kinds[name], seed)
        taken += kind[: max(round(len(kind) * part), min(_FEWEST, len(kind)))]
    return shuffled(taken, seed)


def shuffled(rows: Iterable[Row], seed: int) -> list[Row]:
    """Return them in an order that only the seed decides."""
    mixed = list(rows)
    random.Random(seed).shuffle(mixed)
    return mixed


def _row(record: dict[str, object]) -> Row:
    names = ("source", "category", "sub", "tier", "payload")
    return Row(str(record["text"]), record["label"] == 1, *(str(record.get(name) or "") for name in names))
