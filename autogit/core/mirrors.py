"""Deciding about mirrors: what a source is called, where a copy lies, when it is due, and how it stands. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

import yaml
from pydantic import ValidationError

from autogit.core.yaml_source import YamlSource, read_yaml
from autogit.errors import Fault, SettingsError, UsageError
from autogit.model.mirror import (
    MirrorRecord,
    MirrorRule,
    MirrorState,
    Proof,
    SourceKind,
    SourceRepository,
    TargetRecord,
)

RULES_FILE = "mirrors.yml"
WIKI = "#wiki"
"""What a wiki's identity has at its end: it is a repository of its own, and belongs to the project of the other."""
_FORGE = re.compile(r"(github|gitlab|gitea|forgejo|bitbucket):(.+)", re.DOTALL)
_URL = re.compile(r"(?:https?|ssh)://[^\s]+|[\w.-]+@[\w.-]+:[^\s]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9]+")
_LONGEST_PART, _SHORTEST_GROUP = 200, 2
_KEPT_BY_GITLAB = frozenset(
    {
        "badges",
        "blame",
        "blob",
        "builds",
        "commits",
        "create",
        "create_dir",
        "edit",
        "files",
        "find_file",
        "info",
        "new",
        "preview",
        "raw",
        "refs",
        "tree",
        "update",
        "wikis",
    }
)
_JITTER = 0.1
_MOST_BACKOFF = 6
_HEAD = "# The mirrors of this project: `autogit mirror add` writes here, and so may you.\n"


def parse_source(text: str) -> tuple[SourceKind, str]:
    """Return a source's kind and owner: `github:you`, `gitlab:group/sub`, a git URL, or an absolute path.

    Raises UsageError for anything else.
    """
    if match := _FORGE.fullmatch(text):
        name = "gitea" if match[1] == "forgejo" else match[1]
        owner = match[2].strip("/")
        if not re.fullmatch(r"[\w.~-]+(?:/[\w.-]+)*", owner, re.ASCII) or ".." in owner.split("/"):
            raise UsageError(f"{match[1]}: {owner!r} is not the name of a user, an organisation or a group")
        return SourceKind(name), owner
    if text.startswith("/"):
        return SourceKind.PATH, text
    if _URL.fullmatch(text):
        return SourceKind.GIT, text
    raise UsageError(
        f"{text!r} is not a source: github:NAME, gitlab:GROUP, gitea:NAME, bitbucket:WORKSPACE, a git URL or a path",
        hint="autogit mirror add github:you --credential GITHUB_TOKEN",
    )


def rule_name(kind: SourceKind, owner: str) -> str:
    """Return the name that a rule has where none is given."""
    last = owner.rstrip("/").removesuffix(".git")
    last = last if kind not in {SourceKind.GIT, SourceKind.PATH} else last.rpartition("/")[2]
    return f"{kind}-{_UNSAFE.sub('-', last).strip('-.').replace('.', '-').replace('_', '-').lower()}"[:63].rstrip("-")


def read_rules(text: str, place: str = RULES_FILE) -> tuple[MirrorRule, ...]:
    """Return the rules of a file. Raises SettingsError with every fault and its line."""
    if not text.strip():
        return ()
    source = read_yaml(text)
    if source.faults:
        raise _faulty([Fault(f"{place} line {line}", "", sentence) for line, sentence in source.faults])
    data = source.data.get("mirrors") if isinstance(source.data, Mapping) else None
    if not isinstance(data, Sequence) or isinstance(data, str) or set(source.data) != {"mirrors"}:
        raise _faulty([Fault(f"{place} line 1", "mirrors", "must be a list, and the only key")])
    rules: list[MirrorRule] = []
    faults: list[Fault] = []
    for number, one in enumerate(data):
        try:
            rules.append(MirrorRule.model_validate(one))
        except ValidationError as exc:
            faults += _faults(exc, source, number, place)
    names = [rule.name for rule in rules]
    faults += [Fault(place, name, "two mirrors have this name") for name in sorted(set(names)) if names.count(name) > 1]
    if faults:
        raise _faulty(faults)
    return tuple(rules)


def _faults(exc: ValidationError, source: YamlSource, number: int, place: str) -> Iterable[Fault]:
    for error in exc.errors(include_url=False, include_input=False):
        where = ("mirrors", number, *error["loc"])
        yield Fault(f"{place} line {source.line_of(where)}", ".".join(map(str, error["loc"])), error["msg"].lower())


def _faulty(faults: Sequence[Fault]) -> SettingsError:
    count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
    return SettingsError(f"{count} in {RULES_FILE}", faults=faults)


