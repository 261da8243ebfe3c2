"""The settings in force, with where each comes from."""

from __future__ import annotations

from dataclasses import dataclass

from autogit.core.settings import load_settings
from autogit.model.project import ProjectPaths
from autogit.operations.project import load_project_catalogue


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting: its value as text (a secret reads `(secret)`) and its place."""

    key: str
    value: str
    source: str


def show_settings(paths: ProjectPaths) -> tuple[SettingRow, ...]:
    """Return every setting. Raises NotInitialisedError, SettingsError and CatalogueError."""
    settings = load_settings(paths.env_file, load_project_catalogue(paths).descriptors)
    return tuple(SettingRow(key, value, settings.source_of(key)) for key, value in settings.effective().items())
