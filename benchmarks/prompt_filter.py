"""The prompt-injection filter against its peers, on a corpus of attacks and look-alikes, all in one run.

Run `python benchmarks/prompt_filter.py CORPUS` (or set AUTOGIT_PROMPT_CORPUS; the corpus is no part of this
repository). `--sample 800` is quick: a stratified sample, no stress inputs, the model as shipped. Each filter runs in a
process of its own, at its own default threshold, with a budget; a text that takes longer than its budget counts as
passed. Times are CPU times of the call. The model of `autogit+model` is trained for each source anew, without that
source (`--shipped-model` takes the one that AutoGit comes with instead, which has seen the corpus).

`obfuscated here` and `benign-encoded` are made by this benchmark: texts of the corpus, encoded and planted in benign
ones; compare them with `the same in clear`. A payload is gone where neither it nor a third of its runs of five words
are in the clean text any more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.prompt_figures import Judged, Rates, made_rows, percentile, rates  # noqa: E402 - beside this folder
from benchmarks.prompt_runner import FILTERS, Runner, is_installed  # noqa: E402 - the same
from tests.security.corpus import CorpusError, Row, corpus_path, load_corpus, shuffled, take_sample  # noqa: E402
from tests.security.stress import MEGABYTE, STRESS  # noqa: E402 - the same

_TWO_KB, _BLOCK = 2048, 16384
_SPEED_TEXTS = 300
_TOO_SLOW = 1.0


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    corpus: Path
    names: tuple[str, ...]
    sample: int
    made: int
    stress: int
    budget: float
    text_seconds: float
    shipped_model: bool
    json: bool


@dataclass(frozen=True)
class Figures:
    """Of one filter; times in milliseconds of CPU, `stress` in CPU seconds per megabyte."""

    name: str
    judged: int
    of: int
    late: int
    rates: Rates
    p50: float
    p99: float
    megabytes_per_second: float
    stress: dict[str, float]
    peak_mib: float


def main() -> None:
    """Measure one filter after the other and print a table, or JSON."""
    try:
        asked = _asked()
        rows = load_corpus(asked.corpus)
    except CorpusError as exc:
        sys.exit(f"error: {exc}")
    with tempfile.TemporaryDirectory(prefix="autogit-bench-") as place:
        figures = [_measured(name, asked, rows, Path(place)) for name in asked.names]
    if asked.json:
        print(json.dumps({"where": _where(), "filters": [asdict(one) for one in figures]}, indent=1))
    else:
        seen = "the shipped one, which has seen this" if asked.shipped_model else "one without the source of a text"
        print(f"{_where()}; the model is {seen}\n{_table(figures)}")


def _asked() -> Asked:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("corpus", nargs="?", help="the corpus, JSON lines (default: AUTOGIT_PROMPT_CORPUS)")
    options.add_argument("--sample", type=int, default=0, help="so many texts only, no stress inputs (default: all)")
    options.add_argument("--only", default=",".join(FILTERS), help="filters, separated by commas (default: all)")
    options.add_argument("--made", type=int, default=-1, help="texts of each kind that are encoded here")
    options.add_argument("--stress", type=int, default=-1, metavar="CHARS", help="size of a stress input, 0 for none")
    options.add_argument("--budget", type=float, default=600, help="seconds a filter has for all texts")
    options.add_argument("--text-seconds", type=float, default=10, help="seconds a filter has for one text")
    options.add_argument("--shipped-model", action="store_true", help="do not train a model for each source")
    options.add_argument("--format", choices=("table", "json"), default="table")
    given = options.parse_args()
    names = tuple(given.only.split(","))
    if unknown := [name for name in names if name not in FILTERS]:
        options.error(f"there is no filter {unknown[0]!r} here, only {', '.join(FILTERS)}")
    if missing := [name for name in names if not is_installed(name)]:
        print(f"left out, not installed: {', '.join(missing)} (pip install 'autogit[bench]')", file=sys.stderr)
    quick = given.sample > 0
    return Asked(
        corpus_path(given.corpus),
        tuple(name for name in names if name not in missing),
        given.sample,
        given.made if given.made >= 0 else (12 if quick else 60),
        given.stress if given.stress >= 0 else (0 if quick else MEGABYTE),
        given.budget,
        given.text_seconds,
        given.shipped_model or quick,
        given.format == "json",
    )


def _measured(name: str, asked: Asked, rows: list[Row], place: Path) -> Figures:
    began = time.monotonic()
    texts = [*take_sample(rows, asked.sample), *made_rows(rows, asked.made)]
    texts = shuffled(texts, 3)
    runner = Runner(name, asked.text_seconds, _models(rows, place) if _trains(name, asked) else {})
    try:
        answers = runner.answers(((row.text, row.source) for row in texts), asked.budget)
        judged: list[Judged] = list(zip(texts, answers, strict=False))
        p50, p99 = _two_kilobytes(runner, rows, asked.budget / 10)
        speed = _blocks(runner, rows, asked.budget / 10)
        peak = runner.peak_bytes
        stress = _stress(runner, asked.stress, asked.budget) if asked.stress else {}
    finally:
        runner.close()
    print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    late = sum(one.late for one in answers)
    return Figures(name, len(answers), len(texts), late, rates(judged), p50, p99, speed, stress, peak / 2**20)


def _trains(name: str, asked: Asked) -> bool:
    return name == "autogit+model" and not asked.shipped_model


def _models(rows: list[Row], place: Path) -> dict[str, str]:
    """Train a model for each source, without what that source has; return where they lie."""
    from scripts.train_classifier import train_without  # noqa: PLC0415 - needs the extra `train`, and only this does

    return {source: str(path) for source, path in train_without(rows, place).items()}


def _two_kilobytes(runner: Runner, rows: Sequence[Row], budget: float) -> tuple[float, float]:
    text = _devops(rows)
    parts = [text[at : at + _TWO_KB] for at in range(0, len(text) - _TWO_KB, _TWO_KB)][: _SPEED_TEXTS + 20]
    taken = [one.seconds * 1000 for one in runner.answers(((part, "") for part in parts), budget)][20:]
    return percentile(taken, 0.5), percentile(taken, 0.99)


def _blocks(runner: Runner, rows: Sequence[Row], budget: float) -> float:
    text = _devops(rows)
    parts = [text[at : at + _BLOCK] for at in range(0, len(text) - _BLOCK, _BLOCK)][:64]
    taken = [one.seconds for one in runner.answers(((part, "") for part in parts), budget)]
    done = sum(len(part.encode()) for part in parts[: len(taken)])
    return done / 1e6 / max(sum(taken), 1e-9)


def _devops(rows: Sequence[Row]) -> str:
    return "\n\n".join(row.text for row in shuffled((row for row in rows if row.category == "benign-devops"), 5))


def _stress(runner: Runner, size: int, budget: float) -> dict[str, float]:
    taken: dict[str, float] = {}
    began = runner.spent
    for name, make in STRESS.items():
        if runner.spent - began > budget:
            break
        text = make(size)
        taken[name] = runner.answer(text).seconds / (len(text) / MEGABYTE)  # one that is late has all its budget
    return taken


def _where() -> str:
    load = os.getloadavg()[0]
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f}, {time.strftime('%Y-%m-%d')}"


def _table(figures: Sequence[Figures]) -> str:
    lines = ["", _line("", [one.name for one in figures])]
    lines.append(_line("texts judged", [f"{one.judged} of {one.of}" for one in figures]))
    lines.append(_line("texts over their budget", [str(one.late) for one in figures]))
    for title, name in (("flagged, %", "by_kind"), ("by category, %", "by_category"), ("by source, %", "by_source")):
        lines += ["", title]
        tables = [getattr(one.rates, name) for one in figures]
        for kind in sorted({kind for table in tables for kind in table}):
            most = max(table.get(kind, (0, 0))[1] for table in tables)
            lines.append(_line(f"  {kind[:44]} ({most})", [_share(table.get(kind, (0, 0))) for table in tables]))
    return "\n".join([*lines, "", *_rest(figures)])


def _rest(figures: Sequence[Figures]) -> list[str]:
    def row(title: str, cell: Any) -> str:
        return _line(title, [cell(one) for one in figures])

    lines = [
        row("AUC, all attacks", lambda one: f"{one.rates.auc:.3f}"),
        row("TPR at 1 % FPR, all attacks, %", lambda one: f"{one.rates.tpr_at_1 * 100:.1f}"),
        row("TPR at 1 % FPR, overt, %", lambda one: f"{one.rates.overt_at_1 * 100:.1f}"),
        row("payloads gone from clean_text, %", lambda one: _cleaned(one, one.rates.payload_gone)),
        row("benign texts unchanged, %", lambda one: _cleaned(one, one.rates.benign_unchanged)),
        row("benign-devops texts unchanged, %", lambda one: _cleaned(one, one.rates.devops_unchanged)),
        row("2 KB, p50 / p99, ms", lambda one: f"{one.p50:.2f} / {one.p99:.2f}"),
        row("MB/s, 16 KB blocks", lambda one: f"{one.megabytes_per_second:.2f}"),
        row("peak memory, MiB", lambda one: f"{one.peak_mib:.0f}"),
    ]
    if not any(one.stress for one in figures):
        return lines
    lines += [
        row("worst stress input, s/MB", lambda one: f"{max(one.stress.values(), default=0):.2f}"),
        row(f"stress inputs over {_TOO_SLOW:g} s/MB", lambda one: str(sum(s > _TOO_SLOW for s in one.stress.values()))),
        "",
        "stress inputs, CPU s/MB",
    ]
    names = [name for name in STRESS if any(name in one.stress for one in figures)]
    for name in names:
        cells = [f"{one.stress[name]:.2f}" if name in one.stress else "-" for one in figures]
        lines.append(_line(f"  {name}", cells))
    return lines


def _line(title: str, cells: Sequence[str]) -> str:
    return f"{title:52}" + "".join(f"{cell:>17}" for cell in cells)


def _cleaned(figures: Figures, counted: tuple[int, int]) -> str:
    return _share(counted) if figures.name.startswith("autogit") else "-"  # the peers clean nothing


def _share(counted: tuple[int, int]) -> str:
    hits, of = counted
    return f"{hits * 100 / of:.1f}" if of else "-"


if __name__ == "__main__":
    main()
