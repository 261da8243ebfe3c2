"""The findings that were accepted: a file of fingerprints, which stay the same when lines move."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from autogit.errors import UsageError
from autogit.model.scan import ScanView


class AcceptedFinding(BaseModel):
    """One accepted finding; the path is for the reader, the fingerprint holds it too.

    Neither the rule's id nor the words: the file would be found suspicious itself, and rightly so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    path: str


class Baseline(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    accepted: tuple[AcceptedFinding, ...] = ()


def load_baseline(file: Path) -> frozenset[str]:
    """Return the fingerprints of a baseline file. Raises UsageError."""
    try:
        baseline = Baseline.model_validate_json(file.read_bytes())
    except OSError as exc:
        hint = "--write-baseline writes one" if isinstance(exc, FileNotFoundError) else ""
        raise UsageError(f"the baseline {file} cannot be read: {exc.strerror}", hint=hint) from exc
    except ValidationError as exc:
        raise UsageError(f"{file} is no baseline of autogit scan", hint="--write-baseline writes it anew") from exc
    return frozenset(one.fingerprint for one in baseline.accepted)


def write_baseline(file: Path, view: ScanView) -> int:
    """Write all findings of a scan as accepted and return their number; the file is replaced as a whole.

    Raises UsageError where it cannot be written.
    """
    found = {
        one.fingerprint: AcceptedFinding(fingerprint=one.fingerprint, path=text.path)
        for text in view.texts
        for one in text.findings
    }
    order = sorted(found.values(), key=lambda one: (one.path, one.fingerprint))
    text = Baseline(accepted=tuple(order)).model_dump_json(indent=2) + "\n"
    try:
        _replace(file, text)
    except OSError as exc:
        raise UsageError(f"the baseline {file} cannot be written: {exc.strerror}") from exc
    return len(order)


def _replace(file: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=file.parent, prefix=f".{file.name}.", delete=False
    ) as new:
        new.write(text)
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o644
    Path(new.name).chmod(mode)
    os.replace(new.name, file)  # noqa: PTH105 - the name of a temporary file is a str
