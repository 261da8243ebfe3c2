"""The first token: Ruby that nothing can break out of, and the script against the stand-in for gitlab-rails."""

from __future__ import annotations

import asyncio
import subprocess
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from autogit.connectors.gitlab import GitLabClient
from autogit.connectors.gitlab_rails import make_admin_token, ruby_literal, token_script
from autogit.connectors.gitlab_tokens import look_at_token, rotate_token
from autogit.errors import ProviderAuthError, RejectedError, UsageError
from tests.fakes.gitlab.state import now
from tests.tools import require_tool

LAST_DAY = now().date() + timedelta(days=365)
NASTY = [
    "it's", "\\", "\\'", "'; system('id'); '", "#{system('id')}", "$(id)", "`id`", "%q(a)", "é ✓ \U0001d538", "",
    "a" * 300, "\\\\'",
]  # fmt: skip


class TestLiteral:
    @pytest.mark.parametrize("text", NASTY)
    def test_ruby_reads_the_same_text(self, text):
        ruby = require_tool("ruby")
        program = f"# encoding: utf-8\n$stdout.binmode\n$stdout.write({ruby_literal(text)}.b)\n"
        done = subprocess.run([ruby, "-"], input=program.encode(), capture_output=True, check=True, timeout=60)
        assert done.stdout.decode() == text

    @settings(max_examples=200, deadline=None)
    @given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])))
    def test_no_quote_stands_unescaped(self, text):
        literal = ruby_literal(text)
        assert literal[0] == literal[-1] == "'"
        inner, read = literal[1:-1], []
        while inner:
            if inner[0] == "\\":
                assert inner[1] in "\\'"
                read.append(inner[1])
                inner = inner[2:]
            else:
                assert inner[0] != "'"
                read.append(inner[0])
                inner = inner[1:]
        assert "".join(read) == text

    @pytest.mark.parametrize("text", ["a\nb", "a\rb", "\x00", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u2029"])
    def test_line_breaks_and_control_characters_are_refused(self, text):
        with pytest.raises(UsageError, match="line break"):
            ruby_literal(text)

    def test_a_list_is_a_list_of_literals(self):
        assert ruby_literal(["api", "it's"]) == "['api', 'it\\'s']"


class TestMaking:
    def test_it_has_the_scopes_the_name_and_the_longest_life(self, world):
        token = asyncio.run(make_admin_token(world.execute, LAST_DAY))
        facts = look_at_token(GitLabClient(world.place(), token))
        assert (facts.name, facts.scopes) == ("autogit", ("api", "admin_mode", "create_runner"))
        assert facts.expires_at == LAST_DAY.isoformat()

    def test_the_script_is_no_argument(self, world):
        asyncio.run(make_admin_token(world.execute, LAST_DAY))
        ((argv, stdin),) = world.executed
        assert argv == ("gitlab-rails", "runner", "-")
        assert stdin == token_script(LAST_DAY).encode()

    def test_the_old_token_of_that_name_is_revoked_and_no_other(self, world):
        old, other = world.fake.seed_admin_token(name="autogit"), world.fake.seed_admin_token(name="mine")
        asyncio.run(make_admin_token(world.execute, LAST_DAY))
        with pytest.raises(ProviderAuthError, match="revoked"):
            look_at_token(GitLabClient(world.place(), SecretStr(old)))
        assert look_at_token(GitLabClient(world.place(), SecretStr(other))).name == "mine"

    def test_ruby_takes_the_script(self):
        ruby = require_tool("ruby")
        script = token_script(LAST_DAY).encode()
        done = subprocess.run([ruby, "-c", "-"], input=script, capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stdout.strip()) == (0, b"Syntax OK")

    def test_what_rails_refuses_comes_through(self, world):
        with pytest.raises(RejectedError) as caught:
            asyncio.run(make_admin_token(world.execute, LAST_DAY + timedelta(days=99)))
        assert "Expiration date must be before" in "\n".join(caught.value.context)

    @pytest.mark.parametrize("said", [b"", b"\n", b"Loading the environment\n", b"glpat-secret but more\n", b"\xff"])
    def test_what_is_no_token_is_refused_and_not_told(self, said):
        async def execute(_argv, _stdin):
            return said

        with pytest.raises(RejectedError) as caught:
            asyncio.run(make_admin_token(execute, date(2027, 1, 1)))
        assert "glpat-secret" not in caught.value.message

    def test_what_rails_warns_of_before_does_no_harm(self):
        async def execute(_argv, _stdin):
            return b"DEPRECATION WARNING: something\nglpat-abcdefghij0123456789\n"

        token = asyncio.run(make_admin_token(execute, date(2027, 1, 1)))
        assert token.get_secret_value() == "glpat-abcdefghij0123456789"


def test_rotation_gives_another_token_and_ends_the_old_one(world):
    old = SecretStr(world.fake.seed_admin_token(["api"], "autogit"))
    token, facts = rotate_token(GitLabClient(world.place(), old), LAST_DAY)
    assert look_at_token(GitLabClient(world.place(), token)) == facts
    assert facts.expires_at == LAST_DAY.isoformat()
    with pytest.raises(ProviderAuthError, match="revoked"):
        look_at_token(GitLabClient(world.place(), old))
