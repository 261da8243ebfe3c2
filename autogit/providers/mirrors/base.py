"""The contract of a mirror's source, and which of the repositories that it shows a rule wants."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import ClassVar

from autogit.model.mirror import Discovery, MirrorRule, SourceRepository
from autogit.providers.base import HealthStatus, Provider
from autogit.providers.mirrors.data import ForgeData
from autogit.providers.mirrors.names import path_fault, shown


class MirrorSource(Provider):
    """A place that repositories come from: loaded by `load_provider("mirrors", rule.kind, context)`.

    A token is given with each call and kept nowhere; it goes to the forge's own host only, in a header. All that is
    raised is an AutogitError: ProviderAuthError (wrong, expired or too narrow a token), MissingError (no such owner),
    RateLimitedError (with the wait), UnavailableError (5xx, DNS, TLS, no JSON), RejectedError, UnsupportedError.
    Nothing is asked twice: waiting and asking again is the caller's.
    """

    provider_type: ClassVar[str] = "mirrors"

    @abstractmethod
    async def discover(self, rule: MirrorRule, token: str, etags: Mapping[str, str]) -> Discovery:
        """Return the repositories that a rule wants.

        `etags` are those of the last discovery of this rule, or none; what is in them is the source's own affair. A
        fault of the first request is raised. What breaks off later is returned with `complete` False and a note.
        """

    @abstractmethod
    async def find(self, rule: MirrorRule, token: str, identity: str) -> SourceRepository | None:
        """Return what a repository is now, by the identity that discovery gave it; None where it is gone.

        One that went to another owner has its full path (`other/name`) as `path`; the rule's filters do not count.
        """

    @abstractmethod
    def scopes_hint(self, rule: MirrorRule) -> str:
        """Return in one sentence which rights a rule's token needs, and no others."""

    @abstractmethod
    def git_login(self, token: str) -> tuple[str, str]:
        """Return the user name and password that git is to give with a token."""

    def data(self, rule: MirrorRule, token: str) -> ForgeData | None:
        """Return where releases, issues and merge requests are; None where AutoGit copies none of them."""
        del rule, token
        return None

    async def health(self) -> HealthStatus:
        """Say that there is nothing to check without a rule: reach and rights are each rule's own."""
        return HealthStatus(ok=True, detail=f"{self.provider_name} is asked by each mirror with its own credential")


def is_wanted(rule: MirrorRule, repository: SourceRepository) -> bool:
    """Return whether a rule's switches and globs let a repository in.

    Globs are of fnmatch, told apart by case, over the path below the owner and over `owner/path`; a `*` goes across
    slashes. What is not public counts as private.
    """
    if repository.fork and not rule.forks:
        return False
    if repository.archived and not rule.archived:
        return False
    if repository.visibility != "public" and not rule.private:
        return False
    names = (repository.path, f"{rule.owner}/{repository.path}")
    included, excluded = (any(_any_match(name, globs) for name in names) for globs in (rule.include, rule.exclude))
    return included and not excluded


def _any_match(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def select(rule: MirrorRule, found: Iterable[SourceRepository]) -> tuple[tuple[SourceRepository, ...], tuple[str, ...]]:
    """Return the repositories that a rule wants, each once, and a note about each that is left out for its name.

    Of names that differ only by case the first stays.
    """
    kept: dict[str, SourceRepository] = {}
    notes: list[str] = []
    seen: set[str] = set()
    for one in found:
        if one.identity in seen or not is_wanted(rule, one):
            continue
        seen.add(one.identity)
        fault = path_fault(one.path)
        clash = kept.get(one.path.casefold())
        if not fault and clash:
            fault = f"it differs from {shown(clash.path)} by case only"
        if fault:
            notes.append(f"{shown(one.path)} is left out: {fault}")
        else:
            kept[one.path.casefold()] = one
    return tuple(kept.values()), tuple(notes)
