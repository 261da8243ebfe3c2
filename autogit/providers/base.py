"""The contract between the engine and whatever holds resources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from autogit.errors import Fault
from autogit.model.lockfile import LockEntry
from autogit.model.plan import Change, Outcome
from autogit.model.project import ProjectPaths
from autogit.model.resource import Address, Resource

Clock = Callable[[], datetime]
Progress = Callable[[Address, str], None]


def utc_now() -> datetime:
    """Return the present moment, aware, UTC."""
    return datetime.now(UTC)


def no_progress(_address: Address, _text: str) -> None:
    """Report nowhere."""


@dataclass(frozen=True, slots=True)
class ProviderContext:
    """What every provider is made with: the project's paths, a clock and where to report progress.

    `settings` are the effective non-secret settings by their `.env` names, `templates` is the folder of the templates.
    """

    paths: ProjectPaths
    clock: Clock = utc_now
    progress: Progress = no_progress
    settings: Mapping[str, str] = field(default_factory=dict)
    templates: Path = Path()


@dataclass(frozen=True, slots=True)
class Scope:
    """What to observe: the desired resources of this provider's kinds and the lockfile's entries of them.

    `owner` is what this installation calls itself where what it makes bears its owner's name.
    """

    desired: Mapping[Address, Resource] = field(default_factory=dict)
    owned: Mapping[Address, LockEntry] = field(default_factory=dict)
    owner: str = ""


@dataclass(frozen=True, slots=True)
class HealthStatus:
    """A provider's own health: can it work here and now? `detail` is one sentence, `fix` the way out of a no."""

    ok: bool
    detail: str = ""
    fix: str = ""


class Provider(ABC):
    """Anything selectable by type and name. Constructed without side effects; must not block the event loop."""

    provider_type: ClassVar[str]
    provider_name: ClassVar[str]

    def __init__(self, context: ProviderContext) -> None:
        self.context = context

    @abstractmethod
    async def health(self) -> HealthStatus:
        """Check credentials, rights and reach without changing anything. Never raises for an unhealthy backend."""


class Reconciler(Provider):
    """A provider of resources of one or more kinds.

    The engine calls `observe`, then (after planning) `apply`. A reconciler neither knows where desired resources come
    from nor compares anything. Everything it raises is an AutogitError.
    """

    kinds: ClassVar[tuple[str, ...]]
    signs: ClassVar[bool] = False
    """Whether what it makes bears the name of its owner."""

    @abstractmethod
    async def observe(self, scope: Scope) -> Sequence[Resource]:
        """Read the world: every resource of this provider's kinds that is in `scope` or visibly ours.

        What does not exist is left out. Never changes anything, not even by creating a directory. Observed attributes
        use the desired ones' names and forms, so that a wish that was applied compares equal; more may be added.
        """

    def normalise(self, desired: Sequence[Resource]) -> Sequence[Resource]:
        """Fit wishes to what the backend can hold; raise UnsupportedError for what it cannot."""
        return desired

    async def check(self, changes: Sequence[Change]) -> Sequence[Fault]:
        """Return what stands in the way of changes of this provider's kinds, before any of them is begun.

        An image that cannot be had, a name that another's object has, hardware that is not there. Changes nothing.
        """
        del changes
        return ()

    @abstractmethod
    def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Carry out changes of this provider's kinds, yielding one outcome each as it lands.

        May be called several times at once with changes that do not depend on each other. Repeating a change that was
        already carried out is harmless. A failed change yields an outcome with `ok=False` and its AutogitError, and
        leaves the former state in force; it never raises for it.
        """
