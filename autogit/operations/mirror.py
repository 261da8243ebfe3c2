"""Mirrors, as an admin uses them: declare, list, see how they stand, bring a backup back, forget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from pydantic import ValidationError

from autogit.core.mirrors import RULES_FILE, parse_source, read_rules, rule_name, standing, write_rules
from autogit.errors import UsageError
from autogit.model.mirror import (
    MirrorRecord,
    MirrorRestoreView,
    MirrorRule,
    MirrorRulesView,
    MirrorRuleView,
    MirrorState,
    MirrorStatusView,
    MirrorView,
    SourceKind,
    TargetRecord,
)
from autogit.operations.audit import write_audit
from autogit.operations.gitlab_wishes import GITLAB
from autogit.operations.project import Project
from autogit.providers.git.bare import BareCopy
from autogit.providers.git.runner import Git
from autogit.providers.host.atomic import write_atomic
from autogit.providers.host.mirror_records import MirrorRecords

_GROUP = "mirrors"
_MOMENT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class MirrorOptions:
    """How a mirror is added, beside its source; `name` is made from the source where it is empty.

    `group` is the GitLab group that projects are made in; "" for where the platform's GitLab has mirrors, if it has
    one. `bare` is for no projects at all.
    """

    name: str = ""
    server: str = ""
    credential: str = ""
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    forks: bool = False
    archived: bool = True
    private: bool = True
    releases: bool = False
    issues: bool = False
    group: str = ""
    bare: bool = False


def load_rules(project: Project) -> tuple[MirrorRule, ...]:
    """Return what is declared. Raises SettingsError."""
    path = project.paths.mirror_rules
    return read_rules(path.read_text(encoding="utf-8")) if path.exists() else ()


def choose_rules(rules: Sequence[MirrorRule], names: Iterable[str]) -> tuple[MirrorRule, ...]:
    """Return the rules of some names, all where none is given. Raises UsageError for a name that is not there."""
    wanted = tuple(names)
    known = {rule.name: rule for rule in rules}
    if unknown := sorted(set(wanted) - known.keys()):
        raise UsageError(f"no mirror is called {', '.join(unknown)}", hint="autogit mirror list")
    return tuple(known[name] for name in dict.fromkeys(wanted)) if wanted else tuple(rules)


def open_records(project: Project) -> MirrorRecords:
    """Return what is known of the project's mirrors."""
    return MirrorRecords(project.paths.mirrors / "records.sqlite")


def add(project: Project, source: str, options: MirrorOptions) -> MirrorRulesView:
    """Declare a mirror; nothing is fetched yet. Raises UsageError and SettingsError."""
    kind, owner = parse_source(source)
    rules = load_rules(project)
    rule = _rule(kind, owner, replace(options, group=_group(project, options)))
    if any(one.name == rule.name for one in rules):
        raise UsageError(f"there is a mirror {rule.name} already", hint=f"give this one a --name, or edit {RULES_FILE}")
    if rule.credential and rule.credential not in project.secrets.list_names():
        raise UsageError(f"there is no secret {rule.credential}", hint=f"autogit secrets set {rule.credential}")
    write_atomic(project.paths.mirror_rules, write_rules((*rules, rule)).encode(), 0o644)
    write_audit(project.paths, project.context.clock(), "mirror add", {"mirror": rule.name, "source": source})
    return list_rules(project)


def _group(project: Project, options: MirrorOptions) -> str:
    if options.bare or options.group:
        if options.bare and options.group:
            raise UsageError("--bare and --group exclude each other: without a project there is no group for it")
        return options.group
    services = project.outline().services
    return _GROUP if any(one.name == GITLAB and not one.unavailable for one in services) else ""


def _rule(kind: SourceKind, owner: str, options: MirrorOptions) -> MirrorRule:
    try:
        given = {**asdict(options), "name": options.name or rule_name(kind, owner)}
        del given["bare"]
        return MirrorRule.model_validate({**given, "kind": kind, "owner": owner})
    except ValidationError as exc:
        names = ", ".join(sorted({f"--{error['loc'][0]}" for error in exc.errors(include_url=False)}))
        raise UsageError(
            f"{names}: not in the form that it must have",
            hint="a name is of small letters, digits and -; a credential is a secret's name, not a token; a group is a "
            "path like mirrors/github",
        ) from exc


