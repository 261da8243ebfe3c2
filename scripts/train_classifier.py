"""Train the classifier of the prompt-injection filter: a corpus becomes autogit/security/data/classifier.bin.

Run `python scripts/train_classifier.py CORPUS` (or set AUTOGIT_PROMPT_CORPUS); `pip install 'autogit[train]'` has what
it needs. The same corpus gives the same bytes, with the same releases of numpy, scipy and scikit-learn. `--figures`
also trains a model for each source, without that source, and prints what it says of it: the table of the model card.

The file holds weights of hashes and no text. Windows of texts are what is learnt from: those that hold the planted
payload where the corpus tells it, else those of an attack that a first model thinks worst of.
"""
# ruff: noqa: INP001, T201, E402 - a script beside others, not a package; it prints; the repository goes on the path first

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # sums in one order
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import numpy as np
from scipy.sparse import csr_matrix, vstack
from sklearn.linear_model import LogisticRegression

from autogit.security import classifier
from autogit.security.classifier import Header, spans_of, word_grams, words_of
from autogit.security.views import View, build_views
from tests.security.corpus import CorpusError, Row, corpus_path, digest, load_corpus
from tests.security.mutations import ENCODINGS

ARTEFACT = ROOT / "autogit" / "security" / "data" / "classifier.bin"
_BITS = 16
_STRENGTH = 2000.0
_ROUNDS = 60
_MOST_WINDOWS = 24
_FOLDS = 5
_FAR = 1e6
_LARGEST = 32_767
_MANY = 1 << 22
_SURE_RATE = 0.002
_OBFUSCATED = "script-obfuscated dev attacks"
_KEY = 60
_EVERY, _PART = 8, 500
_ENCODINGS = (
    "base64",
    "hex",
    "percent",
    "hex, spaced",
    "base64, wrapped",
    "entities",
    "unicode escapes",
    "rot13",
    "base32",
)
_READABLE = ("obfuscated:homoglyph", "obfuscated:zero-width", "obfuscated:html-comment")
_HEAD = "| source, left out in training | texts | AUC against all benign texts | above 99 % of benign texts |"

Matrix = Any
Numbers = Any


@dataclass
class Windows:
    """All windows of a corpus: their features, the row each is of, whether it holds a known payload, or is apart.

    Windows overlap; those that are apart, one after the other, hold all of a text.
    """

    features: Matrix
    row: Numbers
    payload: Numbers
    apart: Numbers


@dataclass
class Corpus:
    """What is learnt from: rows, the groups each belongs to (left out together), and their windows."""

    rows: Sequence[Row]
    groups: list[set[str]]
    windows: Windows


@dataclass
class Fit:
    """A model before it is rounded."""

    weights: Numbers
    bias: float


