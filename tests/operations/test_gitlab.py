"""GitLab made ready to use, through the fake: once, again, after accidents; and what is told of it."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from autogit.connectors.gitlab import GitLabClient
from autogit.connectors.gitlab_tokens import look_at_token
from autogit.core.desired import desired_resources
from autogit.core.render import render
from autogit.core.spec import build_spec
from autogit.errors import (
    ApplyLockHeldError,
    AutogitError,
    BlockedError,
    NotReadyError,
    PartialApplyError,
    RejectedError,
    SettingsError,
    UnsafePlanError,
    UsageError,
)
from autogit.model.gitlab import TOKEN_DAYS
from autogit.model.host import HostFacts
from autogit.model.resource import Address
from autogit.operations import gitlab
from autogit.operations.gitlab_access import StoreKeeper
from autogit.operations.gitlab_token import TokenKeeper, facts_file
from autogit.operations.gitlab_wiring import is_bootstrap_due
from autogit.operations.project import open_project, project_paths
from tests.connectors.gitlab_world import HOST_KEY, World
from tests.fakes.gitlab.state import now

ENV = "RUNTIME=docker\nSIZE=team\nSERVICES_ENABLED=gitlab,grafana\n"
DECLARED = """\
settings:
  minimum_password_length: 16
groups:
  - {path: ops, name: Operations}
  - {path: ops/tools}
users:
  - {username: ana, email: Ana@Example.com, name: Ana}
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOGIT_IDENTITY_FILE", str(tmp_path / "keys" / "identity.txt"))
    with World(tmp_path / "world") as world:
        yield world
        assert world.fake.unknown_parameters == []


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    (root / ".env").write_text(ENV)
    (root / "gitlab.yml").write_text(DECLARED)
    return root


@pytest.fixture
def project(root, world):
    return opened(root)


def opened(root, clock=now):
    project = open_project(project_paths(root))
    return replace(project, context=replace(project.context, clock=clock))


def bootstrap(project, world, **more):
    told = []
    request = gitlab.BootstrapRequest(**{name: frozenset(some) for name, some in more.items()})
    view = asyncio.run(gitlab.bootstrap(project, request, access=world.access(), on_event=told.append))
    return view, [event.text for event in told]


def grafanas(project):
    """The files of Grafana's sign-in, what of it its container waits for, and whether sign-in is on."""
    facts = HostFacts(secret_fingerprints=project.secrets.fingerprints(project.settings.service_secrets))
    spec = build_spec(project.settings, project.catalogue, facts, project.store.load(), project.paths)
    service = next(one for one in spec.services if one.name == "grafana")
    unit = next(one for one in desired_resources(spec, render(spec)) if one.address == Address("container", "grafana"))
    files = {one.name: one.file for one in service.secrets if "GITLAB" in one.name}
    needs = sorted(one.name for one in unit.depends_on if one.kind == "secret" and "GITLAB" in one.name)
    return files, needs, service.container.environment["GF_AUTH_GITLAB_ENABLED"]


def stored(project):
    return project.secrets.load()


def caught(work):
    with pytest.raises(AutogitError) as found:
        work()
    return found.value


