"""Tokens of the fake GitLab: scopes, expiry, rotation, rights, and the stand-in for gitlab-rails."""

from __future__ import annotations

import os
import subprocess
from datetime import timedelta

import gitlab as client
import pytest
import requests

from tests.fakes.gitlab import FakeGitLab
from tests.fakes.gitlab.clients import connect
from tests.fakes.gitlab.state import now
from tests.tools import find_tool

_SCRIPT = """\
# The documented way to make a token.
user = User.find_by_username('root')
token = user.personal_access_tokens.create!(
  name: 'autogit',
  scopes: ['api', 'admin_mode', 'create_runner'],
  expires_at: 365.days.from_now
)
puts token.token
"""


@pytest.fixture
def fake(tmp_path):
    with FakeGitLab(tmp_path / "gitlab") as fake:
        yield fake


def get(fake, path, token="", method="GET", **options):
    headers = {"PRIVATE-TOKEN": token} if token else {}
    return requests.request(method, f"{fake.url}/api/v4{path}", headers=headers, timeout=10, **options)


def test_without_a_token(fake):
    answer = get(fake, "/user")
    assert (answer.status_code, answer.json()) == (401, {"message": "401 Unauthorized"})
    assert get(fake, "/projects").json() == []
    assert get(fake, "/projects/1").json() == {"message": "404 Project Not Found"}


def test_token_that_nobody_has(fake):
    answer = get(fake, "/projects", "glpat-nothing")
    assert (answer.status_code, answer.json()) == (401, {"message": "401 Unauthorized"})


def test_expired_and_revoked_tokens_say_so(fake):
    old = fake.seed_admin_token(expires_at=now().date() - timedelta(days=1))
    answer = get(fake, "/user", old)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    text = "Token is expired. You can either do re-authorization or token refresh."
    assert answer.json()["error_description"] == text
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="The API", error="invalid_token"')
    fresh = fake.seed_admin_token()
    assert get(fake, "/personal_access_tokens/self", fresh, "DELETE").status_code == 204
    text = "Token was revoked. You have to re-authorize from the user."
    assert get(fake, "/user", fresh).json()["error_description"] == text


@pytest.mark.parametrize(
    ("scopes", "method", "path", "status"),
    [
        (["read_api"], "GET", "/projects", 200),
        (["read_api"], "POST", "/projects", 403),
        (["read_repository"], "GET", "/projects", 403),
        (["read_user"], "GET", "/user", 200),
        (["read_user"], "GET", "/groups", 403),
        (["read_repository"], "GET", "/personal_access_tokens/self", 200),
        (["self_rotate"], "POST", "/personal_access_tokens/self/rotate", 200),
        (["read_api"], "POST", "/personal_access_tokens/self/rotate", 403),
    ],
)
def test_scopes(fake, scopes, method, path, status):
    answer = get(fake, path, fake.seed_admin_token(scopes), method)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"] == "insufficient_scope"
        assert answer.json()["error_description"].startswith("The request requires higher privileges")
        assert "api" in answer.json()["scope"].split()


def test_administrators_alone(fake):
    fake.seed_user("ada")
    token = fake.seed_token("ada")
    for method, path in (("GET", "/application/settings"), ("POST", "/users"), ("POST", "/applications")):
        answer = get(fake, path, token, method)
        assert (answer.status_code, answer.json()) == (403, {"message": "403 Forbidden"})


def test_admin_mode_needs_its_scope(fake):
    connect(fake).settings.update(None, {"admin_mode": True})
    assert get(fake, "/application/settings", fake.seed_admin_token(["api"])).status_code == 403
    assert get(fake, "/application/settings", fake.seed_admin_token(["api", "admin_mode"])).status_code == 200


def test_sudo(fake):
    fake.seed_user("ada")
    assert connect(fake, fake.seed_admin_token(["api", "sudo"])).http_get("/user", sudo="ada")["username"] == "ada"
    answer = get(fake, "/user?sudo=ada", fake.seed_admin_token(["api"]))
    assert (answer.status_code, answer.json()["scope"]) == (403, "sudo")


def test_members_see_and_change_what_their_role_allows(fake):
    fake.seed_user("ada")
    fake.seed_project("team/app")
    api = connect(fake, fake.seed_token("ada"))
    with pytest.raises(client.GitlabGetError, match="404 Project Not Found"):
        api.projects.get("team/app")
    fake.add_member("ada", "team", 30)
    project = api.projects.get("team/app")
    assert project.permissions["group_access"]["access_level"] == 30
    project.description = "mine"
    with pytest.raises(client.GitlabUpdateError) as caught:
        project.save()
    assert caught.value.response_code == 403
    fake.add_member("ada", "team", 40)
    project.save()


def test_administrator_makes_a_token_for_a_user(fake):
    api = connect(fake)
    fake.seed_user("ada")
    user = api.users.list(username="ada")[0]
    wanted = {"name": "ci", "scopes": ["read_api"], "expires_at": (now() + timedelta(days=9)).date().isoformat()}
    made = user.personal_access_tokens.create(wanted)
    assert connect(fake, made.token).http_get("/user")["username"] == "ada"
    listed = api.personal_access_tokens.list(user_id=user.id, get_all=True)
    assert [(one.name, one.active, one.scopes) for one in listed] == [("ci", True, ["read_api"])]
    assert "token" not in listed[0].attributes
    far = wanted | {"expires_at": (now() + timedelta(days=500)).date().isoformat()}
    with pytest.raises(client.GitlabCreateError, match="Expiration date must be before"):
        user.personal_access_tokens.create(far)
    with pytest.raises(client.GitlabCreateError, match="Scopes can only contain available scopes"):
        user.personal_access_tokens.create(wanted | {"scopes": ["everything"]})


