"""Whatever JSON a forge answers with, a source makes repositories of it or leaves it out; nothing else escapes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autogit.model.mirror import MirrorRule
from autogit.model.project import ProjectPaths
from autogit.providers.base import ProviderContext
from autogit.providers.mirrors.base import select
from autogit.providers.mirrors.names import path_fault
from autogit.providers.mirrors.walk import _parsed, _restored
from autogit.providers.registry import load_provider

KEYS = {
    "github": ("id", "full_name", "private", "default_branch", "topics", "size", "description", "visibility"),
    "gitlab": ("id", "path_with_namespace", "visibility", "default_branch", "topics", "forked_from_project"),
    "gitea": ("id", "full_name", "private", "internal", "topics", "size", "has_wiki", "external_wiki"),
    "bitbucket": ("uuid", "full_name", "is_private", "mainbranch", "parent", "size", "has_wiki"),
}
NAMES = st.sampled_from(["acme/app", "acme/..", "acme/-x", "acme", "acme/a\nb", "x/y", "acme/a/b", "acme//", "{1}"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | NAMES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.just("name"), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("kind", sorted(KEYS))
def test_no_answer_breaks_it(kind):
    source = load_provider("mirrors", kind, ProviderContext(ProjectPaths(Path("/none"), Path("/none/.env"))))
    rule = MirrorRule(name="m", kind=kind, owner="acme", server="https://git.example.org", forks=True)
    entries = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS[kind], JSON)) | JSON, max_size=4)

    @settings(max_examples=150, deadline=None, database=None, derandomize=True)
    @given(entries)
    def holds(told):
        found, odd = _parsed(told, lambda entry: source.parse(rule, entry))
        assert len(found) + odd == len(told)
        kept, notes = select(rule, found)
        for one in kept:
            assert not path_fault(one.path)
            assert one.url.startswith("https://git.example.org/")
            assert one.description.isprintable()
            assert _restored(json.loads(json.dumps(_as_kept(one)))) == one
        assert all(note.isprintable() for note in notes)

    holds()


def _as_kept(one):
    return {name: getattr(one, name) for name in one.__slots__}
