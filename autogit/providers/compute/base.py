"""The contract of a runtime: a reconciler of running services with the few powers that operations need besides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from autogit.model.host import EngineFacts, ImageFacts
from autogit.model.resource import Address
from autogit.providers.base import ProviderContext, Reconciler

Restore = Callable[[Address], bool]
"""Puts a rendered file's former bytes back; tells whether there were any. Called in a thread."""

REFUSED = "cannot read its new files and goes on with the former ones"
REFUSED_HINT = "autogit plan shows what is new in them; what is below overrides/ may be wrong"


def keep_files(_address: Address) -> bool:
    """Restore nothing."""
    return False


class Runtime(Reconciler):
    """What services run in. Service names that are unknown or not running here raise UnavailableError.

    `restore` is called for each config file of a replacement that failed; whoever makes the runtime may set it.
    """

    provider_type: ClassVar[str] = "compute"

    def __init__(self, context: ProviderContext, *, restore: Restore = keep_files) -> None:
        super().__init__(context)
        self.restore = restore

    unit_kind: ClassVar[str]
    """The kind of resource that a running service is."""

    @property
    @abstractmethod
    def socket(self) -> Path | None:
        """Where the runtime's control socket lies (it need not exist); None where it is not on this machine."""

    async def engine(self, images: Collection[str]) -> EngineFacts | None:
        """Return what the container engine says of itself and of these images; None for a runtime without one."""
        del images
        return None

    @abstractmethod
    def own_pids(self) -> Collection[int]:
        """Return the pids of this project's processes, their children and what a killed supervisor left; blocks."""

    @abstractmethod
    async def units(self) -> Mapping[str, str]:
        """Return the state of each service that is there, as `observe` words it, by the least that must be asked."""

    @abstractmethod
    async def wrote(self) -> Collection[str]:
        """Return the services of which there is any output."""

    @abstractmethod
    def follow(self, services: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield each new line of these services as (service, line) until the caller stops; blocks."""

    @abstractmethod
    async def logs(self, service: str, *, lines: int) -> Sequence[str]:
        """Return the last `lines` lines of the service's output, the oldest first; empty where there are none."""

    def events(self) -> Iterator[str]:
        """Yield a word whenever something may have happened to a service; blocks, ends where nothing can be heard.

        Whoever listens looks again at an interval too. A runtime without events yields none.
        """
        return iter(())

    @abstractmethod
    async def restart(self, service: str) -> None:
        """Stop and start the running version and wait until it is ready. Raises NotReadyError with log lines."""

    @abstractmethod
    async def stop_all(self) -> Sequence[str]:
        """End everything that runs, data stays; returns when all of it is gone. Harmless if nothing runs.

        Returns what had to stay and why, in sentences.
        """


class VolumeKeeper(ABC):
    """The power to keep data in volumes, for runtimes that have them."""

    @abstractmethod
    async def volumes(self) -> Sequence[str]:
        """Return the full names of the project's volumes."""

    @abstractmethod
    async def remove_volume(self, name: str) -> str:
        """Remove one volume that is ours, with its data; return what became of it in a few words."""


class Shell(ABC):
    """The power to run a program beside a service, for runtimes that have it."""

    @abstractmethod
    async def execute(self, service: str, argv: Sequence[str], stdin: bytes = b"") -> bytes:
        """Run a program where a service runs and return its standard output; `stdin` never stands in its arguments.

        Raises UnavailableError where the service does not run, and RejectedError where the program fails, with the last
        lines of its standard error as context.
        """


class ImageKeeper(ABC):
    """The power to hold images, for runtimes that have them."""

    @abstractmethod
    async def pull_image(self, reference: str, report: Callable[[str], None]) -> ImageFacts:
        """Fetch what a reference leads to now. Raises UnavailableError where it cannot be had."""

    @abstractmethod
    async def registry_digest(self, reference: str) -> str:
        """Return the digest that a reference leads to in its registry now. Raises ProviderError, why in a few words."""

    @abstractmethod
    async def save_images(self, references: Sequence[str], file: Path, report: Callable[[str], None]) -> int:
        """Write images (references or ids) to one tar file, atomically; return its size in bytes.

        Raises StorageFullError where it cannot be written; what was there before is intact.
        """

    @abstractmethod
    async def load_images(self, file: Path, report: Callable[[str], None]) -> Sequence[str]:
        """Load the images of a tar file; return their names. Raises RejectedError where it holds none."""
