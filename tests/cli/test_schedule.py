"""`autogit schedule` as a user types it, on a host that a folder stands for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from autogit.operations import schedule
from autogit.providers.host.schedule import Account, Machine

CRONTAB = """\
#!/bin/sh
case "$*" in
  -l) cat "{table}" 2>/dev/null || {{ echo "no crontab for me" >&2; exit 1; }} ;;
  -) cat > "{table}" ;;
esac
"""
SYSTEMCTL = """\
#!/bin/sh
case "$*" in *show*) printf '%s\\n' ActiveState=active UnitFileState=enabled Result=success NRestarts=0 ;; esac
"""


def _program(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def host(tmp_path, monkeypatch, env):
    """A function that makes this host one with the named schedulers."""
    env("SERVICES_ENABLED=api\nSIZE=minimal\n")
    table = tmp_path / "table"

    def make(*kinds, scope="system"):
        tools = tmp_path / "tools"
        machine = Machine(
            account=Account(os.geteuid(), "me", tmp_path / "home"),
            scope=scope,
            booted=tmp_path if "systemd" in kinds else tmp_path / "not-booted",
            units=tmp_path / "units",
            systemctl=_program(tools / "systemctl", SYSTEMCTL) if "systemd" in kinds else "",
            loginctl="",
            crontab=_program(tools / "crontab", CRONTAB.format(table=table)) if "crontab" in kinds else "",
        )
        monkeypatch.setattr(schedule, "find_machine", lambda *_: machine)
        return machine

    make.table = table
    return make


def test_a_dry_run_prints_the_unit_and_writes_nothing(autogit, host):
    machine = host("systemd")
    done = autogit("schedule", "install", "--dry-run")
    assert (done.code, done.err) == (0, "")
    first, second = done.out.splitlines()[:2]
    assert first == f"# {machine.units}/autogit-autogit-reconcile.service"
    assert second == f"# autogit schedule: autogit in {autogit.root}"
    script = Path(sys.executable).parent / "autogit"
    start = str(script) if script.exists() else f"{sys.executable} -P -m autogit"
    assert (
        f"\nExecStart={start} reconcile --watch --project-dir {autogit.root} --env-file {autogit.root}/.env\n"
        in done.out
    )
    assert f"\nEnvironment=HOME={autogit.root.parent}/home\n" in done.out
    assert not machine.units.exists()


def test_a_host_with_neither_still_gets_the_text(autogit, host):
    host()
    done = autogit("schedule", "install", "--dry-run")
    assert done.code == 0
    assert "[Service]" in done.out


@pytest.mark.parametrize("words", [["show"], ["install", "--yes"], ["remove", "--yes"]])
def test_a_host_with_neither_is_told_the_way_out(autogit, host, words):
    host()
    done = autogit("schedule", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error[unsupported]: schedule: systemd does not run here")
    assert "autogit reconcile --watch" in done.err


def test_show_install_show_remove_under_systemd(autogit, host):
    machine = host("systemd")
    assert "Nothing is installed: autogit schedule install" in autogit("schedule", "show").out
    done = autogit("schedule", "install", "--yes")
    unit = machine.units / "autogit-autogit-reconcile.service"
    renew = [machine.units / f"autogit-autogit-certs-renew.{kind}" for kind in ("service", "timer")]
    written = [unit, *renew]
    assert done.out.splitlines() == [*(f"Wrote {one}" for one in written), "Look at it with: autogit schedule show"]
    assert "ExecStart=" in done.err, "what is written is shown before"
    assert unit.exists()
    job, other = autogit("schedule", "show", "--format", "json").json()["jobs"]
    assert (other["name"], other["kind"], other["installed"]) == ("certs-renew", "timer", True)
    assert job == {
        "name": "reconcile",
        "kind": "service",
        "description": "repairs what fell since the last up",
        "installed": True,
        "current": True,
        "where": [str(unit)],
        "active": "active",
        "enabled": "enabled",
        "last_result": "success, 0 restarts",
    }
    assert autogit("schedule", "install", "--yes").out == "Nothing to do: every job is installed.\n"
    removed = autogit("schedule", "remove", "--yes").out.splitlines()
    assert sorted(removed) == sorted(f"Removed {one}" for one in written)
    assert not unit.exists()
    assert autogit("schedule", "remove", "--yes").out == "Nothing to do: no job is installed.\n"


def test_an_outdated_unit_is_named(autogit, host, env):
    host("systemd")
    autogit("schedule", "install", "--yes")
    env("PROJECT_NAME=other\nSERVICES_ENABLED=api\nSIZE=minimal\n")
    done = autogit("schedule", "show")
    assert "reconcile    no " in done.out
    view = autogit("schedule", "install", "--format", "json", "--yes").json()
    names = ("reconcile.service", "certs-renew.service", "certs-renew.timer")
    assert {(Path(f["path"]).name, f["action"]) for f in view["files"]} == {
        (f"autogit-{project}-{name}", action)
        for project, action in (("other", "create"), ("autogit", "delete"))
        for name in names
    }


def test_under_cron_the_block_is_written_and_taken_away(autogit, host):
    host("crontab")
    host.table.write_text("0 4 * * * mine\n")
    done = autogit("schedule", "install", "--yes")
    assert done.out.splitlines()[0] == "Wrote crontab of me"
    assert "@reboot " in host.table.read_text()
    assert autogit("schedule", "show", "--format", "json").json()["scheduler"] == "crontab"
    autogit("schedule", "remove", "--yes")
    assert host.table.read_text() == "0 4 * * * mine\n"


def test_a_person_is_asked_and_no_means_no(autogit, host, monkeypatch):
    machine = host("systemd")
    monkeypatch.setattr("autogit.cli.schedule.interactive", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    done = autogit("schedule", "install")
    assert (done.code, done.out) == (1, "")
    assert "error[not-confirmed]" in done.err
    assert not machine.units.exists()


def test_a_foreign_file_is_refused(autogit, host):
    machine = host("systemd")
    machine.units.mkdir()
    (machine.units / "autogit-autogit-reconcile.service").write_text("[Service]\n")
    done = autogit("schedule", "install", "--yes")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error[ownership]: systemd: ")


def test_lingering_is_named_for_a_users_own_units(autogit, host):
    host("systemd", scope="user")
    done = autogit("schedule", "install", "--yes")
    assert "warning: lingering is off for me" in done.err
    assert "loginctl enable-linger me" in done.err


def test_no_secret_gets_into_a_unit(autogit, host, env, monkeypatch):
    host("systemd")
    env("SERVICES_ENABLED=api\nSIZE=minimal\nCLOUDFLARE_API_TOKEN=canary-4711\n")
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "canary-4712")
    monkeypatch.setenv("AUTOGIT_IDENTITY_FILE", "identity.txt")
    done = autogit("schedule", "install", "--dry-run")
    assert "canary" not in done.out
    assert f"Environment=AUTOGIT_IDENTITY_FILE={autogit.root}/identity.txt\n" in done.out


def test_mirrors_bring_a_timer_and_take_it_with_them(autogit, host):
    machine = host("systemd")
    units = machine.units
    (autogit.root / "mirrors.yml").write_text("mirrors:\n- {name: yours, kind: github, owner: you}\n")
    assert autogit("schedule", "install", "--yes").code == 0
    assert (units / "autogit-autogit-mirror-sync.timer").exists()
    assert "mirror sync --due" in (units / "autogit-autogit-mirror-sync.service").read_text()
    (autogit.root / "mirrors.yml").write_text("mirrors: []\n")
    assert autogit("schedule", "install", "--yes").code == 0
    assert not (units / "autogit-autogit-mirror-sync.timer").exists()
    assert (units / "autogit-autogit-reconcile.service").exists()
