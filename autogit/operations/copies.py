"""The copies of mirrored repositories as they are served: found by what is recorded of them, and by nothing else."""

from __future__ import annotations

from pathlib import Path

from autogit.errors import MissingError
from autogit.model.project import ProjectPaths
from autogit.providers.host.mirror_folders import places_of


def find_copy(paths: ProjectPaths, rule: str, path: str) -> Path:
    """Return the folder of a copy. `path`, without `.git`, is the repository's at its source, or the copy's own.

    Only what is recorded is found, so that no name leads anywhere else; neither does a link that somebody laid there.
    Raises MissingError and MirrorRecordsError.
    """
    places = places_of(paths.mirrors / "records.sqlite", rule)
    by_folder = {place.folder.removeprefix(f"{rule}/").removesuffix(".git"): place.folder for place in places}
    by_path = {place.path.removesuffix(".git"): place.folder for place in places}
    folder = by_folder.get(path) or by_path.get(path)
    root = paths.mirrors.resolve()
    found = (root / folder).resolve() if folder else root
    if not folder or not found.is_relative_to(root) or not (found / "HEAD").is_file():
        raise MissingError("there is no copy of that name", hint="autogit mirror status lists them")
    return found
