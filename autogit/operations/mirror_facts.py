"""What a sync reads and notes of a repository: its record merged with what the source tells, what its copy shows."""

from __future__ import annotations

from dataclasses import replace

from autogit.core.mirrors import WIKI, copy_folder
from autogit.model.mirror import Advertisement, Discovery, MirrorRecord, MirrorRule, Proof, SourceRepository
from autogit.providers.git.bare import BareCopy
from autogit.providers.git.packed import read_refs
from autogit.providers.git.refs import mirrored


def merge(rule: MirrorRule, found: Discovery, records: dict[str, MirrorRecord]) -> list[tuple[str, SourceRepository]]:
    """Put what a source has into the records, and return it by identity; each wiki is a repository of its own."""
    listed = [(one.identity, one) for one in found.repositories]
    listed += [
        (f"{one.identity}{WIKI}", replace(one, path=f"{one.path}.wiki", url=one.wiki_url))
        for one in found.repositories
        if one.wiki_url and rule.wiki
    ]
    for identity, one in listed:
        record = records.get(identity)
        if record is None:
            folder = copy_folder(rule, one, (other.folder for other in records.values()))
            record = MirrorRecord(identity, rule.name, one.path, one.url, folder)
        records[identity] = replace(
            record,
            path=one.path,
            url=one.url,
            default_branch=one.default_branch or record.default_branch,
            gone_since=None,
            moved="",
        )
    return listed


def shown(copy: BareCopy, object_format: str) -> Advertisement:
    """Return what a copy shows, read without git: nothing where it is not there."""
    refs = mirrored(read_refs(copy.path))
    try:
        head = (copy.path / "HEAD").read_text().strip()
    except OSError:
        return Advertisement({}, "", "")
    branch = head.removeprefix("ref: ")
    return Advertisement(refs, branch if branch == head or branch in refs else "", object_format)


def with_proof(record: MirrorRecord, proof: Proof, source: Advertisement) -> MirrorRecord:
    """Return the record of a repository that was found equal to its source just now."""
    branch = source.head.removeprefix("refs/heads/")
    return replace(
        record, proof=proof, default_branch=branch, error="", error_code="", failures=0, differences=(), not_before=None
    )