def main() -> None:
    """Train, write the file, and tell its digest."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("corpus", nargs="?", help="the corpus, JSON lines (default: AUTOGIT_PROMPT_CORPUS)")
    options.add_argument("--out", type=Path, default=ARTEFACT, help="where to write the model (default: %(default)s)")
    options.add_argument("--figures", action="store_true", help="print figures of each source that was left out")
    given = options.parse_args()
    try:
        path = corpus_path(given.corpus)
        rows = load_corpus(path)
        corpus = prepared([*rows, *encoded(rows)])
    except CorpusError as exc:
        sys.exit(f"error: {exc}")
    data = trained(corpus, digest(path))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_bytes(data)
    print(f"corpus    {digest(path)}\nartefact  {hashlib.sha256(data).hexdigest()}  {len(data)} bytes")
    if given.figures:
        print(figures(corpus))


def trained(corpus: Corpus, corpus_digest: str) -> bytes:
    """Return the bytes of a model of the whole corpus; where it begins and ends comes from texts it has not seen."""
    nothing, sure = calibrated(corpus)
    fit = fitted(corpus, np.ones(len(corpus.rows), dtype=bool))
    return packed(fit, nothing, sure, corpus_digest)


def train_without(rows: Sequence[Row], place: Path) -> dict[str, Path]:
    """Train models that have not seen a source nor what is akin to it; return for each source where its model lies."""
    corpus = prepared([*rows, *encoded(rows)])
    nothing, sure = calibrated(corpus)
    made: dict[str, Path] = {}
    for number, out in enumerate(_left_out(rows)):
        path = place / f"{number}.bin"
        path.write_bytes(packed(fitted(corpus, _without(corpus, out)), nothing, sure, ""))
        made |= {row.source: path for row in rows if _family(row.source) in out}
    return made


def encoded(rows: Sequence[Row]) -> list[Row]:
    """Encode a part of the benign texts: what is encoded is no attack by that."""
    benign = [row for row in rows if not row.attack]
    made = []
    for at, row in enumerate(benign[::_EVERY]):
        name = _ENCODINGS[at % len(_ENCODINGS)]
        part = f"{row.text[:_PART]}\n{ENCODINGS[name](row.text[_PART : 2 * _PART])}\n"
        made.append(replace(row, text=part, category="benign-encoded"))
    return made


def prepared(rows: Sequence[Row]) -> Corpus:
    """Work out the windows of all rows, and which rows belong together."""
    views = [build_views(row.text) for row in rows]
    return Corpus(rows, _groups(rows, views), _windows(rows, views))


def fitted(corpus: Corpus, use: Numbers) -> Fit:
    """Learn from the rows that are in use: first from every window, then from those that matter."""
    windows = corpus.windows
    attack = np.array([row.attack for row in corpus.rows])
    use_window = use[windows.row]
    known = np.zeros(len(corpus.rows), dtype=bool)
    known[windows.row[windows.payload]] = True
    positive = attack[windows.row] & (windows.payload | ~known[windows.row])
    keep = use_window & (positive | (windows.apart & ~attack[windows.row]))
    first = _solve(windows, keep, positive, _weights(corpus, keep))
    logits = windows.features @ first.weights + first.bias
    keep &= ~positive | windows.payload | _among_worst(logits, windows.row, len(corpus.rows))
    return _solve(windows, keep, positive, _weights(corpus, keep), first)


def calibrated(corpus: Corpus) -> tuple[float, float]:
    """Return the log odds that half of all benign texts reach, and those that hardly one does, all of them unseen."""
    sources = sorted({_family(row.source) for row in corpus.rows})
    found: list[float] = []
    for fold in range(_FOLDS):
        out = set(sources[fold::_FOLDS])
        fit = fitted(corpus, _without(corpus, out))
        best = best_logits(corpus, fit)
        found += [best[at] for at, row in enumerate(corpus.rows) if not row.attack and _family(row.source) in out]
    nothing, sure = np.quantile(np.array(found), [0.5, 1 - _SURE_RATE])
    return round(float(nothing), 3), round(float(sure), 3)


def best_logits(corpus: Corpus, fit: Fit) -> Numbers:
    """Return for every row the log odds of its worst window."""
    logits = corpus.windows.features @ fit.weights + fit.bias
    best = np.full(len(corpus.rows), -20.0)
    np.maximum.at(best, corpus.windows.row, logits)
    many = np.bincount(corpus.windows.row, minlength=len(corpus.rows))
    return best - classifier.LENGTH * np.log(np.maximum(many, 1))


def packed(fit: Fit, nothing: float, sure: float, corpus_digest: str) -> bytes:
    """Round the weights to two bytes each and put the header before them."""
    scale = float(f"{np.abs(fit.weights).max() / _LARGEST:.6g}")
    tables = np.clip(np.round(fit.weights / scale), -_LARGEST, _LARGEST).astype("<i2")
    header = Header(
        kind="autogit-prompt-classifier",
        format=1,
        bits=_BITS,
        bias=round(fit.bias, 3),
        scale=scale,
        nothing=nothing,
        sure=sure,
        corpus=corpus_digest,
    )
    return json.dumps(header.model_dump(), sort_keys=True).encode() + b"\n" + tables.tobytes()


def figures(corpus: Corpus) -> str:
    """Return a table: of each source, what a model says that has not seen it."""
    benign: list[float] = []
    attacks: dict[str, list[float]] = defaultdict(list)
    for out in _left_out(corpus.rows):
        best = best_logits(corpus, fitted(corpus, _without(corpus, out)))
        for at, row in enumerate(corpus.rows):
            if _family(row.source) in out:
                (attacks[row.source] if row.attack else benign).append(float(best[at]))
    ordered = np.sort(np.array(benign))
    limit = ordered[-1 - len(ordered) // 100]
    lines = [_HEAD, "|---|---|---|---|"]
    every = [one for scores in attacks.values() for one in scores]
    for name, scores in [*sorted(attacks.items()), ("all attacks", every)]:
        above = np.mean(np.array(scores) > limit) * 100
        lines.append(f"| {name} | {len(scores)} | {_auc(scores, ordered):.3f} | {above:.1f} % |")
    return "\n".join(lines)


def _auc(scores: Sequence[float], benign: Numbers) -> float:
    below = np.searchsorted(benign, scores, "left") + np.searchsorted(benign, scores, "right")
    return float(np.mean(below) / 2 / len(benign))


def _solve(windows: Windows, keep: Numbers, positive: Numbers, weights: Numbers, start: Fit | None = None) -> Fit:
    model = LogisticRegression(C=_STRENGTH, max_iter=_ROUNDS, tol=1e-3, warm_start=start is not None)
    if start is not None:
        model.coef_, model.intercept_ = start.weights[None, :].copy(), np.array([start.bias])
        model.classes_ = np.array([False, True])
    model.fit(windows.features[keep], positive[keep], sample_weight=weights[keep])
    return Fit(model.coef_[0], float(model.intercept_[0]))


def _weights(corpus: Corpus, keep: Numbers) -> Numbers:
    """Weigh windows: attacks and benign texts count alike, a large source no more than the root of its size."""
    row = corpus.windows.row
    per_row = np.bincount(row[keep], minlength=len(corpus.rows))
    sources = Counter((one.source, one.attack) for at, one in enumerate(corpus.rows) if per_row[at])
    value = np.array(
        [1 / sqrt(sources[one.source, one.attack]) if per_row[at] else 0.0 for at, one in enumerate(corpus.rows)]
    )
    attack = np.array([one.attack for one in corpus.rows])
    # Of a benign text every window counts; of an attack all of them together, somewhat more where there are many.
    each = np.where(attack, value / np.sqrt(np.maximum(per_row, 1)), value)[row]
    attacking = attack[row] & keep
    each[attacking] /= 2 * each[attacking].sum()
    each[keep & ~attack[row]] /= 2 * each[keep & ~attack[row]].sum()
    return each


def _among_worst(logits: Numbers, row: Numbers, count: int) -> Numbers:
    """Say of each window whether it is in the upper half of its text's, as the first model sees it."""
    best, worst = np.full(count, -_FAR), np.full(count, _FAR)
    np.maximum.at(best, row, logits)
    np.minimum.at(worst, row, logits)
    return logits >= ((best + worst) / 2)[row]


