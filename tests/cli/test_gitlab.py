"""`autogit gitlab` as a user types it; what needs a GitLab is in tests/operations."""

from __future__ import annotations

import pytest

from autogit.cli.gitlab_text import bootstrap_lines, password_lines, status_lines, token_line
from autogit.model.gitlab import (
    GitLabBootstrapView,
    GitLabPasswordView,
    GitLabSettingView,
    GitLabStatusView,
    GitLabTokenView,
)

GOOD = GitLabTokenView(
    state="good", name="autogit", scopes=("api",), expires_at="2027-11-28", days_left=365, made="made"
)


@pytest.fixture
def ready(autogit, env):
    env("RUNTIME=docker\nSIZE=team\nSERVICES_ENABLED=gitlab\n")
    return autogit


def test_the_group_lists_its_commands(autogit):
    done = autogit("gitlab", "--help")
    assert [word for word in ("bootstrap", "status", "token", "password") if word not in done.out] == []


def test_password_tells_which_secret_it_is(ready):
    done = ready("gitlab", "password")
    assert done.code == 0
    assert (
        "https://gitlab.autogit.localhost  user root, password: autogit secrets reveal GITLAB_ROOT_PASSWORD" in done.out
    )
    assert "it is not stored yet: autogit up makes it" in done.out
    assert ready("gitlab", "password", "--format", "json").json()["secret"] == "GITLAB_ROOT_PASSWORD"


@pytest.mark.parametrize("words", [["bootstrap"], ["status"]])
def test_without_an_engine_it_is_a_sentence(ready, words):
    done = ready("gitlab", *words)
    assert (done.code, done.out) == (1, "")
    assert "error[unavailable]: docker:" in done.err


@pytest.mark.parametrize("words", [["bootstrap"], ["status"], ["password"], ["token", "rotate"]])
def test_a_platform_without_gitlab_is_a_usage_error(autogit, env, words):
    env("RUNTIME=docker\nSERVICES_ENABLED=grafana\n")
    done = autogit("gitlab", *words)
    assert (done.code, done.out) == (2, "")
    assert "SERVICES_ENABLED does not name gitlab" in done.err


def test_what_is_no_address_is_a_usage_error(ready):
    assert ready("gitlab", "bootstrap", "--adopt", "ops").code == 2


def test_words_of_a_bootstrap():
    held = GitLabSettingView(
        address="gitlab_setting/group/ops", state="somebody else's", detail="made in\x1b[2J GitLab"
    )
    view = GitLabBootstrapView(
        url="https://gitlab.example.org", token=GOOD, held=(held,), in_sync=7, captured=("gitlab_secrets_json",)
    )
    lines = list(bootstrap_lines(view))
    assert lines[:4] == [
        "https://gitlab.example.org  ready",
        "token  new: autogit, api, until 2027-11-28 (365 days)",
        "kept for backups: gitlab_secrets_json",
        "Nothing to do: 7 settings in sync",
    ]
    assert lines[-1] == "left as it is; autogit gitlab bootstrap --adopt gitlab_setting/group/ops takes over"
    assert "\x1b" not in "".join(lines)


def test_words_of_a_status():
    one = GitLabSettingView(address="gitlab_setting/user/ana", state="differs", detail="changed: email")
    view = GitLabStatusView(
        ok=False,
        url="https://gitlab.example.org",
        phase="answering",
        sentence="GitLab answers",
        version="19.5.3",
        token=GOOD.model_copy(update={"state": "due", "days_left": 1, "made": ""}),
        settings=(one,),
        problem="gitlab: answered 502",
    )
    assert list(status_lines(view)) == [
        "https://gitlab.example.org  GitLab answers (GitLab 19.5.3)",
        "token  expires soon: autogit, api, until 2027-11-28 (1 day)",
        "gitlab: answered 502",
        "",
        "gitlab_setting/user/ana  differs  changed: email",
    ]


def test_words_of_a_token_that_is_not_there_and_of_a_password():
    assert token_line(GitLabTokenView(state="missing")) == "token  there is none yet: autogit gitlab bootstrap"
    view = GitLabPasswordView(user="root", secret="X", stored=True, command="autogit secrets reveal X", url="https://g")
    assert next(iter(password_lines(view))) == "https://g  user root, password: autogit secrets reveal X"
