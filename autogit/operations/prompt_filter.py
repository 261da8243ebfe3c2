"""What the service prompt-filter needs before it starts."""

from __future__ import annotations

from autogit.core.context import FILTER_SERVICE
from autogit.model.project import ProjectPaths
from autogit.model.spec import PlatformSpec
from autogit.operations.quarantine import ensure_recipient


def prepare_filter(paths: ProjectPaths, spec: PlatformSpec) -> None:
    """Make the quarantine's folder and public key, where the filter is to run: it has no secret to make one with.

    Raises SecretStoreError and StorageFullError.
    """
    if any(service.name == FILTER_SERVICE for service in spec.running):
        ensure_recipient(paths)