def write_rules(rules: Iterable[MirrorRule]) -> str:
    """Return the file of some rules; what is as by default is left out."""
    rows: list[dict[str, Any]] = [rule.model_dump(mode="json", exclude_defaults=True) for rule in rules]
    return _HEAD + yaml.safe_dump({"mirrors": rows}, sort_keys=False, allow_unicode=True)


def copy_folder(rule: MirrorRule, repository: SourceRepository, taken: Iterable[str]) -> str:
    """Return where a repository's copy lies: `<rule>/<path>.git`, told apart from others that only differ by case."""
    parts = [_UNSAFE.sub("_", part).lstrip(".-") or "_" for part in repository.path.split("/")]
    folder = "/".join((rule.name, *parts))
    if f"{folder}.git".casefold() in {one.casefold() for one in taken}:
        folder += "-" + hashlib.sha256(repository.identity.encode()).hexdigest()[:8]
    return f"{folder}.git"


def fit_path(path: str) -> str:
    """Return a path of which GitLab takes each part: letters and digits, single `.`, `_` or `-` between them.

    What GitLab keeps for itself (`-`, `tree`, `wikis`, ...) or takes for something else (`x.git`) gets an ending.
    """
    *folders, last = path.split("/")
    return "/".join([*(_fit(part, _SHORTEST_GROUP) for part in folders), _fit(last, 1)])


def _fit(part: str, shortest: int) -> str:
    plain = _NOT_PLAIN.sub(lambda found: found[0] if len(found[0]) == 1 and found[0] in "._-" else "-", part)
    plain = plain.strip("._-")[:_LONGEST_PART].rstrip("._-")
    is_kept = plain.casefold() in _KEPT_BY_GITLAB or plain.casefold().endswith((".git", ".atom"))
    return f"{plain or 'x'}-mirror" if is_kept or len(plain) < shortest else plain


def target_paths(group: str, records: Iterable[MirrorRecord], taken: Iterable[str]) -> dict[str, str]:
    """Return the full path that each repository's project has or is to have in GitLab, by identity.

    Those that would have the path of another (GitLab does not tell case apart), of one in `taken`, or of a group that
    others lie in, get an ending of their own; who has a project already keeps its path.
    """
    ordered = sorted(records, key=lambda one: (one.target is None or not one.target.path, one.identity))
    wished = {
        one.identity: one.target.path if one.target and one.target.path else f"{group}/{fit_path(one.path)}"
        for one in ordered
    }
    used = {path.casefold() for path in taken}
    groups = {str(folder).casefold() for path in wished.values() for folder in PurePosixPath(path).parents}
    paths: dict[str, str] = {}
    for record in ordered:
        path = wished[record.identity]
        if path.casefold() in used or path.casefold() in groups:
            path = apart(path, record.identity)
        used.add(path.casefold())
        paths[record.identity] = path
    return paths


def apart(path: str, identity: str) -> str:
    """Return a path that is told apart from another source's of the same name."""
    return f"{path}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def standing(record: MirrorRecord, rule: MirrorRule, now: datetime) -> MirrorState:
    """Return how a mirror stands: its copy, and its project where it has one. Only a proof within its limit is `ok`."""
    if record.gone_since:
        return MirrorState.GONE
    if record.moved:
        return MirrorState.MOVED
    copy = _standing(record.proof, record.error, rule, now)
    if not rule.group or copy is not MirrorState.OK:
        return copy
    target = record.target or TargetRecord()
    return _standing(target.proof, target.error, rule, now)


def _standing(proof: Proof | None, error: str, rule: MirrorRule, now: datetime) -> MirrorState:
    """Tell how one of the two stands: an attempt is no proof."""
    if proof is None:
        return MirrorState.FAILING if error else MirrorState.NEW
    if now - proof.at > timedelta(seconds=rule.stale_after_seconds):
        return MirrorState.STALE
    return MirrorState.FAILING if error else MirrorState.OK


def next_check(record: MirrorRecord, rule: MirrorRule, now: datetime) -> datetime:
    """Return when a copy is due again: its interval, up to a tenth earlier so that not all are due at once.

    After failures it waits twice as long each time, up to 64 intervals but never longer than its limit.
    """
    share = int(hashlib.sha256(record.identity.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    seconds = rule.interval_seconds * (1 - _JITTER * share)
    if record.failures:
        seconds = min(
            seconds * 2 ** min(record.failures, _MOST_BACKOFF), max(rule.interval_seconds, rule.stale_after_seconds)
        )
    return now + timedelta(seconds=seconds)
