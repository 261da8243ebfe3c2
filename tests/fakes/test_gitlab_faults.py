"""Faults that tests can order of the fake GitLab."""

from __future__ import annotations

import os
import time

import gitlab as client
import pytest
import requests

from tests.fakes.gitlab import FakeGitLab
from tests.fakes.gitlab.clients import WorkingCopy, connect, git_url, run_git


@pytest.fixture
def fake(tmp_path):
    with FakeGitLab(tmp_path / "gitlab") as fake:
        yield fake


def test_throttled_once_then_served(fake):
    fake.faults.throttle_next("/api/v4/projects", retry_after=7)
    headers = {"PRIVATE-TOKEN": fake.seed_admin_token()}
    answer = requests.get(f"{fake.url}/api/v4/projects", headers=headers, timeout=10)
    assert (answer.status_code, answer.text, answer.headers["Retry-After"]) == (429, "Retry later\n", "7")
    assert answer.headers["RateLimit-Name"] == "throttle_authenticated_api"
    assert answer.headers["RateLimit-Remaining"] == "0"
    assert requests.get(f"{fake.url}/api/v4/projects", headers=headers, timeout=10).status_code == 200


def test_python_gitlab_waits_out_a_throttle(fake):
    fake.faults.throttle_next("/api/v4/groups", retry_after=0, times=2)
    assert connect(fake).groups.list(get_all=True) == []
    assert [one.status for one in fake.requests] == [429, 429, 200]


def test_limit_of_a_token(fake):
    token = fake.seed_admin_token(name="greedy")
    fake.faults.limit_token("greedy", requests=3, period_seconds=60)
    url, headers = f"{fake.url}/api/v4/version", {"PRIVATE-TOKEN": token}
    statuses = [requests.get(url, headers=headers, timeout=10).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert requests.get(url, headers={"PRIVATE-TOKEN": fake.seed_admin_token()}, timeout=10).status_code == 200


def test_broken_answers(fake):
    fake.faults.fail("/api/v4/version", status=500, body={"message": "500 Internal Server Error"}, times=2)
    with pytest.raises(client.GitlabHttpError) as caught:
        connect(fake).http_get("/version")
    assert caught.value.response_code == 500


def test_only_the_method_asked_for_fails(fake):
    fake.faults.fail("/api/v4/groups", status=502, method="POST")
    api = connect(fake)
    assert api.groups.list(get_all=True) == []
    with pytest.raises(client.GitlabCreateError):
        api.groups.create({"name": "Team", "path": "team"})


def test_connection_cut_in_an_answer(fake):
    fake.faults.cut("/api/v4/application/settings", after_bytes=50)
    headers = {"PRIVATE-TOKEN": fake.seed_admin_token()}
    with pytest.raises(requests.RequestException):
        requests.get(f"{fake.url}/api/v4/application/settings", headers=headers, timeout=10)
    assert requests.get(f"{fake.url}/api/v4/application/settings", headers=headers, timeout=10).status_code == 200


@pytest.fixture
def pushed(fake, tmp_path):
    """A project with a pack that is worth cutting, and its address."""
    fake.seed_project("team/app")
    copy = WorkingCopy(tmp_path / "copy")
    (copy.folder / "noise").write_bytes(os.urandom(300_000))
    copy.commit()
    copy.git("add", "noise")
    copy.git("commit", "-q", "-m", "noise")
    url = git_url(fake, "team/app", fake.seed_admin_token())
    copy.git("push", "-q", url, "main")
    return copy, url


def test_connection_cut_in_a_pack(fake, pushed, tmp_path):
    _, url = pushed
    fake.faults.cut("/team/app.git/git-upload-pack", after_bytes=100_000, times=2)
    assert run_git(tmp_path, "-c", "protocol.version=0", "clone", "-q", url, "broken").returncode == 128
    fake.faults.clear()
    assert run_git(tmp_path, "clone", "-q", url, "whole").returncode == 0


def test_connection_cut_in_a_push(fake, pushed):
    copy, url = pushed
    copy.commit(text="more\n")
    fake.faults.cut("/team/app.git/git-receive-pack", after_bytes=0)
    assert copy.try_git("push", url, "main").returncode != 0
    copy.git("push", "-q", url, "main")


def test_connection_cut_while_a_pack_is_sent(fake, pushed):
    copy, url = pushed
    (copy.folder / "noise").write_bytes(os.urandom(300_000))
    copy.commit(text="more\n")
    copy.git("commit", "-q", "-a", "-m", "noise")
    fake.faults.cut_request("/team/app.git/git-receive-pack", after_bytes=100_000)
    assert copy.try_git("push", url, "main").returncode != 0
    assert copy.git("ls-remote", url, "main").split()[0] != copy.git("rev-parse", "main")
    copy.git("push", "-q", url, "main")


def test_late_answers(fake):
    fake.faults.delay("/-/health", 5)
    with pytest.raises(requests.Timeout):
        requests.get(f"{fake.url}/-/health", timeout=0.2)
    assert requests.get(f"{fake.url}/-/health", timeout=10).text == "GitLab OK"


def test_boot_by_phases(fake):
    fake.faults.boot(bad_gateway=2, not_ready=2)
    token = fake.seed_admin_token()
    assert requests.get(f"{fake.url}/api/v4/version", headers={"PRIVATE-TOKEN": token}, timeout=10).status_code == 502
    polls = [requests.get(f"{fake.url}/-/readiness", timeout=10) for _ in range(5)]
    assert [one.status_code for one in polls] == [502, 502, 503, 503, 200]
    assert polls[-1].json() == {"status": "ok", "master_check": [{"status": "ok"}]}
    assert requests.get(f"{fake.url}/-/readiness?all=1", timeout=10).json()["gitaly_check"] == [{"status": "ok"}]


def test_pages_beside_the_api(fake):
    assert requests.get(f"{fake.url}/-/liveness", timeout=10).json() == {"status": "ok"}
    assert requests.get(f"{fake.url}/users/sign_in", timeout=10).status_code == 200
    described = requests.get(f"{fake.url}/.well-known/openid-configuration", timeout=10).json()
    assert (described["issuer"], described["token_endpoint"]) == (fake.url, f"{fake.url}/oauth/token")


def test_stopped_and_started_again(fake, pushed):
    copy, url = pushed
    fake.stop()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{fake.url}/-/health", timeout=2)
    fake.start()
    assert copy.git("ls-remote", url, "main") != ""


def test_leaves_while_answers_are_late(tmp_path):
    began = time.monotonic()
    with FakeGitLab(tmp_path / "gitlab") as fake:
        fake.faults.delay("/-/health", 60)
        with pytest.raises(requests.Timeout):
            requests.get(f"{fake.url}/-/health", timeout=0.2)
    assert time.monotonic() - began < 50


def test_control_is_for_the_fakes_own_programs(fake):
    answer = requests.post(f"{fake.url}/__fake__/rails", json={"script": ""}, timeout=10)
    assert answer.status_code == 403
    assert fake.requests == []
