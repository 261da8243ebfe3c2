"""Looking for prompt injection in files, archives, standard input, and in what a git repository holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from autogit.errors import StoppedError, UsageError
from autogit.model.project import ProjectPaths
from autogit.model.scan import ScannedText, ScanView, SkippedText
from autogit.model.security import Severity
from autogit.model.text import one_line
from autogit.operations.scan_baseline import load_baseline
from autogit.operations.scan_pool import Source, Work, scan_sources
from autogit.operations.scan_settings import scan_settings
from autogit.security.scanning import git
from autogit.security.scanning.files import FileTarget, list_files
from autogit.security.scanning.ignoring import load_ignoring
from autogit.security.scanning.judging import Judged, Judgement
from autogit.security.scanning.reading import Reading, text_of
from autogit.security.scanning.texts import STDIN, ScanText, Skipped

_STDIN = "-"
_STDIN_PATH = "<stdin>"
_MOST_MEGABYTES = 1_000_000


@dataclass(frozen=True)
class ScanRequest:
    """What is to be scanned (one of the first three), and how.

    `source` names the kind of all texts, for thresholds of its own; empty: as it is found. `jobs` 0: one a core.
    """

    paths: Sequence[str] = ()
    git_range: str = ""
    staged: bool = False
    source: str = ""
    fail_on: Severity | None = None
    everything: bool = False
    baseline: Path | None = None
    archives: bool = False
    ignoring: bool = True
    most_megabytes: float = 10.0
    jobs: int = 0


Progress = Callable[[int, int], None]
"""Told how many texts are judged, and how many of them fail."""


@dataclass
class _Tally:
    """What has come out so far."""

    scanned: int = 0
    characters: int = 0
    accepted: int = 0
    failing: int = 0

    def add(self, judged: Judged) -> None:
        self.scanned += 1
        self.characters += judged.characters
        self.accepted += judged.accepted
        self.failing += judged.fails


class _Ignored:
    """Counts what `.autogitignore` took out."""

    count = 0


def scan(
    project: ProjectPaths,
    request: ScanRequest,
    *,
    stdin: BinaryIO | None = None,
    on_progress: Progress = lambda _scanned, _failing: None,
) -> ScanView:
    """Judge every text asked for. Changes nothing.

    Raises UsageError for what cannot be scanned, SettingsError for thresholds that cannot be, StoppedError on Ctrl-C.
    """
    _check(request)
    policy, classifier = scan_settings(project)
    judgement = Judgement(
        policy=policy,
        fail_on=request.fail_on,
        everything=request.everything,
        accepted=load_baseline(project.root / request.baseline) if request.baseline else frozenset(),
        source=request.source,
        classifier=classifier,
    )
    reading = Reading(int(request.most_megabytes * 1_000_000), request.archives)
    ignored = _Ignored()
    work = Work(judgement, reading, request.jobs or len(os.sched_getaffinity(0)))
    try:
        sources = _sources(project.root, request, reading, stdin, ignored)
        return _scanned(sources, work, ignored, on_progress)
    except KeyboardInterrupt as exc:
        raise StoppedError("stopped by Ctrl-C: the scan is not complete", hint="nothing was changed") from exc


def _check(request: ScanRequest) -> None:
    ways = sum((bool(request.paths), bool(request.git_range), request.staged))
    if ways != 1:
        raise UsageError(
            "name one thing to scan: paths, - for standard input, --git REV_RANGE or --staged",
            hint="autogit scan . looks through this folder",
        )
    if _STDIN in request.paths and len(request.paths) > 1:
        raise UsageError("- (standard input) stands alone: scan paths by another command")
    if not 0 < request.most_megabytes <= _MOST_MEGABYTES or request.jobs < 0:
        raise UsageError(f"--max-mb must be more than 0 and at most {_MOST_MEGABYTES}, and --jobs not less than 0")


def _scanned(sources: Iterator[Source], work: Work, ignored: _Ignored, on_progress: Progress) -> ScanView:
    tally = _Tally()
    texts: list[ScannedText] = []
    skipped: list[SkippedText] = []
    for one in scan_sources(sources, work):
        if isinstance(one, Skipped):
            skipped.append(SkippedText(path=one_line(one.path), reason=one_line(one.reason)))
            continue
        tally.add(one)
        if one.told:
            texts.append(one.told)
        on_progress(tally.scanned, tally.failing)
    return ScanView(
        failed=tally.failing > 0,
        fail_on=work.judgement.fail_on,
        scanned=tally.scanned,
        characters=tally.characters,
        findings=sum(len(text.findings) for text in texts),
        accepted=tally.accepted,
        ignored=ignored.count,
        texts=tuple(texts),
        skipped=tuple(skipped),
    )


def _sources(
    here: Path, request: ScanRequest, reading: Reading, stdin: BinaryIO | None, ignored: _Ignored
) -> Iterator[Source]:
    if request.git_range or request.staged:
        return _from_git(here, request, reading, ignored)
    if _STDIN in request.paths:
        return iter((_read_stdin(stdin, reading.most_bytes),))
    listing = list_files(request.paths, here, ignoring=request.ignoring)
    ignored.count = listing.ignored
    return iter(_in_order(listing.targets, listing.skipped))


def _in_order(targets: Sequence[FileTarget], skipped: Sequence[Skipped]) -> list[Source]:
    return sorted((*targets, *skipped), key=lambda one: one.path)


def _from_git(here: Path, request: ScanRequest, reading: Reading, ignored: _Ignored) -> Iterator[Source]:
    top = git.require_top(here)
    ignoring = load_ignoring(top, wanted=request.ignoring)
    if request.git_range:
        git.check_range(top, request.git_range)
    return _kept(_git_texts(top, request, reading.most_bytes), ignoring, ignored)


def _git_texts(top: Path, request: ScanRequest, most_bytes: int) -> Iterator[ScanText | Skipped]:
    if request.staged:
        yield from git.staged_diffs(top, most_bytes)
    else:
        yield from git.commit_texts(top, request.git_range)
        yield from git.range_diffs(top, request.git_range, most_bytes)


def _kept(
    texts: Iterator[ScanText | Skipped], ignoring: Callable[[str], bool], ignored: _Ignored
) -> Iterator[ScanText | Skipped]:
    for text in texts:
        # What a commit says of itself is no file that a pattern could name.
        of_file = isinstance(text, Skipped) or bool(text.lines)
        if of_file and ignoring(text.path):
            ignored.count += 1
        else:
            yield text


def _read_stdin(stdin: BinaryIO | None, most_bytes: int) -> ScanText | Skipped:
    data = stdin.read(most_bytes + 1) if stdin else b""
    if len(data) > most_bytes:
        raise UsageError(f"standard input is larger than {most_bytes / 1_000_000:g} MB", hint="--max-mb lets more in")
    if not data:
        return Skipped(_STDIN_PATH, "empty")
    return text_of(_STDIN_PATH, data, STDIN)
