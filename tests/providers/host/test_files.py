"""Rendered files: written whole, looked at without following links, put back byte for byte."""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest

from autogit.errors import RejectedError
from autogit.model.plan import Action
from autogit.model.resource import Address, Resource
from autogit.providers.base import Scope
from autogit.providers.host.files import HostFiles, restore_previous
from autogit.testing.contracts import ReconcilerContract


def wish_for(name, text):
    return Resource(
        Address("file", name),
        {"sha256": hashlib.sha256(text.encode()).hexdigest(), "mode": "0644"},
        payload=text,
        user_editable=True,
    )


class TestHostFilesContract(ReconcilerContract):
    @pytest.fixture
    def provider(self, context):
        return HostFiles(context)

    @pytest.fixture
    def wishes(self):
        return [wish_for("traefik/traefik.yml", "a: 1\n"), wish_for("traefik/dynamic/x.yml", "b: ü\n")]

    @pytest.fixture
    def other_wishes(self):
        return [wish_for("traefik/traefik.yml", "a: 2\n"), wish_for("traefik/dynamic/x.yml", "b: 2\n")]


@pytest.fixture
def files(context):
    return HostFiles(context)


def _look(files, wish):
    seen = asyncio.run(files.observe(Scope(desired={wish.address: wish})))
    return dict(seen[0].attributes) if seen else None


def test_former_bytes_are_kept_and_can_be_put_back(files, context, carry_out):
    one, two = wish_for("x/a.yml", "one"), wish_for("x/a.yml", "two")
    carry_out(files, one)
    assert not restore_previous(context.paths, one.address), "there was nothing before"
    carry_out(files, two, Action.UPDATE)
    assert restore_previous(context.paths, one.address)
    assert _look(files, one) == dict(one.attributes)


def test_a_link_or_a_folder_in_the_place_of_a_file_is_seen_and_never_followed(files, context, carry_out, tmp_path):
    wish = wish_for("x/a.yml", "one")
    target = tmp_path / "elsewhere"
    target.write_text("not ours")
    place = context.paths.rendered / "x" / "a.yml"
    place.parent.mkdir(parents=True)
    place.symlink_to(target)
    assert _look(files, wish)["sha256"] == "not a regular file"
    assert carry_out(files, wish, Action.UPDATE).ok
    assert target.read_text() == "not ours"
    assert _look(files, wish) == dict(wish.attributes)

    place.unlink()
    place.mkdir()
    assert _look(files, wish)["sha256"] == "not a regular file"
    outcome = carry_out(files, wish, Action.UPDATE)
    assert isinstance(outcome.error, RejectedError)
    assert "move" in outcome.error.hint


def test_a_changed_mode_is_seen(files, context, carry_out):
    wish = wish_for("x/a.yml", "one")
    carry_out(files, wish)
    (context.paths.rendered / "x" / "a.yml").chmod(0o666)
    assert _look(files, wish)["mode"] == "0666"


def test_a_removed_file_takes_its_empty_folders_along_and_no_others(files, context, carry_out):
    carry_out(files, wish_for("x/deep/a.yml", "one"))
    carry_out(files, wish_for("x/b.yml", "two"))
    assert carry_out(files, wish_for("x/deep/a.yml", "one"), Action.DELETE).ok
    assert sorted(os.listdir(context.paths.rendered / "x")) == ["b.yml"]
    assert carry_out(files, wish_for("x/deep/a.yml", "one"), Action.DELETE).ok, "repeating it is harmless"


@pytest.mark.parametrize("name", ["../outside.yml", "x/../../outside.yml", "/etc/outside.yml"])
def test_no_name_leaves_the_rendered_tree(files, carry_out, context, name):
    outcome = carry_out(files, wish_for(name, "evil"))
    assert isinstance(outcome.error, RejectedError)
    assert not list(context.paths.root.rglob("outside.yml"))


def test_a_file_where_a_folder_must_be_is_a_sentence(files, context, carry_out):
    context.paths.rendered.mkdir(parents=True)
    (context.paths.rendered / "x").write_text("in the way")
    outcome = carry_out(files, wish_for("x/a.yml", "one"))
    assert not outcome.ok
    assert "cannot write" in outcome.error.message
    assert (context.paths.rendered / "x").read_text() == "in the way"


def test_health_says_where_files_go(files, context):
    assert asyncio.run(files.health()).ok
    context.paths.state.write_text("a file")
    assert not asyncio.run(files.health()).ok
