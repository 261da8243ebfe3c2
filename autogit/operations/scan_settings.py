"""What of `.env` concerns a scan; a scan also works where there is none, or where it is another program's."""

from __future__ import annotations

from autogit.core.settings import build_settings, read_env
from autogit.errors import SettingsError
from autogit.model.project import ProjectPaths
from autogit.model.security import SecurityPolicy

_KEYS = ("SECURITY_THRESHOLDS", "SECURITY_CLASSIFIER")


def scan_settings(project: ProjectPaths) -> tuple[SecurityPolicy, bool]:
    """Return the thresholds, and whether the classifier is asked too. Raises SettingsError.

    Only two keys are read: what else a `.env` holds is not this command's business, and many a repository has one that
    is not AutoGit's. One that cannot be read is a fault only where it speaks of these keys.
    """
    if not _speaks_of_it(project):
        return SecurityPolicy(), False
    lines = {key: line for key, line in read_env(project.env_file).items() if key in _KEYS}
    try:
        settings = build_settings({k: one.value for k, one in lines.items()}, (), env_dir=project.env_file.parent)
    except SettingsError as exc:
        places = {key: f"{project.env_file.name} line {one.line}" for key, one in lines.items()}
        faults = [f._replace(place=places.get(f.subject.partition("=")[0], f.place)) for f in exc.faults]
        raise SettingsError(exc.message, hint=exc.hint, faults=faults) from exc
    return settings.security_policy, settings.security_classifier


def _speaks_of_it(project: ProjectPaths) -> bool:
    if project.env_file != project.root / ".env":
        return True  # it was named: it must be there
    if not project.env_file.is_file():
        return False  # a pipe that somebody's password manager feeds would be waited for
    try:
        text = project.env_file.read_bytes()
    except OSError:  # none there, or a folder of that name: some keep a virtual environment in it
        return False
    return any(key.encode() in text for key in _KEYS)
