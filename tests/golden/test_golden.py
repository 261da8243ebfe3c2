"""Golden cases: a `.env` and every byte that is made of it. `make golden` rewrites them; read the diff."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from autogit.core.render import render

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent / "cases"
EXAMPLES = {p.parent.name: p for p in sorted((ROOT / "examples").glob("*/.env"))}
OWN = {p.parent.name: p for p in sorted(HERE.glob("*/.env"))}
CASES = EXAMPLES | OWN
TEMPLATES = ROOT / "templates" / "services"
_HASH = re.compile(r'("autogit\.hash": )"[0-9a-f]{12}"')
"""Of a container's definition, with the absolute paths of its mounts: another one in each folder."""
UPDATE = os.environ.get("AUTOGIT_UPDATE_GOLDEN") == "1"


def _tree(workbench, case):
    spec = workbench.spec(CASES[case].read_text())
    here = str(workbench.paths.root)
    tree = {
        path: _HASH.sub(r'\1"(of the paths above)"', file.text.replace(here, "/srv/autogit"))
        for path, file in render(spec).files.items()
        if not (TEMPLATES / file.service / "config" / path.partition("/")[2]).is_file()  # copied as it stands
    }
    for service in spec.running:
        if service.program is None:
            continue
        words = [service.program.executable, *service.program.arguments]
        words += [f"{k}={v}" for k, v in service.program.environment.items()]
        tree[f"{service.name}/process"] = "\n".join(words).replace(here, "/srv/autogit") + "\n"
    return tree


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_rendered_tree_is_what_it_was(workbench, case):
    tree = _tree(workbench, case)
    folder = HERE / case / "rendered"
    if UPDATE:
        shutil.rmtree(folder, ignore_errors=True)
        for path, text in tree.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
    expected = {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}
    assert tree == expected, "make golden rewrites it"
