"""Running a program in a container of a real engine: its input, its output, and how it ended."""

from __future__ import annotations

import asyncio
import json

import pytest

from autogit.errors import RejectedError, UnavailableError
from autogit.providers.compute.engine.client import Engine
from autogit.providers.compute.engine.execute import run_inside
from tests.docker.platform import platform_of
from tests.docker.test_images import running

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def container(engine, images):
    with running(engine, images["gitlab"], "--network=none") as found:
        yield found


@pytest.fixture
def run(engine, container):
    def run(*argv, stdin=b""):
        return asyncio.run(run_inside(Engine(f"unix://{engine.socket}"), container, argv, stdin))

    return run


def test_output_and_complaints_are_kept_apart(run):
    assert run("/bin/sh", "-c", "echo out; echo err >&2") == b"out\n"


def test_input_ends_where_it_ends(run):
    text = ("it's $HOME `id` \\ 'x'\n" * 9000).encode()
    assert run("cat", stdin=text) == text


def test_input_is_in_no_list_of_processes(run):
    # Some process may end between its name and its file.
    words = "cat >/dev/null; cat /proc/[0-9]*/cmdline 2>/dev/null || :"
    shown = run("/bin/sh", "-c", words, stdin=b"canary-in-the-input")
    assert b"head" in shown or b"cat" in shown
    assert b"canary" not in shown


def test_arguments_are_one_word_each(run):
    assert run("printf", "%s|", "a b", "$HOME", "'", stdin=b"x") == b"a b|$HOME|'|"


def test_a_program_that_fails_says_why(run):
    with pytest.raises(RejectedError) as caught:
        run("/bin/sh", "-c", "echo a secret; echo why >&2; exit 7", stdin=b"x")
    assert caught.value.message == "docker: sh in the container ended with exit code 7"
    assert caught.value.context == ("why",)


def test_a_program_that_is_not_there(run):
    with pytest.raises(RejectedError):
        run("/no/such/program")


def test_a_container_that_is_not_there(engine):
    with pytest.raises((RejectedError, UnavailableError)):
        asyncio.run(run_inside(Engine(f"unix://{engine.socket}"), "no-such-container", ["true"]))


def test_a_gitlab_that_never_answers_is_told_by_its_phase(engine, images):
    with platform_of(engine, images, "gitlab") as one:
        one.up(timeout=300)
        done = one.run("gitlab", "status", "--format", "json", expect=1)
        view = json.loads(done.stdout)
        assert (view["phase"], view["token"]["state"]) == ("booting", "missing")
        assert view["url"].startswith("https://gitlab.autogit.localhost:")
        assert "autogit secrets reveal GITLAB_ROOT_PASSWORD" in one.run("gitlab", "password").stdout
