"""Words of the command line into values: addresses, policies, saved plans."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from autogit.errors import UsageError
from autogit.model.plan import Policy
from autogit.model.resource import Address
from autogit.model.views import PlanView

_SCHEMA = 1


def parse_addresses(words: Iterable[str]) -> list[Address]:
    """Return addresses. Raises UsageError."""
    try:
        return [Address.parse(word) for word in words]
    except ValueError as exc:
        raise UsageError(str(exc)) from exc


def parse_policy(word: str) -> Policy:
    """Return a policy. Raises UsageError."""
    try:
        return Policy(word)
    except ValueError as exc:
        raise UsageError(f"{word} is no policy: one of {', '.join(Policy)}") from exc


def plan_document(view: PlanView, adopt: Iterable[Address] = ()) -> str:
    """Return what `plan --out` writes; `adopt` is what the plan was made with."""
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    document = {
        "schema": _SCHEMA,
        "fingerprint": view.fingerprint,
        "created_at": created,
        "adopt": sorted(map(str, adopt)),
        "plan": view.model_dump(mode="json"),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


class Review(NamedTuple):
    """How a plan is made: with which policy, what it adopts, and which plan it must be (None: any)."""

    policy: Policy
    adopt: frozenset[Address]
    expected_fingerprint: str | None = None


def review_of(plan: Path | None, policy: str, adopt: Iterable[str] | None) -> Review:
    """Return how to make the plan of a file again, or else one of these options. Raises UsageError."""
    if plan is None:
        return Review(parse_policy(policy), frozenset(parse_addresses(adopt or ())))
    return read_plan_file(plan)


def read_plan_file(path: Path) -> Review:
    """Return what is needed to make a saved plan again. Raises UsageError where the file is something else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != _SCHEMA:
            raise UsageError(f"{path} was written by another version of AutoGit", hint="autogit plan --out FILE")
        policy = Policy(document["plan"]["policy"])
        adopt = frozenset(Address.parse(text) for text in document.get("adopt", []))
        return Review(policy, adopt, str(document["fingerprint"]))
    except OSError as exc:
        raise UsageError(f"{path} cannot be read: {exc.strerror}", hint="autogit plan --out FILE writes one") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise UsageError(f"{path} is not a saved plan", hint="autogit plan --out FILE writes one") from exc