class TestBootstrap:
    def test_the_first_one_does_all_and_the_second_writes_nothing(self, project, world):
        first, _ = bootstrap(project, world)
        assert first.token.made == "made"
        assert {one.state for one in first.changed} <= {"create", "update"}
        names = {one.address.removeprefix("gitlab_setting/") for one in first.changed}
        assert names >= {"application_settings/signup_enabled", "group/ops/tools", "user/ana", "application/grafana"}
        assert first.captured == (
            "gitlab_secrets_json", "gitlab_ssh_host_ed25519_key", "gitlab_ssh_host_ed25519_key_pub",
        )  # fmt: skip
        written, lockfile = len(world.fake.writes()), project.paths.lockfile.read_bytes()
        second, told = bootstrap(project, world)
        assert (second.changed, second.captured, second.held, second.token.made) == ((), (), (), "")
        assert (len(world.fake.writes()), world.rails_runs, told) == (written, 1, [])
        assert project.paths.lockfile.read_bytes() == lockfile
        assert second.in_sync >= len(first.changed)

    def test_gitlab_has_what_was_declared_and_what_is_not_is_hardened(self, project, world):
        bootstrap(project, world)
        settings = world.fake.state.settings
        assert (settings["minimum_password_length"], settings["signup_enabled"]) == (16, False)
        assert settings["default_branch_name"] == "main"
        assert world.fake.state.find_namespace("ops/tools")
        assert world.fake.state.find_user("ana").email == "ana@example.com"
        (application,) = world.fake.state.applications.values()
        assert application["callback_url"] == "https://grafana.autogit.localhost/login/gitlab"
        assert stored(project)["GRAFANA_GITLAB_CLIENT_SECRET"] == application["secret"]
        assert stored(project)["GRAFANA_GITLAB_CLIENT_ID"] == application["application_id"]

    def test_no_secret_is_in_any_file_but_the_encrypted_store(self, project, world):
        view, told = bootstrap(project, world)
        values = [value for name, value in stored(project).items() if not name.endswith("_pub")]
        assert len(values) == 6
        words = f"{view!r}{told}{[argv for argv, _ in world.executed]}"
        files = [p for p in project.paths.root.rglob("*") if p.is_file()]
        texts = [words.encode(), *(path.read_bytes() for path in files)]
        assert [value for value in values if any(value.encode() in text for text in texts)] == []

    def test_grafana_reads_the_applications_id_and_secret_from_files(self, root, world):
        (root / ".env").write_text(f"{ENV}GRAFANA_GITLAB_SIGN_IN=true\n")
        project = opened(root)
        assert grafanas(project) == ({}, [], "false")
        bootstrap(project, world)
        files, needs, enabled = grafanas(opened(root))
        names = [f"GRAFANA_GITLAB_CLIENT_{what}" for what in ("ID", "SECRET")]
        assert (sorted(files), needs, enabled) == (names, names, "true")
        assert [Path(files[name]).name for name in names] == [f"{name}.v1" for name in names]

    def test_an_application_of_ones_own_is_taken_and_none_is_made(self, root, world):
        own = "GRAFANA_GITLAB_CLIENT_ID=own-id\nGRAFANA_GITLAB_CLIENT_SECRET=own-secret\n"
        (root / ".env").write_text(f"{ENV}GRAFANA_GITLAB_SIGN_IN=true\n{own}")
        view, _ = bootstrap(opened(root), world)
        assert not [one.address for one in view.changed if "application/grafana" in one.address]
        assert list(world.fake.state.applications.values()) == []
        assert sorted(grafanas(opened(root))[0]) == ["GRAFANA_GITLAB_CLIENT_ID", "GRAFANA_GITLAB_CLIENT_SECRET"]

    def test_half_an_application_of_ones_own_is_refused(self, root):
        (root / ".env").write_text(f"{ENV}GRAFANA_GITLAB_CLIENT_ID=own-id\n")
        error = caught(lambda: opened(root))
        assert [(fault.subject, fault.message) for fault in error.faults] == [
            ("GRAFANA_GITLAB_CLIENT_SECRET", "is needed with GRAFANA_GITLAB_CLIENT_ID")
        ]

    def test_it_waits_by_phases_and_says_so(self, project, world):
        world.fake.faults.boot(bad_gateway=2, not_ready=2)
        _, told = bootstrap(project, world)
        assert told[0].startswith("the container runs, GitLab's web server does not answer yet")
        assert told[1].startswith("GitLab's web server is up, its database or another part is not ready yet")
        assert told[2].startswith("there is no administrator's token yet: GitLab makes one")

    def test_without_a_container_it_says_what_to_do(self, project, world):
        world.container = ""
        error = caught(lambda: bootstrap(project, world))
        assert (type(error), error.hint) == (NotReadyError, "autogit up starts it")

    def test_what_somebody_made_is_held_until_it_is_adopted(self, project, world):
        world.fake.seed_group("ops")
        view, _ = bootstrap(project, world)
        assert [one.address for one in view.held] == ["gitlab_setting/group/ops"]
        assert world.fake.state.find_namespace("ops").name == "ops"
        view, _ = bootstrap(project, world, adopt=[Address("gitlab_setting", "group/ops")])
        assert view.held == ()
        assert world.fake.state.find_namespace("ops").name == "Operations"

    def test_what_is_taken_out_of_the_file_goes_and_foreign_things_stay(self, project, world, root):
        bootstrap(project, world)
        world.fake.seed_group("theirs")
        (root / "gitlab.yml").write_text("groups: [{path: ops, name: Operations}]\n")
        view, _ = bootstrap(opened(root), world)
        assert sorted((one.address, one.state) for one in view.changed) == [
            ("gitlab_setting/application_settings/minimum_password_length", "update"),
            ("gitlab_setting/group/ops/tools", "delete"),
            ("gitlab_setting/user/ana", "delete"),
        ]
        assert world.fake.state.find_user("ana").state == "blocked"
        assert world.fake.state.settings["minimum_password_length"] == 12
        assert world.fake.state.find_namespace("theirs")

    def test_a_group_with_projects_blocks_before_anything_is_changed(self, project, world, root):
        bootstrap(project, world)
        world.fake.seed_project("ops/tools/app")
        (root / "gitlab.yml").write_text("settings: {minimum_password_length: 20}\n")
        error = caught(lambda: bootstrap(opened(root), world))
        assert type(error) is BlockedError
        assert {fault.message.partition(" still")[0] for fault in error.faults} == {"ops", "ops/tools"}
        assert world.fake.state.settings["minimum_password_length"] == 16

    def test_what_landed_before_a_failure_is_recorded(self, project, world):
        world.fake.faults.fail("/api/v4/users", status=500, method="POST")
        error = caught(lambda: bootstrap(project, world))
        assert type(error) is PartialApplyError
        assert [fault.place for fault in error.faults] == ["gitlab_setting/user/ana"]
        view, _ = bootstrap(project, world)
        assert [one.address for one in view.changed] == ["gitlab_setting/user/ana"]

    def test_taking_out_nearly_everything_has_to_be_named(self, project, world, root):
        names = [f"group{number}" for number in range(20)]
        (root / "gitlab.yml").write_text("groups:\n" + "".join(f"  - path: {name}\n" for name in names))
        bootstrap(opened(root), world)
        (root / "gitlab.yml").unlink()
        error = caught(lambda: bootstrap(opened(root), world))
        assert type(error) is UnsafePlanError
        assert world.fake.state.find_namespace("group7")
        gone = [Address("gitlab_setting", f"group/{name}") for name in names]
        view, _ = bootstrap(opened(root), world, allow_delete=gone)
        assert {one.state for one in view.changed} == {"delete"}

    def test_two_at_once_are_refused(self, project, world):
        from autogit.core.lock import apply_lock

        async def both():
            async with apply_lock(project.paths.apply_lock, "up"):
                await gitlab.bootstrap(project, access=world.access())

        with pytest.raises(ApplyLockHeldError):
            asyncio.run(both())
        assert world.rails_runs == 0

    def test_every_change_is_in_the_audit_log(self, project, world):
        view, _ = bootstrap(project, world)
        rows = [json.loads(line) for line in project.paths.audit_log.read_text().splitlines()]
        assert rows[0] == {**rows[0], "command": "gitlab bootstrap", "action": "token made"}
        assert sorted(row["address"] for row in rows[1:]) == sorted(one.address for one in view.changed)


