"""Projects of the fake GitLab and what is in them, driven by python-gitlab."""

from __future__ import annotations

import hashlib

import gitlab as client
import pytest
import requests

from tests.fakes.gitlab import FakeGitLab
from tests.fakes.gitlab.clients import WorkingCopy, connect, git_url


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


@pytest.fixture
def filled(fake, project, tmp_path):
    """The project with a first commit on main, and the working copy it came from."""
    copy = WorkingCopy(tmp_path / "copy")
    copy.commit()
    copy.git("push", "-q", git_url(fake, "team/app", fake.seed_admin_token()), "main")
    return project, copy


def refused(call, *arguments, **options):
    with pytest.raises(client.GitlabError) as caught:
        call(*arguments, **options)
    return caught.value.response_code, caught.value.error_message


# Projects


def test_project_as_asked_for(api, group):
    wanted = {
        "name": "App",
        "path": "app",
        "namespace_id": group.id,
        "description": "What it does",
        "topics": ["one", "two"],
        "lfs_enabled": False,
        "wiki_access_level": "disabled",
        "issues_access_level": "private",
        "builds_access_level": "disabled",
    }
    made = api.projects.create(wanted)
    assert made.path_with_namespace == "team/app"
    assert (made.visibility, made.empty_repo, made.default_branch) == ("private", True, "main")
    assert (made.topics, made.lfs_enabled, made.wiki_enabled, made.jobs_enabled) == (
        ["one", "two"],
        False,
        False,
        False,
    )
    assert (made.issues_access_level, made.permissions["group_access"]["access_level"]) == ("private", 50)


def test_project_is_no_more_visible_than_its_group(api, group):
    wanted = {"name": "App", "namespace_id": group.id, "visibility": "internal"}
    text = "internal is not allowed in a private group."
    assert refused(api.projects.create, wanted) == (400, {"visibility_level": [text]})


def test_project_that_is_there_already(api, group, project):
    taken = ["has already been taken"]
    everything = {"project_namespace.name": taken, "name": taken, "path": taken}
    assert refused(api.projects.create, {"name": "App", "namespace_id": group.id}) == (400, everything)
    other_case = {"name": "Other", "path": "APP", "namespace_id": group.id}
    assert refused(api.projects.create, other_case) == (400, {"path": taken})


@pytest.mark.parametrize("path", [".github", "a--b", "-x", "x.git", "wikis", "x_"])
def test_project_path_that_gitlab_does_not_take(api, group, path):
    status, faults = refused(api.projects.create, {"name": "Fine", "path": path, "namespace_id": group.id})
    assert (status, list(faults)) == (400, ["path"])


def test_nothing_is_blank(api, group):
    assert refused(api.http_post, "/groups", post_data={"name": None, "path": "x1"})[0] == 400
    assert refused(api.projects.create, {"name": "  ", "namespace_id": group.id})[0] == 400


def test_namespace_that_is_not_there(api):
    assert refused(api.projects.create, {"name": "x", "namespace_id": 999}) == (400, {"namespace": ["is not valid"]})
    assert refused(api.projects.create, {"name": "x", "namespace_id": "x"}) == (400, "namespace_id is invalid")
    assert refused(api.http_post, "/projects", post_data={"visibility": "open"}) == (
        400,
        "visibility does not have a valid value, name, path are missing, at least one parameter must be provided",
    )


def test_projects_over_several_pages(fake, api, group):
    for number in range(45):
        fake.seed_project(f"team/p{number:02}")
    assert len(api.projects.list(get_all=True, per_page=20)) == 45
    first = api.projects.list(iterator=True, per_page=20, order_by="path", sort="asc")
    assert (first.total, first.total_pages, first.next_page) == (45, 3, 2)
    keyset = api.projects.list(iterator=True, pagination="keyset", order_by="id", sort="asc", per_page=10)
    assert [one.path for one in keyset] == [f"p{number:02}" for number in range(45)]
    assert refused(api.projects.list, pagination="keyset", order_by="path", get_all=True)[0] == 405
    assert len(group.projects.list(get_all=True)) == 45


def test_projects_are_filtered(fake, api):
    fake.seed_project("team/tool", topics=["cli"])
    old = fake.seed_project("team/old")
    fake.seed_project("open/thing", visibility="public")
    api.projects.get(old.id).archive()
    assert [one.path for one in api.projects.list(archived=True)] == ["old"]
    assert [one.path for one in api.projects.list(search="TOO")] == ["tool"]
    assert [one.path for one in api.projects.list(topic="cli")] == ["tool"]
    assert [one.path for one in api.projects.list(visibility="public")] == ["thing"]
    assert {one.path for one in api.projects.list(membership=True)} == {"tool", "old", "thing"}


