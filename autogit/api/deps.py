"""What routes are given: the project, opened anew for each request, so that an edited `.env` counts at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from fastapi import Depends

from autogit.operations.project import Project, Viewpoint, open_project, project_paths


def get_project() -> Project:
    """Open the project of this process. Raises what `open_project` raises."""
    root = os.environ.get("AUTOGIT_PROJECT_DIR")
    env_file = os.environ.get("AUTOGIT_ENV_FILE")
    viewpoint = Viewpoint(os.environ.get("AUTOGIT_ENGINE", ""), os.environ.get("AUTOGIT_INGRESS", ""))
    paths = project_paths(Path(root) if root else None, Path(env_file) if env_file else None)
    return open_project(paths, viewpoint=viewpoint)


OpenProject = Annotated[Project, Depends(get_project)]