class TestToken:
    def facts(self, project, world):
        token = SecretStr(stored(project)["gitlab_admin_token"])
        return look_at_token(GitLabClient(world.place(), token))

    def test_it_is_kept_with_its_last_day_beside(self, project, world):
        bootstrap(project, world)
        beside = json.loads(facts_file(project.paths).read_text())
        assert beside["expires_at"] == (now().date() + timedelta(days=TOKEN_DAYS)).isoformat()
        assert facts_file(project.paths).stat().st_mode & 0o777 == 0o600

    def test_it_is_exchanged_thirty_days_before_it_expires_and_no_sooner(self, project, world, root):
        bootstrap(project, world)
        old = stored(project)["gitlab_admin_token"]
        expires_on = now().date() + timedelta(days=31)
        world.fake.state.find_token(old).expires_at = expires_on
        assert bootstrap(opened(root), world)[0].token.made == ""
        world.fake.state.find_token(old).expires_at = expires_on - timedelta(days=1)
        view, _ = bootstrap(opened(root), world)
        assert (view.token.made, view.token.days_left) == ("rotated", TOKEN_DAYS)
        assert stored(project)["gitlab_admin_token"] != old
        assert (self.facts(project, world).name, world.rails_runs) == ("autogit", 1)

    def test_rotate_exchanges_it_at_once(self, project, world):
        bootstrap(project, world)
        old = stored(project)["gitlab_admin_token"]
        view = asyncio.run(gitlab.rotate(project, access=world.access()))
        assert view.made == "rotated"
        assert world.fake.state.find_token(old).revoked
        assert bootstrap(project, world)[0].token.made == ""

    @pytest.mark.parametrize("how", ["revoked", "expired", "garbage"])
    def test_one_that_gitlab_does_not_take_is_made_anew(self, project, world, how):
        bootstrap(project, world)
        token = world.fake.state.find_token(stored(project)["gitlab_admin_token"])
        token.revoked = how == "revoked"
        if how == "expired":
            token.expires_at = now().date() - timedelta(days=1)
        if how == "garbage":
            StoreKeeper(project.secrets.store).put("gitlab_admin_token", "glpat-that-nobody-has")
        view, told = bootstrap(project, world)
        assert (view.token.made, world.rails_runs) == ("made", 2)
        assert "GitLab makes one" in told[0]
        assert self.facts(project, world).expires_at

    def test_one_that_lacks_a_scope_is_made_anew(self, project, world):
        StoreKeeper(project.secrets.store).put("gitlab_admin_token", world.fake.seed_admin_token(["api"], "autogit"))
        assert bootstrap(project, world)[0].token.made == "made"
        assert "create_runner" in self.facts(project, world).scopes

    def test_killed_between_the_answer_and_the_store(self, project, world, root):
        """GitLab has revoked the old one by then, and the new one is lost: GitLab itself makes another."""
        bootstrap(project, world)
        old = stored(project)["gitlab_admin_token"]
        ended = run_and_be_killed(root, world)
        assert ended == -signal.SIGKILL
        assert stored(project)["gitlab_admin_token"] == old
        assert world.fake.state.find_token(old).revoked
        view, told = bootstrap(opened(root), world)
        assert told[0].startswith("gitlab: the token was revoked: GitLab makes one")
        assert (view.token.made, view.token.days_left, view.changed) == ("made", TOKEN_DAYS, ())
        good = [t for t in world.fake.state.tokens.values() if t.name == "autogit" and t.active]
        assert [token.value for token in good] == [stored(project)["gitlab_admin_token"]]