def _without(corpus: Corpus, out: set[str]) -> Numbers:
    return np.array([not (groups & out) for groups in corpus.groups])


def _left_out(rows: Sequence[Row]) -> list[set[str]]:
    """Return what is left out at a time: each source of attacks by itself, those of benign texts some together."""
    attacking = sorted({_family(row.source) for row in rows if row.attack})
    benign = sorted({_family(row.source) for row in rows} - set(attacking))
    return [{one} for one in attacking] + [set(benign[at::_FOLDS]) for at in range(_FOLDS) if benign[at::_FOLDS]]


def _family(source: str) -> str:
    """Return one name for sources that share their texts."""
    return source.split(" in dev carriers", maxsplit=1)[0]


def _groups(rows: Sequence[Row], views: Sequence[Sequence[View]]) -> list[set[str]]:
    """Return for each row its source, for an encoded one that of its plain text, too (and the other way round)."""
    groups = [{_family(row.source)} for row in rows]
    plain = {
        views[at][0].text.strip()[:_KEY]: at
        for at, row in enumerate(rows)
        if row.attack and row.source != _OBFUSCATED and len(row.text) >= _KEY
    }
    for at, row in enumerate(rows):
        if row.source == _OBFUSCATED:
            for key, other in plain.items():
                if any(key in view.text for view in views[at]):
                    groups[at] |= {_family(rows[other].source)}
                    groups[other] |= {_OBFUSCATED}
    return groups


