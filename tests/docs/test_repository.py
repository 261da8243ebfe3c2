"""The repository's own promises: two commands, and nothing that only holds on one machine."""

import os
import re
import subprocess

WORKPLACE = re.compile(r"(?<![\w.~-])/(work|root|home/(?!me/|you/)\w+|Users/\w+)/")
# In pieces, so that this file doesn't match itself.
REGISTRIES = (
    *("pypi" + ".org", "python" + "hosted.org", "deb." + "debian.org", "security." + "debian.org"),
    *("archive." + "ubuntu.com", "registry." + "npmjs.org", "proxy." + "golang.org", "crates" + ".io"),
)
TARGETS = "up setup test check lint format type integration golden docs docs-check build clean"


def _console(text):
    return [line for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


def test_ci_runs_the_test_command_of_the_readme(root):
    script = (root / ".ci" / "run").read_text()
    assert script.startswith("#!/bin/sh\n")
    assert script.rstrip().endswith("make test")
    assert os.access(root / ".ci" / "run", os.X_OK)


def test_readme_opens_with_the_two_commands(root):
    assert _console((root / "README.md").read_text())[:2] == ["$ make up", "$ make test"]


def test_make_help_lists_every_target(root):
    # Without the outer make's flags: `make -n test` must not turn this into a dry run.
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    run = subprocess.run(["make", "help"], cwd=root, env=clean, capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in run.stdout.splitlines() if line.startswith("  ")}
    assert set(TARGETS.split()) <= listed


def test_no_file_names_a_path_of_somebodys_machine(root, files):
    assert [f"{p.relative_to(root)}: {m[0]}" for p in files for m in WORKPLACE.finditer(_text(p))] == []


def test_no_file_names_the_host_of_a_package_registry(root, files):
    texts = {p.relative_to(root): _text(p) for p in files}
    assert [f"{path}: {host}" for path, text in texts.items() for host in REGISTRIES if host in text] == []


def test_shell_scripts_parse_in_a_posix_shell(root):
    for script in ("scripts/venv", "tests/servers/install", ".ci/run"):
        assert subprocess.run(["sh", "-n", root / script], check=False).returncode == 0, script


def _text(path):
    return path.read_bytes().decode(errors="ignore")