def test_former_path_leads_to_the_number(fake, api, project):
    project.path = "renamed"
    project.save()
    headers = {"PRIVATE-TOKEN": fake.seed_admin_token()}
    old = f"{fake.url}/api/v4/projects/team%2Fapp"
    moved = requests.get(old, headers=headers, allow_redirects=False, timeout=10)
    assert (moved.status_code, moved.headers["Location"]) == (301, f"{fake.url}/api/v4/projects/{project.id}")
    assert requests.get(old, headers=headers, timeout=10).json()["path"] == "renamed"
    answer = requests.put(old, headers=headers, json={"description": "x"}, timeout=10)
    assert (answer.status_code, answer.json()["message"]) == (405, "Non GET methods are not allowed for moved projects")


def test_new_project_at_a_former_path_ends_the_redirect(api, group, project):
    project.path = "renamed"
    project.save()
    again = api.projects.create({"name": "App again", "path": "app", "namespace_id": group.id})
    assert api.projects.get("team/app").id == again.id


def test_transfer(api, project):
    target = api.groups.create({"name": "Other", "path": "other"})
    project.transfer(target.id)
    assert api.projects.get(project.id).path_with_namespace == "other/app"


def test_project_is_marked_for_deletion_then_removed(fake, api, project):
    disk = fake.repository("team/app")
    project.delete()
    marked = api.projects.get(project.id)
    assert marked.path_with_namespace == f"team/app-deletion_scheduled-{project.id}"
    assert api.projects.get("team/app").id == project.id  # the former path still leads there
    wrong = {"permanently_remove": True, "full_path": "team/app"}
    assert refused(api.http_delete, f"/projects/{project.id}", query_data=wrong)[0] == 400
    right = {"permanently_remove": True, "full_path": marked.path_with_namespace}
    api.http_delete(f"/projects/{project.id}", query_data=right)
    assert refused(api.projects.get, project.id) == (404, "404 Project Not Found")
    assert not disk.exists()


def test_default_branch_must_exist(filled):
    project, _ = filled
    project.default_branch = "nope"
    assert refused(project.save) == (400, {"base": ["Could not change HEAD: branch 'nope' does not exist"]})


def test_import_by_url_is_off_at_first(api, group):
    wanted = {"name": "x", "namespace_id": group.id, "import_url": "https://example.com/x.git"}
    assert refused(api.projects.create, wanted)[0] == 403


def test_readme_makes_a_protected_default_branch(api, group):
    made = api.projects.create({"name": "R1", "namespace_id": group.id, "initialize_with_readme": True})
    assert api.projects.get(made.id).empty_repo is False
    assert [one.name for one in made.protectedbranches.list(get_all=True)] == ["main"]


# In a project


def test_branches_and_tags(filled):
    project, copy = filled
    project.branches.create({"branch": "topic/one", "ref": "main"})
    assert {one.name for one in project.branches.list(get_all=True)} == {"main", "topic/one"}
    assert project.branches.get("topic/one").commit["id"] == copy.git("rev-parse", "HEAD")
    assert refused(project.branches.create, {"branch": "main", "ref": "main"}) == (400, "Branch already exists")
    assert refused(project.branches.delete, "main")[0] == 405
    project.branches.delete("topic/one")
    assert refused(project.branches.get, "topic/one") == (404, "404 Branch Not Found")
    tag = project.tags.create({"tag_name": "v1", "ref": "main", "message": "one"})
    assert (tag.message, project.tags.get("v1").commit["id"]) == ("one", copy.git("rev-parse", "HEAD"))


def test_protected_branches(filled):
    project, _ = filled
    (rule,) = project.protectedbranches.list(get_all=True)
    assert (rule.name, rule.allow_force_push) == ("main", False)
    rule.allow_force_push = True
    rule.save()
    changed = project.protectedbranches.get("main")
    assert (changed.allow_force_push, changed.push_access_levels[0]["access_level"]) == (True, 40)
    assert refused(project.protectedbranches.create, {"name": "main"}) == (
        409,
        "Protected branch 'main' already exists",
    )
    wild = project.protectedbranches.create({"name": "release/*", "push_access_level": 0})
    assert wild.push_access_levels[0]["access_level_description"] == "No one"
    wild.delete()
    assert refused(project.protectedbranches.get, "release/*")[0] == 404


def test_releases_and_links(filled):
    project, _ = filled
    link = {"name": "bin", "url": "https://example.com/bin"}
    assert refused(project.releases.create, {"tag_name": "v1"}) == (422, "Ref is not specified")
    made = project.releases.create(
        {"tag_name": "v1", "ref": "main", "description": "first", "assets": {"links": [link]}}
    )
    assert (made.name, made.assets["links"][0]["url"]) == ("v1", link["url"])
    assert refused(project.releases.create, {"tag_name": "v1"}) == (409, "Release already exists")
    other = made.links.create({"name": "doc", "url": "https://example.com/doc", "link_type": "runbook"})
    assert refused(made.links.create, {"name": "doc", "url": "https://example.com/2"})[0] == 400
    other.delete()
    made.description = "changed"
    made.save()
    assert [one.description for one in project.releases.list(get_all=True)] == ["changed"]
    project.releases.delete("v1")
    assert [one.name for one in project.tags.list(get_all=True)] == ["v1"]


