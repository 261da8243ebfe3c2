"""What routes are given: the project, opened anew for each request, so that an edited `.env` counts at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from fastapi import Depends

from autogit.model.project import ProjectPaths
from autogit.operations.project import Project, Viewpoint, open_project, project_paths


def get_paths() -> ProjectPaths:
    """Return the paths of the project of this process."""
    root = os.environ.get("AUTOGIT_PROJECT_DIR")
    env_file = os.environ.get("AUTOGIT_ENV_FILE")
    return project_paths(Path(root) if root else None, Path(env_file) if env_file else None)


def get_project() -> Project:
    """Open the project of this process. Raises what `open_project` raises."""
    viewpoint = Viewpoint(os.environ.get("AUTOGIT_ENGINE", ""), os.environ.get("AUTOGIT_INGRESS", ""))
    return open_project(get_paths(), viewpoint=viewpoint)


OpenProject = Annotated[Project, Depends(get_project)]
