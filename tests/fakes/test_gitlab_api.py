"""The fake GitLab's API beside projects, driven by python-gitlab."""

from __future__ import annotations

import gitlab as client
import pytest
import requests

from tests.fakes.gitlab import FakeGitLab
from tests.fakes.gitlab.clients import connect


@pytest.fixture
def fake(tmp_path):
    with FakeGitLab(tmp_path / "gitlab") as fake:
        yield fake
        assert fake.unknown_parameters == []


@pytest.fixture
def api(fake):
    return connect(fake)


@pytest.fixture
def group(api):
    return api.groups.create({"name": "Team", "path": "team"})


@pytest.fixture
def project(api, group):
    return api.projects.create({"name": "App", "namespace_id": group.id})


def refused(call, *arguments, **options):
    with pytest.raises(client.GitlabError) as caught:
        call(*arguments, **options)
    return caught.value.response_code, caught.value.error_message


# The instance


def test_version_metadata_and_user(api):
    api.auth()
    assert api.version() == ("19.5.3", "0a1b2c3d4e5")
    assert api.http_get("/metadata")["enterprise"] is False
    assert (api.user.username, api.user.is_admin) == ("root", True)


def test_settings_change_only_what_is_sent(api):
    settings = api.settings.get()
    assert settings.signup_enabled is True
    settings.signup_enabled = False
    settings.default_branch_name = "trunk"
    settings.save()
    assert (api.settings.get().signup_enabled, api.settings.get().default_branch_name) == (False, "trunk")


def test_settings_refuse_what_does_not_go_together(api):
    status, text = refused(api.settings.update, None, {"require_two_factor_authentication": True})
    assert (status, text) == (400, "two_factor_grace_period is missing")
    status, text = refused(api.settings.update, None, {"signup_enabled": "maybe"})
    assert (status, text) == (400, "signup_enabled is invalid")
    status, text = refused(api.http_put, "/application/settings", post_data={})
    assert status == 400
    assert text.endswith("are missing, at least one parameter must be provided")


def test_secret_settings_are_kept_but_not_shown(fake, api):
    api.settings.update(None, {"asset_proxy_secret_key": "s3cret"})
    assert "asset_proxy_secret_key" not in api.settings.get().attributes
    assert fake.state.settings["asset_proxy_secret_key"] == "s3cret"


def test_application_shows_its_secret_once(api):
    wanted = {"name": "Grafana", "redirect_uri": "https://g.example/login/gitlab", "scopes": "openid profile email"}
    made = api.applications.create(wanted)
    assert made.secret.startswith("gloas-")
    (listed,) = api.applications.list(get_all=True)
    assert listed.application_id == made.application_id
    assert "secret" not in listed.attributes
    renewed = api.http_post(f"/applications/{made.id}/renew-secret")
    assert renewed["secret"] != made.secret
    made.delete()
    assert api.applications.list(get_all=True) == []
    assert refused(api.applications.delete, made.id) == (404, "404 Application Not Found")


def test_application_needs_a_uri_and_known_scopes(api):
    wanted = {"name": "x", "redirect_uri": "nowhere", "scopes": "openid dance"}
    status, faults = refused(api.applications.create, wanted)
    assert status == 400
    assert set(faults) == {"redirect_uri", "scopes"}


# Users


def test_users(api):
    made = api.users.create({"email": "a@example.com", "username": "ada", "name": "Ada", "force_random_password": True})
    assert api.users.list(username="ADA")[0].id == made.id
    assert [user.username for user in api.users.list(search="ad", iterator=True)] == ["ada", "root"]
    made.name = "Ada L."
    made.save()
    assert api.users.get(made.id).name == "Ada L."
    again = {"email": "b@example.com", "username": "Ada", "name": "x", "password": "12345678"}
    assert refused(api.users.create, again) == (409, "Username has already been taken")
    status, text = refused(api.users.create, {"email": "c@example.com", "username": "c3", "name": "x"})
    assert (status, text) == (
        400,
        "password, reset_password, force_random_password are missing, at least one parameter must be provided",
    )


def test_listing_users_by_page(fake, api):
    for number in range(5):
        fake.seed_user(f"user{number}")
    page = api.users.list(per_page=2, page=2, get_all=False, order_by="id", sort="asc")
    assert [user.username for user in page] == ["user1", "user2"]
    everybody = api.users.list(per_page=2, iterator=True)
    assert (everybody.total, everybody.total_pages, len(list(everybody))) == (6, 3, 6)


# Groups


def test_groups_nest(api, group):
    child = api.groups.create({"name": "Core", "path": "core", "parent_id": group.id})
    assert child.full_path == "team/core"
    assert api.groups.get("team/core").id == child.id
    assert [one.full_path for one in group.subgroups.list(get_all=True)] == ["team/core"]
    assert [one.path for one in api.groups.list(top_level_only=True, get_all=True)] == ["team"]
    assert api.namespaces.get("team/core").kind == "group"


@pytest.mark.parametrize(
    ("wanted", "fault"),
    [
        ({"name": "T2", "path": "TEAM"}, 'Failed to save group {:path=>["has already been taken"]}'),
        ({"name": "T2", "path": "admin"}, 'Failed to save group {:path=>["admin is a reserved name"]}'),
        ({"path": "nameless"}, "name is missing"),
    ],
)
def test_group_is_refused(api, group, wanted, fault):
    assert refused(api.http_post, "/groups", post_data=wanted) == (400, fault)


def test_subgroup_is_no_more_visible_than_its_parent(api, group):
    wanted = {"name": "Open", "path": "open", "parent_id": group.id, "visibility": "public"}
    status, text = refused(api.groups.create, wanted)
    assert status == 400
    assert "public is not allowed since the parent group has a private visibility." in text


def test_group_cannot_hide_public_projects(api):
    group = api.groups.create({"name": "Open", "path": "open", "visibility": "public"})
    api.projects.create({"name": "p1", "namespace_id": group.id, "visibility": "public"})
    group.visibility = "private"
    text = "private is not allowed since this group contains projects with higher visibility."
    assert refused(group.save) == (400, {"visibility_level": [text]})
    assert api.groups.get("open").visibility == "public"


def test_group_is_marked_for_deletion(api, group, project):
    group.delete()
    assert refused(api.groups.get, "team") == (404, "404 Group Not Found")
    gone = api.groups.get(group.id)
    assert gone.full_path == f"team-deletion_scheduled-{group.id}"
    assert gone.marked_for_deletion_on
    api.http_post(f"/groups/{group.id}/restore")
    assert api.projects.get("team/app").id == project.id


def test_unknown_paths_and_methods(fake):
    root = f"{fake.url}/api/v4"
    assert requests.get(f"{root}/nothing", timeout=10).json() == {"error": "404 Not Found"}
    assert requests.patch(f"{root}/projects", timeout=10).json() == {"error": "405 Not Allowed"}
