"""The page about code when GitLab is down, followed to the letter: real git, through the real ingress, over TLS."""

from __future__ import annotations

import subprocess

import pytest

from autogit.providers.git.backups import BACKUP
from tests.pages import follow, with_programs

pytestmark = pytest.mark.integration

PAGE = "code-when-gitlab-is-down.md"


def _git(*words, folder, environ, expect=0):
    done = subprocess.run(
        ["git", "-C", str(folder), *words], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == expect, f"{words}\n{done.stdout}\n{done.stderr}"
    return done


def test_code_can_be_had_when_gitlab_is_down(installation, tmp_path):
    source = tmp_path / "app"
    author = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environ = {**installation.environ, **author, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    subprocess.run(["git", "init", "-q", "-b", "main", str(source)], env=environ, check=True)
    _git("commit", "-q", "--allow-empty", "-m", "first", folder=source, environ=environ)
    installation.run("up")
    installation.run("mirror", "add", str(source), "--name", "own")
    installation.run("mirror", "sync")
    root = installation.root
    environ = with_programs(
        environ, tmp_path / "bin", askpass=f"autogit secrets reveal API_TOKEN --project-dir {root}\n"
    )
    environ |= {
        "GIT_ASKPASS": str(tmp_path / "bin" / "askpass"),
        "GIT_SSL_CAINFO": str(root / ".autogit" / "certs" / "local-ca" / "autogit.localhost" / "root.pem"),
    }
    examples = {
        "api.autogit.localhost/": f"api.autogit.localhost:{installation.https_port}/",
        "github-you/you/app.git": "own/app.git",
    }
    follow(PAGE, root, environ, examples=examples)
    clone = root / "app"
    assert (clone / ".git").is_dir()
    copy = next((root / ".autogit" / "mirrors").rglob("*.git"))
    tip = _git("rev-parse", "HEAD", folder=source, environ=environ).stdout
    assert _git("rev-parse", "HEAD", folder=clone, environ=environ).stdout == tip
    _git("update-ref", f"{BACKUP}2026-11-27/081500/heads/main", "HEAD", folder=copy, environ=environ)
    assert BACKUP not in _git("ls-remote", "origin", folder=clone, environ=environ).stdout
    said = _git("push", "origin", "HEAD:other", folder=clone, environ=environ, expect=128).stderr
    assert "copies are read-only" in said
    environ["GIT_ASKPASS"] = "/bin/true"
    assert "Authentication failed" in _git("fetch", folder=clone, environ=environ, expect=128).stderr
