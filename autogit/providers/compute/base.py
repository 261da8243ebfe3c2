"""The contract of a runtime: a reconciler of running services with the few powers that operations need besides."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import ClassVar

from autogit.model.resource import Address
from autogit.providers.base import ProviderContext, Reconciler

Restore = Callable[[Address], bool]
"""Puts a rendered file's former bytes back; tells whether there were any. Called in a thread."""


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

    @property
    @abstractmethod
    def socket(self) -> Path:
        """Where the runtime's control socket lies (it need not exist)."""

    @abstractmethod
    def own_pids(self) -> Collection[int]:
        """Return the pids of this project's processes, their children and what a killed supervisor left; blocks."""

    @abstractmethod
    def log_path(self, service: str) -> Path:
        """Return the file that the service's output goes to; it need not exist."""

    @abstractmethod
    async def logs(self, service: str, *, lines: int) -> Sequence[str]:
        """Return the last `lines` lines of the service's output, the oldest first; empty where there are none."""

    @abstractmethod
    async def restart(self, service: str) -> None:
        """Stop and start the running version and wait until it is ready. Raises NotReadyError with log lines."""

    @abstractmethod
    async def stop_all(self) -> None:
        """End everything that runs, data and logs stay; returns when all of it is gone. Harmless if nothing runs."""
