"""`init` on a machine with an engine: containers where images can be had, processes where not, and why."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.images import env_lines

pytestmark = pytest.mark.integration


@pytest.fixture
def init(engine, tmp_path):
    """A function that runs `autogit init` in a folder whose `.env` holds a text; returns the keys written."""

    def run(text=""):
        (tmp_path / ".env").write_text(text)
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path / "home"),
            "DOCKER_HOST": f"unix://{engine.socket}",
        }
        done = subprocess.run(
            [sys.executable, "-m", "autogit", "init", "--yes"],
            cwd=tmp_path, env=environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        lines = (tmp_path / ".env").read_text().splitlines()
        return done.stdout, dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    return run


def test_an_engine_that_has_the_images_is_chosen(init, engine, images):
    said, keys = init(env_lines(images))
    assert keys["RUNTIME"] == "docker"
    assert keys["DOCKER_HOST"] == f"unix://{engine.socket}"
    assert "images can be had" in said


def test_an_engine_without_images_or_registry_is_not_chosen_and_the_reason_is_written_down(init):
    said, keys = init("IMAGE_TRAEFIK=127.0.0.1:1/traefik:1.0\n")  # nobody listens there
    assert keys["RUNTIME"] == "embedded"
    assert "DOCKER_HOST" not in keys
    assert "it has no images and reaches no registry" in said