def _windows(rows: Sequence[Row], views: Sequence[Sequence[View]]) -> Windows:
    planted = _payloads(rows)
    parts: list[Matrix] = []
    owners, known, apart = array("l"), array("b"), array("b")
    builder = _Builder()
    for at, row in enumerate(rows):
        for view in views[at]:
            places = _places(view, row, planted) if row.attack else []
            hidden = bool(view.trail) and row.source == _OBFUSCATED
            for number, (start, end) in enumerate(_windows_of(view, builder)):
                owners.append(at)
                known.append(hidden or any(start < stop and begin < end for begin, stop in places))
                apart.append(number % (classifier.WINDOW // classifier.STRIDE) == 0)
        if len(builder) > _MANY:
            parts.append(builder.take())
    parts.append(builder.take())
    features = vstack(parts, format="csr")
    return Windows(features, np.array(owners), np.array(known, dtype=bool), np.array(apart, dtype=bool))


def _windows_of(view: View, builder: _Builder) -> Iterator[tuple[int, int]]:
    text = view.text[: _MOST_WINDOWS * classifier.WINDOW * 7]
    found, texts = list(classifier.TOKEN.finditer(text)), words_of(text)
    grams = word_grams(texts)
    for first, end in spans_of(len(texts)):
        builder.add(texts[first:end], grams[first:end])
        yield found[first].start(), found[end - 1].end()


def _payloads(rows: Sequence[Row]) -> Mapping[str, list[str]]:
    """Return by source the folded payloads that are rows of their own."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.sub == "payload":
            found[row.source].append(build_views(row.text)[0].text.strip())
    return found


def _places(view: View, row: Row, planted: Mapping[str, list[str]]) -> list[tuple[int, int]]:
    """Return where a view has the payload in words; where it has it encoded, that is nothing to learn from."""
    if row.source == _OBFUSCATED and row.category not in _READABLE:
        return []
    wanted = planted.get(row.source, []) if row.sub != "payload" else []
    if row.payload:
        wanted = [build_views(row.payload)[0].text.strip()]
    return [(at, at + len(one)) for one in wanted if one and (at := view.text.find(one)) >= 0]


class _Builder:
    """Collects the rows of a sparse matrix: counts of hashes over the root of the number of words."""

    def __init__(self) -> None:
        self._columns, self._values, self._ends = array("i"), array("f"), array("l", [0])
        self._pieces: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self._columns)

    def add(self, words: Sequence[str], grams: Sequence[tuple[int, int, int]]) -> None:
        mask = (1 << _BITS) - 1
        counts = Counter(one & mask for hashes in grams for one in hashes)
        pieces: Counter[int] = Counter()
        for word in words:
            pieces.update(self._pieces_of(word))
        root = sqrt(len(words))
        self._columns.extend(counts.keys())
        self._values.extend(count / root for count in counts.values())
        self._columns.extend(one + mask + 1 for one in pieces)
        self._values.extend(classifier.PIECE_SHARE * count / root for count in pieces.values())
        self._ends.append(len(self._columns))

    def take(self) -> Matrix:
        shape = (len(self._ends) - 1, 2 << _BITS)
        made = csr_matrix((np.array(self._values), np.array(self._columns), np.array(self._ends)), shape=shape)
        self.__init__()  # type: ignore[misc]
        return made

    def _pieces_of(self, word: str) -> list[int]:
        if word not in self._pieces:
            self._pieces[word] = [one & ((1 << _BITS) - 1) for one in classifier.piece_grams(word)]
        return self._pieces[word]


if __name__ == "__main__":
    main()