class _Killed(StoreKeeper):
    """Dies where a new token would be stored."""

    def put(self, name, value):
        os.kill(os.getpid(), signal.SIGKILL)


def _rotate(root, access, keeper_of):
    project = opened(root)
    keeper = TokenKeeper(access, keeper_of(project.secrets.store), facts_file(project.paths), now)
    asyncio.run(keeper.ensure(lambda _: None, rotate=True))


def run_and_be_killed(root, world):
    """Rotate the token in a process of its own, which ends in the middle of it."""
    child = multiprocessing.get_context("fork").Process(target=_rotate, args=(root, world.access(), _Killed))
    child.start()
    child.join(60)
    return child.exitcode


class TestCapture:
    def test_what_changed_is_kept_again_and_nothing_else_is_written(self, project, world):
        bootstrap(project, world)
        assert stored(project)["gitlab_ssh_host_ed25519_key"] == HOST_KEY
        (world.etc / "gitlab-secrets.json").write_text('{"gitlab_rails": {}}\n')
        assert bootstrap(project, world)[0].captured == ("gitlab_secrets_json",)
        before = project.paths.secrets_store.read_bytes()
        assert bootstrap(project, world)[0].captured == ()
        assert project.paths.secrets_store.read_bytes() == before

    @pytest.mark.parametrize("text", ['{"half', "", "[]"])
    def test_a_damaged_file_never_replaces_a_good_one(self, project, world, text):
        bootstrap(project, world)
        good = stored(project)["gitlab_secrets_json"]
        (world.etc / "gitlab-secrets.json").write_text(text)
        error = caught(lambda: bootstrap(project, world))
        assert (type(error), "damaged, or being written" in error.message) == (RejectedError, True)
        assert stored(project)["gitlab_secrets_json"] == good