def remove(project: Project, name: str) -> MirrorRulesView:
    """Take a mirror's declaration and records away; its copies stay where they are. Raises UsageError."""
    rules = load_rules(project)
    (rule,) = choose_rules(rules, [name])
    write_atomic(project.paths.mirror_rules, write_rules(one for one in rules if one is not rule).encode(), 0o644)
    open_records(project).forget(name)
    write_audit(project.paths, project.context.clock(), "mirror remove", {"mirror": name})
    return list_rules(project)


def list_rules(project: Project) -> MirrorRulesView:
    """Return what is declared, and how many repositories each mirror has."""
    counts = Counter(record.rule for record in open_records(project).load())
    return MirrorRulesView(
        rules=tuple(
            MirrorRuleView(
                name=rule.name,
                source=f"{rule.kind}:{rule.owner}",
                repositories=counts[rule.name],
                interval_seconds=rule.interval_seconds,
                credential=rule.credential,
                group=rule.group,
            )
            for rule in load_rules(project)
        )
    )


def status(project: Project, names: Iterable[str] = ()) -> MirrorStatusView:
    """Return how each copy stands, by its last proof."""
    rules = choose_rules(load_rules(project), names)
    return status_of(rules, open_records(project).load(), project.context.clock())


def status_of(rules: Sequence[MirrorRule], records: Iterable[MirrorRecord], now: datetime) -> MirrorStatusView:
    """Return the status of some rules' records."""
    by_name = {rule.name: rule for rule in rules}
    views = tuple(_view(record, by_name[record.rule], now) for record in records if record.rule in by_name)
    counts = Counter(str(view.state) for view in views)
    return MirrorStatusView(counts={str(state): counts[str(state)] for state in MirrorState}, mirrors=views)


def _view(record: MirrorRecord, rule: MirrorRule, now: datetime) -> MirrorView:
    proof, target = record.proof, (record.target if rule.group else None) or TargetRecord()
    detail = record.error or (f"copied, but: {target.error}" if target.error else "")
    if record.gone_since:
        detail = f"not at the source any more since {record.gone_since.strftime(_MOMENT)}; the copy stays"
    elif record.moved:
        detail = f"the source has it as {record.moved} now; the copy stays as it was"
    return MirrorView(
        rule=record.rule,
        path=record.path,
        identity=record.identity,
        state=standing(record, rule, now),
        proven_at=proof.at.strftime(_MOMENT) if proof else "",
        lag_seconds=int((now - proof.at).total_seconds()) if proof else None,
        refs=proof.refs if proof else 0,
        lfs_objects=proof.lfs_objects if proof else 0,
        detail=detail,
        differences=record.differences + target.differences,
        folder=record.folder,
        target=target.path,
        target_proven_at=target.proof.at.strftime(_MOMENT) if target.proof else "",
    )


def find_record(project: Project, rule: str, path: str) -> MirrorRecord:
    """Return a repository's record. Raises UsageError where there is none."""
    choose_rules(load_rules(project), [rule])
    for record in open_records(project).load():
        if record.rule == rule and path in {record.path, record.identity}:
            return record
    raise UsageError(f"{rule} has no repository {path}", hint=f"autogit mirror status {rule}")


async def restore(project: Project, rule: str, path: str, ref: str, date: str = "") -> MirrorRestoreView:
    """Bring back what a ref was before the source replaced or deleted it, beside what it is now.

    Raises UsageError where there is no such repository or backup.
    """
    record = find_record(project, rule, path)
    copy = BareCopy(project.paths.mirrors / record.folder, Git())
    found = await copy.restore(ref, date=date)
    row = {"mirror": rule, "repository": path, "ref": ref, "restored": found.ref}
    write_audit(project.paths, project.context.clock(), "mirror restore", row)
    return MirrorRestoreView(ref=found.ref, object_id=found.object_id, folder=str(copy.path))
