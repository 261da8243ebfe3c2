"""What a git repository holds, asked of git itself: files, messages and names of commits, lines that were added."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from autogit.errors import UsageError
from autogit.security.scanning.decoding import decode
from autogit.security.scanning.diffs import FileDiff, read_diffs
from autogit.security.scanning.texts import COMMIT, DIFF, ScanText, Skipped

# A repository is data: no setting of its own may start a program or change how output looks.
_SAFE = (
    *("-c", "core.quotePath=false", "-c", "core.fsmonitor=false", "-c", "log.showSignature=false"),
    *("-c", "diff.submodule=short", "-c", "core.pager=cat"),
    # Nor may one leave lines out: the first commit's, or those after an empty line of context.
    *("-c", "log.showRoot=true", "-c", "diff.interHunkContext=0", "-c", "diff.suppressBlankEmpty=false"),
)
# As text, whatever git or an attribute takes for binary: one NUL must not hide a page. `decode` tells binaries apart.
_DIFF = (
    *(
        "--patch",
        "--text",
        "--unified=0",
        "--no-color",
        "--no-ext-diff",
        "--no-textconv",
        "--find-renames",
        "--no-relative",
    ),
    *("--src-prefix=a/", "--dst-prefix=b/", "--output-indicator-new=+", "--output-indicator-old=-"),
)
_SHORT = 12

_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    # A partial clone would fetch what it lacks, by a program that its own settings name.
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",  # a replacement would hide what others get
}

# Within a hook git names its repository and index to all it starts. What is staged is asked of that one; the files
# below a folder are asked of the folder's own.
_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


def find_top(folder: Path) -> Path | None:
    """Return the top of the work tree that a folder is in, if there is one and git can be asked."""
    found = _ask(folder, "rev-parse", "--show-toplevel", of_folder=True)
    return Path(os.fsdecode(found.stdout.removesuffix(b"\n"))) if found and found.returncode == 0 else None


def is_ignored(folder: Path) -> bool:
    """Tell whether git ignores a folder: then its own list of files would be empty."""
    found = _ask(folder, "check-ignore", "--quiet", ".", of_folder=True)
    return found is not None and found.returncode == 0


def tracked_files(folder: Path) -> list[str] | None:
    """Return the paths below a folder that git tracks; None where git cannot tell."""
    return _paths(folder, "--cached")


def other_files(folder: Path) -> list[str]:
    """Return the paths below a folder that git neither tracks nor ignores."""
    return _paths(folder, "--others", "--exclude-standard") or []


def require_top(folder: Path) -> Path:
    """Return the top of the work tree. Raises UsageError where there is none."""
    found = _ask(folder, "rev-parse", "--show-toplevel")
    if found is None:
        raise UsageError("git is not installed, or not on PATH")
    if found.returncode:
        raise UsageError(f"git cannot read {folder}: {_last_words(found.stderr)}")
    return Path(os.fsdecode(found.stdout.removesuffix(b"\n")))


def check_range(top: Path, revisions: str) -> None:
    """Raise UsageError for a range that git does not know."""
    found = _ask(top, "rev-list", "--max-count=1", "--end-of-options", revisions, "--")
    if found is None or found.returncode:
        raise UsageError(
            f"git does not know the revisions {revisions!r}: {_last_words(found.stderr if found else b'')}",
            hint="a range as in main..HEAD, or a branch for its whole history; in CI the clone must reach back so far",
        )


def commit_texts(top: Path, revisions: str) -> Iterator[ScanText | Skipped]:
    """Yield the message of each commit of a range, and each name of an author or committer once."""
    words = ("log", "-z", "--encoding=UTF-8", "--format=%H%n%an <%ae>%n%cn <%ce>%n%B", "--end-of-options")
    seen: set[str] = set()
    with _streamed(top, *words, revisions, "--") as stream:
        for record in _records(stream):
            sha, author, committer, message = record.decode("utf-8", "replace").split("\n", 3)
            short = sha[:_SHORT]
            yield ScanText(f"commit/{short}/message", COMMIT, message, commit=short)
            for role, name in (("author", author), ("committer", committer)):
                if name not in seen:
                    seen.add(name)
                    yield ScanText(f"commit/{short}/{role}", COMMIT, name, commit=short)


def range_diffs(top: Path, revisions: str, most_bytes: int) -> Iterator[ScanText | Skipped]:
    """Yield what each commit of a range added to each file; of merges only what is in none of their parents."""
    words = ("log", *_DIFF, "--cc", "--format=%x00%H", "--end-of-options", revisions, "--")
    with _streamed(top, *words) as stream:
        yield from _texts(read_diffs(stream, most_bytes))


def staged_diffs(top: Path, most_bytes: int) -> Iterator[ScanText | Skipped]:
    """Yield what is staged: the lines that the next commit would add."""
    with _streamed(top, "diff", "--cached", *_DIFF) as stream:
        yield from _texts(read_diffs(stream, most_bytes))


def _texts(diffs: Iterator[FileDiff]) -> Iterator[ScanText | Skipped]:
    for diff in diffs:
        text = None if diff.skipped else decode(diff.added)
        if diff.skipped or text is None:
            yield Skipped(diff.path, diff.skipped or "binary")
        elif text:
            yield ScanText(diff.path, DIFF, text, tuple(diff.lines), diff.commit[:_SHORT])


def _paths(folder: Path, *words: str) -> list[str] | None:
    found = _ask(folder, "ls-files", "-z", *words, of_folder=True)
    if found is None or found.returncode:
        return None
    return [os.fsdecode(path) for path in found.stdout.split(b"\0") if path]


def _records(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while chunk := stream.read(1 << 16):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole
    if rest:
        yield rest


def _ask(folder: Path, *words: str, of_folder: bool = False) -> subprocess.CompletedProcess[bytes] | None:
    environment = {key: value for key, value in _environment().items() if not (of_folder and key in _OF_A_HOOK)}
    try:
        return subprocess.run(_command(folder, words), capture_output=True, check=False, env=environment)
    except OSError:
        return None


@contextmanager
def _streamed(folder: Path, *words: str) -> Iterator[IO[bytes]]:
    """Give what git writes, as it comes; raises UsageError where git fails, and ends it when the reader leaves."""
    with tempfile.TemporaryFile() as complaints:
        command = _command(folder, words)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, env=_environment()) as git:
            try:
                yield cast("IO[bytes]", git.stdout)
            except BaseException:
                git.kill()
                raise
        if git.returncode:
            complaints.seek(0)
            raise UsageError(f"git failed: {_last_words(complaints.read())}")


def _command(folder: Path, words: Sequence[str]) -> list[str]:
    return ["git", "-C", str(folder), *_SAFE, *words]


def _environment() -> dict[str, str]:
    return {**os.environ, **_ENVIRONMENT}


def _last_words(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    fatal = [line.removeprefix("fatal: ") for line in lines if line.startswith("fatal: ")]  # warnings come before it
    return (fatal or lines or ["it gave no reason"])[0]