class TestStatus:
    def look(self, project, world):
        return asyncio.run(gitlab.status(project, access=world.access()))

    def test_before_during_and_after(self, project, world):
        view = self.look(project, world)
        assert (view.ok, view.phase, view.token.state) == (False, "answering", "missing")
        assert "autogit gitlab bootstrap" in view.problem
        bootstrap(project, world)
        view = self.look(project, world)
        assert (view.ok, view.version, view.token.state, view.problem) == (True, "19.5.3", "good", "")
        assert {one.state for one in view.settings} == {"in sync"}
        world.fake.state.settings["signup_enabled"] = True
        view = self.look(project, world)
        assert [one.address for one in view.settings if one.state == "differs"] == [
            "gitlab_setting/application_settings/signup_enabled"
        ]
        assert not view.ok

    def test_it_writes_nothing_not_even_where_the_token_is_refused(self, project, world):
        bootstrap(project, world)
        written = len(world.fake.writes())
        world.fake.state.find_token(stored(project)["gitlab_admin_token"]).revoked = True
        view = self.look(project, world)
        assert (view.ok, len(world.fake.writes()), world.rails_runs) == (False, written, 1)
        assert view.problem.startswith("gitlab: the token was revoked")

    def test_a_container_that_starts(self, project, world):
        world.container = "restarting"
        view = self.look(project, world)
        assert (view.phase, view.sentence) == ("starting", "GitLab's container is not running")

    def test_password_tells_where_it_is(self, project, world):
        view = gitlab.password(project, access=world.access())
        assert (view.command, view.stored) == ("autogit secrets reveal GITLAB_ROOT_PASSWORD", False)
        StoreKeeper(project.secrets.store).put("GITLAB_ROOT_PASSWORD", "canary-password")
        view = gitlab.password(project, access=world.access())
        assert view.stored
        assert "canary" not in repr(view)


