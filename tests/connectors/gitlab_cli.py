"""`autogit` where GitLab's container is the fake of another process: `python -m tests.connectors.gitlab_cli WORDS...`.

AUTOGIT_TEST_GITLAB names the fake's address, AUTOGIT_TEST_GITLAB_WORLD the folder of its world.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

from autogit.__main__ import main
from autogit.operations import gitlab
from tests.connectors.gitlab_world import Clock, World


class Elsewhere(World):
    """A world that another process holds."""

    def __init__(self, url: str, folder: Path) -> None:
        self.fake = SimpleNamespace(url=url)
        self.etc, self.programs = folder / "etc-gitlab", folder / "bin"
        self.container, self.executed, self.clock = "running", [], Clock()


if __name__ == "__main__":
    elsewhere = Elsewhere(os.environ["AUTOGIT_TEST_GITLAB"], Path(os.environ["AUTOGIT_TEST_GITLAB_WORLD"]))
    gitlab.open_access = lambda _project: elsewhere.access()
    sys.exit(main())
