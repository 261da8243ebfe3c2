"""The pages of docs/how-to, followed to the letter: every file is written, every command typed, in their order."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HOW_TO = Path(__file__).resolve().parents[1] / "docs" / "how-to"

_PART = re.compile(
    r"^## (?P<heading>[^\n]+)$|^```(?P<language>\w+)(?: (?P<how>file|append)=(?P<path>\S+))?\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_EXIT = re.compile(r"\s+# exit (\d+)$")


def follow(page, folder, environ, *, examples=None, before=None, given=None):
    """Write each file of a page and type each command of its `console` blocks; returns all that each command printed.

    A command must succeed, or end with N where the page says `# exit N`. `examples` gives what a page can only give an
    example of (a port, an address), as texts by those of the page; `before` has what happens before a section, by its
    heading. `given` is what is typed on standard input, by the command that reads it.
    """
    given = given or {}
    text, before = (HOW_TO / page).read_text(), dict(before or {})
    for example, here in (examples or {}).items():
        assert example in text, f"{page} does not say {example}"
        text = text.replace(example, here)
    printed = {}
    for part in _PART.finditer(text):
        if part["heading"]:
            before.pop(part["heading"], lambda: None)()
        elif part["path"]:
            _write(folder / part["path"], part["text"], part["how"])
        elif part["language"] == "console":
            lines = part["text"].replace("\\\n", "").splitlines()
            for command, said in (_typed(line, folder, environ, given) for line in lines):
                printed[command] = printed.get(command, "") + said
    assert not before, f"{page} has no section {', '.join(before)}"
    return printed


def _write(target, text, how):
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text if how == "file" else target.read_text() + text)


def _typed(line, folder, environ, given):
    command = _EXIT.sub("", line.removeprefix("$ "))
    expected = _EXIT.search(line)
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=environ,
        input=given.get(command, ""),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = f"{line}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == (int(expected[1]) if expected else 0), said
    assert "Traceback" not in done.stderr, said
    return command, done.stdout + done.stderr


def with_programs(environ, folder, **scripts):
    """An environment whose PATH begins with `autogit` and these programs, each the text of a shell script."""
    folder.mkdir()
    scripts = {"autogit": f'exec "{sys.executable}" -m autogit "$@"\n', **scripts}
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}")
        (folder / name).chmod(0o755)
    return {**environ, "PATH": f"{folder}:{environ['PATH']}"}