def test_files_of_releases_are_packages(fake, project, tmp_path):
    (tmp_path / "tool.bin").write_bytes(b"\0binary\n" * 1000)
    upload = project.generic_packages.upload("tool", "1.0", "tool.bin", path=tmp_path / "tool.bin")
    assert upload.message == "201 Created"
    assert project.generic_packages.download("tool", "1.0", "tool.bin") == b"\0binary\n" * 1000
    (package,) = project.packages.list(get_all=True)
    (file,) = package.package_files.list(get_all=True)
    assert (file.size, file.file_sha256) == (8000, hashlib.sha256(b"\0binary\n" * 1000).hexdigest())
    with pytest.raises(client.GitlabError):
        project.generic_packages.download("tool", "2.0", "tool.bin")
    url = f"{fake.url}/api/v4/projects/{project.id}/packages/generic/tool/1.0/tool.bin"
    assert requests.get(url, timeout=10).status_code == 404
    assert requests.put(url, data=b"x", timeout=10).status_code == 401


def test_issues_notes_and_merge_requests(fake, filled):
    project, copy = filled
    issue = project.issues.create({"title": "Broken", "labels": "bug,old", "created_at": "2020-01-02T03:04:05Z"})
    assert (issue.iid, issue.labels, issue.created_at) == (1, ["bug", "old"], "2020-01-02T03:04:05Z")
    issue.notes.create({"body": "me too"})
    issue.state_event = "close"
    issue.save()
    assert [one.title for one in project.issues.list(state="closed")] == ["Broken"]
    assert [one.body for one in issue.notes.list(get_all=True)] == ["me too"]
    project.branches.create({"branch": "topic", "ref": "main"})
    wanted = {"source_branch": "topic", "target_branch": "main", "title": "Mend"}
    merge = project.mergerequests.create(wanted)
    assert refused(project.mergerequests.create, wanted)[0] == 409
    listed = copy.git("ls-remote", git_url(fake, "team/app", fake.seed_admin_token()), "refs/merge-requests/*")
    assert listed.endswith(f"refs/merge-requests/{merge.iid}/head")


def test_mirrors_keys_and_hooks(fake, project):
    mirror = project.remote_mirrors.create({"url": "https://ada:s3cret@example.com/x.git", "enabled": True})
    assert mirror.url == "https://*****:*****@example.com/x.git"
    assert [one.enabled for one in project.remote_mirrors.list(get_all=True)] == [True]
    key = project.keys.create({"title": "bot", "key": f"ssh-ed25519 AAAA{'C' * 64} bot", "can_push": True})
    assert refused(project.keys.create, {"title": "no", "key": "nonsense"})[0] == 400
    assert project.keys.get(key.id).can_push is True
    hook = project.hooks.create({"url": "https://ci.example.com/hook", "token": "s3cret", "push_events": True})
    assert "token" not in hook.attributes
    assert refused(project.hooks.create, {"url": "http://127.0.0.1/hook"}) == (422, "Invalid url given")
    hook.delete()
    assert project.hooks.list(get_all=True) == []


def test_unchanged_answers_cost_304(fake, project):
    headers = {"PRIVATE-TOKEN": fake.seed_admin_token()}
    url = f"{fake.url}/api/v4/groups/team/projects"
    first = requests.get(url, headers=headers, timeout=10)
    again = requests.get(url, headers=headers | {"If-None-Match": first.headers["ETag"]}, timeout=10)
    assert (again.status_code, again.content) == (304, b"")


class TestCustomAttributes:
    def test_an_administrator_sets_shows_and_deletes_them(self, api, group, project):
        project.customattributes.set("source", "github:1")
        assert project.customattributes.get("source").value == "github:1"
        (shown,) = group.projects.list(with_custom_attributes="true", get_all=True)
        assert shown.custom_attributes == [{"key": "source", "value": "github:1"}]
        project.customattributes.delete("source")
        assert project.customattributes.list(get_all=True) == []
        with pytest.raises(client.GitlabGetError) as missing:
            project.customattributes.get("source")
        assert missing.value.response_code == 404

    def test_for_others_they_are_not_there(self, fake, api, group, project):
        project.customattributes.set("source", "github:1")
        fake.seed_user("ada")
        fake.add_member("ada", "team", 50)
        hers = connect(fake, fake.seed_token("ada"))
        (shown,) = hers.groups.get("team").projects.list(with_custom_attributes="true", get_all=True)
        assert "custom_attributes" not in shown.attributes
        with pytest.raises(client.GitlabHttpError) as refused:
            hers.http_get(f"/projects/{project.id}/custom_attributes")
        assert refused.value.response_code == 403