def test_rotation_ends_the_old_token_at_once(fake):
    value = fake.seed_admin_token(name="autogit")
    api = connect(fake, value)
    own = api.personal_access_tokens.get("self")
    made = api.personal_access_tokens.rotate("self", expires_at=(now() + timedelta(days=30)).date().isoformat())
    assert (made["name"], made["id"] != own.id) == ("autogit", True)
    assert get(fake, "/user", value).status_code == 401
    assert get(fake, "/user", made["token"]).status_code == 200
    rotated = connect(fake, made["token"]).personal_access_tokens.rotate(made["id"])
    assert rotated["expires_at"] == (now().date() + timedelta(days=7)).isoformat()


def test_rotating_a_revoked_token_revokes_its_family(fake):
    first = fake.seed_admin_token(name="leaked")
    other = connect(fake)
    old = connect(fake, first).personal_access_tokens.get("self").id
    made = connect(fake, first).personal_access_tokens.rotate("self")
    with pytest.raises(client.GitlabError) as caught:
        other.personal_access_tokens.rotate(old)
    assert caught.value.response_code == 400
    assert get(fake, "/user", made["token"]).status_code == 401


def test_others_tokens_stay_unseen(fake):
    fake.seed_user("ada")
    fake.seed_admin_token(name="secret")
    api = connect(fake, fake.seed_token("ada", name="mine"))
    assert [one.name for one in api.personal_access_tokens.list(get_all=True)] == ["mine"]
    with pytest.raises(client.GitlabAuthenticationError):
        api.personal_access_tokens.get(1)
    with pytest.raises(client.GitlabAuthenticationError):
        api.personal_access_tokens.list(user_id=1, get_all=True)


def test_parameters_that_gitlab_drops_are_recorded(fake):
    group = connect(fake).groups.create({"name": "Team", "path": "team", "colour": "red"})
    assert "colour" not in group.attributes
    (unknown,) = fake.unknown_parameters
    assert (unknown.method, unknown.endpoint, unknown.name) == ("POST", "/groups", "colour")


def test_the_log_tells_who_wrote_what(fake):
    api = connect(fake, fake.seed_admin_token(name="autogit"))
    api.groups.create({"name": "Team", "path": "team"})
    api.groups.list(get_all=True)
    assert [tuple(one) for one in fake.writes()] == [("POST", "/api/v4/groups", 201, "autogit")]
    assert len(fake.requests) == 2


# gitlab-rails


def run_rails(fake, folder, script, *arguments):
    fake.write_rails(folder)
    ruby = find_tool("ruby")
    path = os.pathsep.join([str(folder), *([os.path.dirname(ruby)] if ruby else []), os.environ["PATH"]])
    command = ["gitlab-rails", *(arguments or ("runner", "-"))]
    environment = os.environ | {"PATH": path}
    return subprocess.run(
        command, input=script, capture_output=True, text=True, env=environment, timeout=60, check=False
    )


def test_runner_makes_the_token(fake, tmp_path):
    done = run_rails(fake, tmp_path / "bin", _SCRIPT)
    assert (done.returncode, done.stderr) == (0, "")
    own = connect(fake, done.stdout.strip()).personal_access_tokens.get("self")
    assert (own.name, own.scopes) == ("autogit", ["api", "admin_mode", "create_runner"])
    assert own.expires_at == (now().date() + timedelta(days=365)).isoformat()


def test_runner_prints_nothing_unasked(fake, tmp_path):
    done = run_rails(fake, tmp_path / "bin", _SCRIPT.replace("puts token.token\n", ""))
    assert (done.returncode, done.stdout, len(fake.state.tokens)) == (0, "", 1)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("'root'", "'nobody'", "undefined method 'personal_access_tokens' for nil"),
        ("365.days.from_now", "400.days.from_now", "Validation failed: Expiration date must be before"),
        ("'admin_mode'", "'admin'", "Validation failed: Scopes can only contain available scopes"),
        ("puts token.token", "system('true')", "does not understand: system('true')"),
        ("'root')\n", "'nobody')\nabort('no such user') unless user\n", "no such user"),
    ],
)
def test_runner_fails_aloud(fake, tmp_path, old, new, text):
    done = run_rails(fake, tmp_path / "bin", _SCRIPT.replace(old, new))
    assert done.returncode == 1
    assert text in done.stderr


def test_runner_refuses_broken_ruby(fake, tmp_path):
    if not find_tool("ruby"):
        pytest.skip("server missing: ruby (tests/servers/install fetches it)")
    done = run_rails(fake, tmp_path / "bin", _SCRIPT.replace("create!(", "create!(("))
    assert done.returncode == 1
    assert "syntax error" in done.stderr.lower()
    assert fake.state.tokens == {}


def test_runner_is_the_only_command(fake, tmp_path):
    assert run_rails(fake, tmp_path / "bin", "", "console").returncode == 1
