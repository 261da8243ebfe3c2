"""The reconciler of what is kept in GitLab itself: `gitlab_setting/...` in the one plan."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from time import monotonic
from typing import ClassVar

from autogit.connectors.gitlab import GitLabClient
from autogit.connectors.gitlab_parts import PARTS, Known, Part, SecretKeeper
from autogit.errors import AutogitError, Fault, MissingError, ProviderAuthError, UnavailableError, UnsupportedError
from autogit.model.gitlab import GITLAB_SETTING
from autogit.model.plan import Action, Change, Outcome
from autogit.model.resource import Address, Resource, Value
from autogit.providers.base import HealthStatus, ProviderContext, Reconciler, Scope

_WORDS = {part.word: part for part in PARTS}


class GitLabSettings(Reconciler):
    """Holds `gitlab_setting/<part>/<name>` of one GitLab.

    `connect` is called for each look and each change: a token that was rotated meanwhile counts. With `is_patient`, a
    GitLab that does not answer or does not take the token has what was last applied, and is no fault: in the one plan
    its container may be about to be started or mended, and everything else goes on.
    """

    provider_type: ClassVar[str] = "connector"
    provider_name: ClassVar[str] = "gitlab"
    kinds: ClassVar[tuple[str, ...]] = (GITLAB_SETTING,)

    def __init__(
        self,
        context: ProviderContext,
        connect: Callable[[], GitLabClient],
        secrets: SecretKeeper,
        *,
        is_patient: bool = False,
    ) -> None:
        super().__init__(context)
        self._connect = connect
        self._secrets = secrets
        self._is_patient = is_patient
        self._turns = asyncio.Lock()

    async def health(self) -> HealthStatus:
        """Ask for the version, and for the user of the token."""
        try:
            client = self._connect()
            version = (await asyncio.to_thread(client.get, "/version"))["version"]
            user = await asyncio.to_thread(client.get, "/user")
        except AutogitError as exc:
            return HealthStatus(ok=False, detail=exc.message, fix=exc.hint)
        if not user.get("is_admin"):
            return HealthStatus(
                ok=False, detail="gitlab: the token is no administrator's", fix="autogit gitlab bootstrap"
            )
        return HealthStatus(ok=True, detail=f"GitLab {version}, as {user.get('username')}")

    def normalise(self, desired: Sequence[Resource]) -> Sequence[Resource]:
        """Refuse what no part holds."""
        for resource in desired:
            _part_of(resource.address)
        return desired

    async def observe(self, scope: Scope) -> Sequence[Resource]:
        """Ask GitLab for everything that is wished or ours."""
        try:
            return await asyncio.to_thread(self._observe, scope)
        except (UnavailableError, ProviderAuthError) as exc:
            if not self._is_patient:
                raise
            self.context.progress(Address(GITLAB_SETTING, "gitlab"), f"{exc.message}: taken as it was last applied")
            ours = (entry for entry in scope.owned.values() if entry.attributes)
            return [Resource(entry.address, entry.attributes) for entry in ours]

    def _observe(self, scope: Scope) -> list[Resource]:
        by_part: dict[str, dict[str, Known]] = {}
        for address in sorted({*scope.desired, *scope.owned}):
            word, name = _part_of(address)
            by_part.setdefault(word, {})[name] = Known(scope.desired.get(address), scope.owned.get(address))
        return [seen for word, known in by_part.items() for seen in self._part(word).observe(known)]

    def _part(self, word: str) -> Part:
        return _WORDS[word](self._connect(), self._secrets)

    async def check(self, changes: Sequence[Change]) -> Sequence[Fault]:
        """Look for settings that GitLab does not have, and groups that still hold something."""
        try:
            return await asyncio.to_thread(self._obstacles, changes)
        except (UnavailableError, ProviderAuthError):
            if not self._is_patient:
                raise
            return ()

    def _obstacles(self, changes: Sequence[Change]) -> list[Fault]:
        faults = []
        for change in changes:
            word, name = _part_of(change.address)
            if not _is_left(change) and (why := self._part(word).obstacle(name, change)):
                faults.append(Fault(str(change.address), "", why))
        return faults

    async def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Carry out one after the other, whoever asks: GitLab has one set of settings."""
        for change in changes:
            async with self._turns:
                began = monotonic()
                detail, attributes, error = await asyncio.to_thread(self._carry_out, change)
            yield Outcome(
                change.address,
                change.action,
                ok=error is None,
                detail=detail,
                attributes=attributes,
                error=error,
                seconds=monotonic() - began,
            )

    def _carry_out(self, change: Change) -> tuple[str, Mapping[str, Value], AutogitError | None]:
        word, name = _part_of(change.address)
        if _is_left(change):
            return "left as it is", {}, None
        try:
            part = self._part(word)
            if change.after is not None:
                detail, more = part.make(name, change)
                return detail, more, None
            return (part.remove(name, change.before) if change.before else "already gone"), {}, None
        except MissingError as exc:
            return ("already gone", {}, None) if change.after is None else ("", {}, exc)
        except AutogitError as exc:
            return "", {}, exc


def _is_left(change: Change) -> bool:
    """Tell whether a delete only has to be recorded: it is gone, or somebody else's."""
    if change.action is not Action.DELETE:
        return False
    return change.gone or change.before is None or bool(change.before.foreign)


def _part_of(address: Address) -> tuple[str, str]:
    word, _, name = address.name.partition("/")
    if word not in _WORDS or not name:
        raise UnsupportedError(f"gitlab: {address} is nothing that is kept in GitLab")
    return word, name
