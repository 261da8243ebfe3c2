import json
import subprocess
import sys
from pathlib import Path

import pytest

from autogit.providers.compute import launch

pytestmark = pytest.mark.integration

PRINT = "import os, sys; print(sys.argv[1:], os.environ['A'], os.getcwd(), 'SUPERVISOR_X' in os.environ)"


def run(folder: Path, **changed):
    record = {
        "executable": sys.executable,
        "arguments": ["-I", "-c", PRINT, "a b"],
        "environment": {"A": "1"},
        "directory": str(folder),
    }
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "web.a1.json").write_text(json.dumps(record | changed))
    command = [sys.executable, "-I", "-S", launch.__file__, str(programs / "web.a1.json")]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env={"SUPERVISOR_X": "1"})


def test_the_program_gets_its_arguments_environment_and_folder_and_nothing_of_the_supervisor(tmp_path):
    assert run(tmp_path).stdout.strip() == f"['a b'] 1 {tmp_path} False"


def test_quick_restarts_are_counted_and_slowed_down(tmp_path):
    for expected in (0, 1, 2):
        run(tmp_path)
        _, created, begins, quick, _ = (tmp_path / "programs" / "web.a1.starts").read_text().split()
        assert int(quick) == expected
        assert round(float(begins) - float(created), 2) == round(0.01 * expected**2, 2)


def test_a_program_that_is_missing_is_named(tmp_path):
    ended = run(tmp_path, executable="/nowhere/x")
    assert ended.returncode != 0
    assert ended.stderr.strip() == "autogit: cannot start /nowhere/x: No such file or directory"


def test_nothing_starts_once_the_supervisor_is_gone(tmp_path):
    (tmp_path / "supervisord.pid").write_text("1")
    ended = run(tmp_path)
    assert ended.stdout == ""
    assert "the supervisor is gone" in ended.stderr
