"""What the documentation tests share: the repository's files and its reference generator."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {".git", ".venv", ".cache", ".autogit", "dist", "build"}


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def files():
    """Every file that is or would be committed; in an archive without history, every file outside caches."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        found = [ROOT / name for name in listed.split("\0") if name]
    else:
        found = [p for p in ROOT.rglob("*") if not NOT_OURS & set(p.relative_to(ROOT).parts)]
    return sorted(p for p in found if p.is_file())


@pytest.fixture(scope="session")
def generator():
    """docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pages(generator):
    return generator.build_pages()


@pytest.fixture(scope="session")
def commands(generator):
    """Each command's words with the names of its options."""
    return {
        page.words: {word.rstrip(",") for name, _ in page.rows for word in name.split() if word.startswith("-")}
        for page in generator.list_commands()
    }