class TestFile:
    @pytest.mark.parametrize(
        ("text", "faults"),
        [
            ("settings: {signup_enabled: {a: 1}}\n", ["line 1 signup_enabled must be true, false, a number"]),
            ("settings:\n  akismet_api_key: canary\n", ["line 2 akismet_api_key is a secret"]),
            ("settings: {1: x}\n", ["line 1 settings must be"]),
            ("group: []\n", ["line 1 group is not known here"]),
            ("groups:\n  - {name: x}\n", ["line 2 path is missing"]),
            ("groups:\n  - path: ../x\n", ["line 2 path must be letters"]),
            ("groups:\n  - path: ops\n    visibility: open\n", ["line 3 visibility must be 'private'"]),
            ("groups:\n  - path: ops\n  - path: OPS\n", ["line 3 groups OPS stands on line 2 already"]),
            ("users:\n  - username: ana\n    email: nobody\n", ["line 3 email "]),
            (
                "users:\n  - username: -x\n    email: a@b\n    admin: 1\n",
                ["line 2 username must", "line 4 admin must be"],
            ),
            ("settings: {\n", ["line 2  broken YAML"]),
            ("- a\n", ["line 1  must be made of keys and values"]),
        ],
    )
    def test_every_fault_has_its_line(self, project, world, root, text, faults):
        (root / "gitlab.yml").write_text(text)
        error = caught(lambda: bootstrap(project, world))
        assert type(error) is SettingsError
        assert "canary" not in f"{error.message}{error.faults}"
        said = [f"{f.place.removeprefix('gitlab.yml ')} {f.subject} {f.message}" for f in error.faults]
        assert [one.startswith(start) for one, start in zip(said, faults, strict=True)] == [True] * len(faults), said
        assert [one for one in world.fake.writes() if "/rotate" not in one.path] == []

    def test_no_file_is_no_wish(self, project, world, root):
        (root / "gitlab.yml").unlink()
        names = [one.address for one in bootstrap(project, world)[0].changed]
        assert [name for name in names if "/group/" in name or "/user/" in name] == []


def test_a_platform_without_gitlab(root):
    (root / ".env").write_text("RUNTIME=docker\nSERVICES_ENABLED=grafana\n")
    error = caught(lambda: asyncio.run(gitlab.status(opened(root))))
    assert (type(error), "SERVICES_ENABLED does not name gitlab" in error.message) == (UsageError, True)


def test_a_runtime_without_containers(root):
    (root / ".env").write_text("RUNTIME=embedded\nSERVICES_ENABLED=gitlab\n")
    error = caught(lambda: gitlab.password(opened(root)))
    assert (type(error), "GitLab needs RUNTIME=docker" in error.message) == (UsageError, True)


class TestInTheOnePlan:
    def kinds(self, engine):
        return {kind for provider in engine.providers for kind in provider.kinds}

    def test_it_has_a_part_once_there_is_a_token(self, project, world, root):
        assert "gitlab_setting" not in self.kinds(project.engine)
        bootstrap(project, world)
        project = opened(root)
        assert "gitlab_setting" in self.kinds(project.engine)
        assert "gitlab_setting" not in self.kinds(project.engine_here)  # that GitLab is away hinders no healing
        wished = {str(resource.address) for resource in project.engine.declared(project.outline())}
        assert {"gitlab_setting/group/ops/tools", "gitlab_setting/application/grafana"} <= wished

    def test_everything_waits_for_the_container(self, project, world, root):
        bootstrap(project, world)
        engine = opened(root).engine
        needs = {resource.address.name: resource.depends_on for resource in engine.declared(project.outline())}
        assert all(Address("container", "gitlab") in one for one in needs.values())
        assert Address("gitlab_setting", "group/ops") in needs["group/ops/tools"]

    def test_a_platform_whose_gitlab_was_taken_out_leaves_it_out(self, project, world, root):
        bootstrap(project, world)
        (root / ".env").write_text("RUNTIME=docker\nSERVICES_ENABLED=grafana\n")
        assert "gitlab_setting" not in self.kinds(opened(root).engine)

    def test_when_up_has_to_bootstrap(self, project, world, root):
        assert is_bootstrap_due(project)
        bootstrap(project, world)
        assert not is_bootstrap_due(project)
        assert not is_bootstrap_due(opened(root, lambda: now() + timedelta(days=TOKEN_DAYS - 31)))
        assert is_bootstrap_due(opened(root, lambda: now() + timedelta(days=TOKEN_DAYS - 30)))
        facts_file(project.paths).write_text("garbage")
        assert is_bootstrap_due(project)
        (root / ".env").write_text("RUNTIME=docker\nSERVICES_ENABLED=grafana\n")
        assert not is_bootstrap_due(opened(root))
