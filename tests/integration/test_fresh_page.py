"""The page "Keep mirrors fresh", followed to the letter on a platform that runs; and the quick `up` beside mirrors."""

from __future__ import annotations

import json
import re

import pytest

from tests.pages import follow, with_programs
from tests.providers.git.conftest import Upstream

pytestmark = pytest.mark.integration
# Where a test runs may be a machine with a scheduler of its own: nothing is installed into that.
INSTALL, PREVIEW = "$ autogit schedule install", "$ autogit schedule install --dry-run"


@pytest.fixture
def forge(tmp_path):
    """A folder of two bare repositories."""
    for name in ("one", "two"):
        upstream = Upstream(tmp_path / "forge" / f"{name}.git")
        upstream.ref("refs/heads/main", upstream.commit(f"first of {name}"))
    return tmp_path / "forge"


def test_mirrors_are_kept_fresh_as_the_page_says(installation, forge):
    installation.run("up")
    environ = with_programs(installation.environ, installation.root.parent / "bin")
    printed = follow(
        "keep-mirrors-fresh.md",
        installation.root,
        environ,
        examples={"github:you": str(forge), INSTALL: PREVIEW},
        before={"3. Look": lambda: installation.run("mirror", "sync", "--due")},
    )
    assert "mirror/" not in printed["autogit plan"]
    assert "mirror sync --due" in printed["autogit schedule install --dry-run"]
    assert re.search(r"^MIRRORS     2 fresh; last sync \d+ s ago$", printed["autogit status"], re.MULTILINE)
    assert "2 ok; repositories: 2" in printed["autogit mirror status"]
    assert "2 repositories are proven fresh" in printed["autogit doctor"]


def test_the_quick_up_is_as_quick_with_mirrors_and_passes_over_no_edit(installation, forge):
    installation.run("mirror", "add", str(forge), "--name", "here", "--bare")
    installation.run("up")
    seal = installation.root / ".autogit" / "in-sync.json"
    assert seal.exists()
    installation.run("mirror", "sync")
    assert re.search(r"Nothing to do \(\d+ resources in sync, \d+ ms\)", installation.run("up").stdout)

    rules = installation.root / "mirrors.yml"
    rules.write_text(rules.read_text() + "  interval_seconds: 600\n")
    installation.run("up", "--here-only", "--yes")
    assert [line for line in installation.run("plan").stdout.splitlines() if "mirror/here" in line]
    assert "mirror/here" in installation.run("up", "--yes").stderr, "the quick way must not pass over it"
    assert installation.lockfile["resources"]["mirror/here"]["attributes"]["interval_seconds"] == 600
    assert "mirror/here" not in installation.run("plan").stdout


def test_a_file_with_a_fault_keeps_no_service_down(installation):
    installation.run("up")
    (installation.root / "mirrors.yml").write_text("mirrors: nonsense\n")
    assert installation.run("plan", expect=2).stderr.startswith("error[settings]: a fault in mirrors.yml")
    status = json.loads(installation.run("status", "--format", "json").stdout)
    assert status["status"] == "healthy"
    assert "mirrors.yml line 1" in status["mirrors"]["problems"][0]
    assert installation.run("reconcile").stdout.startswith("all healthy")
