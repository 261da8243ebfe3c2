"""Schedulers: what is ours is written, started and removed; what is not stays, byte for byte."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from autogit.core.schedule import JOBS as ALL_JOBS
from autogit.core.schedule import build_crontab_schedule, build_unit_schedule
from autogit.errors import OwnershipError, RejectedError, StorageFullError, UnavailableError, UnsupportedError
from autogit.model.plan import Action
from autogit.model.schedule import Job, JobContext, Owner, Schedule
from autogit.providers.host.schedule import (
    Account,
    CrontabScheduler,
    Machine,
    SystemdScheduler,
    find_account,
    find_machine,
    find_scheduler,
)

JOBS = ALL_JOBS[:1]

TIMER = Job("certs", "renews", ("certs", "renew"), "timer", ("0 3 * * *",), on_calendar="daily")

# Keeps what is enabled and active, as `systemctl` would, in two files a unit.
SYSTEMCTL = """\
#!/bin/sh
cd "{folder}"
printf '%s\\n' "$*" >> calls
while case "$1" in --*) ;; *) false;; esac; do shift; done
verb=$1; shift
now=
while case "$1" in --now) now=1;; --*) ;; *) false;; esac; do shift; done
case "$verb" in
  enable) touch "$1.enabled"; [ -z "$now" ] || touch "$1.active" ;;
  disable) rm -f "$1.enabled"; [ -z "$now" ] || rm -f "$1.active" ;;
  restart) touch "$1.active" ;;
  show)
    [ -e "$1.active" ] && echo ActiveState=active || echo ActiveState=inactive
    [ -e "$1.enabled" ] && echo UnitFileState=enabled || echo UnitFileState=disabled
    echo Result=success; echo NRestarts=2; echo ExecMainExitTimestamp= ;;
esac
"""

# Stores the table in a file; like Debian's, it fails where there is none.
CRONTAB = """\
#!/bin/sh
cd "{folder}"
printf '%s\\n' "$*" >> calls
for last; do :; done
case "$last" in
  -l) [ -e table ] || {{ echo "no crontab for me" >&2; exit 1; }}; cat table ;;
  -) cat > table ;;
esac
"""


def program(path, text, **values):
    path.write_text(text.format(folder=path.parent, **values))
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def machine(tmp_path):
    """A host with both schedulers, in a folder."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tmp_path / "booted").mkdir()
    (tmp_path / "units").mkdir()
    return Machine(
        account=Account(os.geteuid(), "me", tmp_path),
        scope="system",
        booted=tmp_path / "booted",
        units=tmp_path / "units",
        systemctl=program(tools / "systemctl", SYSTEMCTL),
        loginctl=program(tools / "loginctl", "#!/bin/sh\necho no\n"),
        crontab=program(tools / "crontab", CRONTAB),
    )


def context(root, project="autogit", **changes):
    plain = JobContext(
        owner=Owner(project, root),
        env_file=root / ".env",
        runtime="docker",
        program=("/opt/venv/bin/autogit",),
        environment={"HOME": "/home/me"},
    )
    return dataclasses.replace(plain, **changes)


def calls(machine):
    """What `systemctl` was asked since the last look, questions left out."""
    log = Path(machine.systemctl).parent / "calls"
    said = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [line.replace("--no-pager --no-ask-password ", "") for line in said if " show " not in line]


def actions(changes):
    return [(Path(c.where).name, c.action) for c in changes]


class TestChoice:
    def test_systemd_is_taken_where_it_runs_and_cron_elsewhere(self, machine):
        assert isinstance(find_scheduler(machine), SystemdScheduler)
        machine.booted.rmdir()
        assert isinstance(find_scheduler(machine), CrontabScheduler), "the program alone does not mean that it runs"

    def test_a_host_with_neither_is_told_what_to_do(self, machine):
        bare = dataclasses.replace(machine, systemctl="", crontab="")
        with pytest.raises(UnsupportedError) as caught:
            find_scheduler(bare)
        assert "autogit reconcile --watch" in caught.value.hint
        assert "--dry-run" in caught.value.hint

    def test_a_user_has_units_in_the_own_folder(self, root, monkeypatch, tmp_path):
        monkeypatch.setattr("os.geteuid", lambda: os.stat(root).st_uid or 12345)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
        found = find_machine(root, root / ".autogit")
        assert (found.scope, found.units) == ("user", tmp_path / "xdg" / "systemd" / "user")

    def test_root_runs_the_jobs_of_whoever_owns_the_project(self, root, monkeypatch):
        monkeypatch.setattr("os.geteuid", lambda: 0)
        other = 1 if os.stat(root).st_uid == 0 else os.stat(root).st_uid
        if os.getuid() == 0:
            os.chown(root, other, -1)
        assert find_account(root).uid == other


class TestSystemd:
    def test_installing_writes_reloads_enables_and_starts(self, machine, root):
        schedule = build_unit_schedule(context(root), [*JOBS, TIMER])
        systemd = SystemdScheduler(machine)
        assert {action for _, action in actions(systemd.compare(schedule))} == {Action.CREATE}
        assert list(machine.units.iterdir()) == []
        systemd.install(schedule)
        assert {p.name: p.read_text() for p in machine.units.iterdir()} == {f.name: f.text for f in schedule.files}
        assert {p.stat().st_mode & 0o777 for p in machine.units.iterdir()} == {0o644}
        assert calls(machine) == [
            "daemon-reload",
            "enable autogit-autogit-reconcile.service",
            "restart autogit-autogit-reconcile.service",
            "enable autogit-autogit-certs.timer",
            "restart autogit-autogit-certs.timer",
        ]

    def test_installing_twice_changes_nothing(self, machine, root):
        schedule = build_unit_schedule(context(root), [*JOBS, TIMER])
        systemd = SystemdScheduler(machine)
        systemd.install(schedule)
        before = {p: p.stat().st_mtime_ns for p in machine.units.iterdir()}
        calls(machine)
        assert {action for _, action in actions(systemd.compare(schedule))} == {Action.NOOP}
        systemd.install(schedule)
        assert calls(machine) == []
        assert {p: p.stat().st_mtime_ns for p in machine.units.iterdir()} == before

    def test_a_unit_that_somebody_stopped_is_started_again(self, machine, root):
        schedule = build_unit_schedule(context(root), JOBS)
        SystemdScheduler(machine).install(schedule)
        (Path(machine.systemctl).parent / "autogit-autogit-reconcile.service.active").unlink()
        calls(machine)
        SystemdScheduler(machine).install(schedule)
        assert calls(machine) == ["enable --now autogit-autogit-reconcile.service"]

    def test_a_changed_unit_is_written_and_restarted(self, machine, root):
        systemd = SystemdScheduler(machine)
        systemd.install(build_unit_schedule(context(root), JOBS))
        calls(machine)
        changed = build_unit_schedule(context(root, runtime="embedded"), JOBS)
        assert actions(systemd.compare(changed)) == [("autogit-autogit-reconcile.service", Action.UPDATE)]
        systemd.install(changed)
        assert calls(machine) == [
            "daemon-reload",
            "enable autogit-autogit-reconcile.service",
            "restart autogit-autogit-reconcile.service",
        ]

    def test_removing_stops_and_takes_away_ours_only(self, machine, root):
        systemd = SystemdScheduler(machine)
        foreign = machine.units / "autogit-autogit-mine.service"
        foreign.write_text("[Service]\nExecStart=/bin/true\n")
        other = build_unit_schedule(context(root.parent, "autogit-autogit"), JOBS)
        systemd.install(other)
        systemd.install(build_unit_schedule(context(root), [*JOBS, TIMER]))
        calls(machine)
        systemd.install(Schedule(Owner("autogit", root)))
        assert sorted(p.name for p in machine.units.iterdir()) == sorted([foreign.name, other.files[0].name])
        assert calls(machine) == [
            "disable --now autogit-autogit-certs.timer",
            "disable --now autogit-autogit-reconcile.service",
            "daemon-reload",
        ]
        systemd.install(Schedule(Owner("autogit", root)))
        assert calls(machine) == [], "removing twice is removing once"

    def test_units_of_a_former_project_name_go_when_the_new_ones_come(self, machine, root):
        systemd = SystemdScheduler(machine)
        systemd.install(build_unit_schedule(context(root, "old"), JOBS))
        systemd.install(build_unit_schedule(context(root, "new"), JOBS))
        assert [p.name for p in machine.units.iterdir()] == ["autogit-new-reconcile.service"]
        assert "disable --now autogit-old-reconcile.service" in calls(machine)

    @pytest.mark.parametrize("text", ["[Service]\nExecStart=/bin/true\n", "", "# autogit schedule: a\n", "\xff"])
    def test_a_foreign_file_of_that_name_is_refused_before_anything(self, machine, root, text):
        path = machine.units / "autogit-autogit-certs.timer"
        path.write_text(text)
        with pytest.raises(OwnershipError, match="was not written by AutoGit"):
            SystemdScheduler(machine).install(build_unit_schedule(context(root), [*JOBS, TIMER]))
        assert path.read_text() == text
        assert [p.name for p in machine.units.iterdir()] == [path.name]
        assert calls(machine) == []

    def test_a_masked_unit_is_refused(self, machine, root):
        (machine.units / "autogit-autogit-reconcile.service").symlink_to("/dev/null")
        with pytest.raises(OwnershipError) as caught:
            SystemdScheduler(machine).compare(build_unit_schedule(context(root), JOBS))
        assert "systemctl unmask autogit-autogit-reconcile.service" in caught.value.hint

    def test_another_project_of_the_same_name_is_refused_unless_its_folder_is_gone(self, machine, root, tmp_path):
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        systemd = SystemdScheduler(machine)
        systemd.install(build_unit_schedule(context(elsewhere), JOBS))
        with pytest.raises(OwnershipError, match="belongs to the project autogit in "):
            systemd.compare(build_unit_schedule(context(root), JOBS))
        systemd.install(Schedule(Owner("autogit", root)))
        assert len(list(machine.units.iterdir())) == 1, "nor is it removed"
        elsewhere.rmdir()
        systemd.install(build_unit_schedule(context(root), JOBS))
        assert str(root) in (machine.units / "autogit-autogit-reconcile.service").read_text()

    def test_the_state_is_systemds_own_word(self, machine, root):
        systemd = SystemdScheduler(machine)
        systemd.install(build_unit_schedule(context(root), [*JOBS, TIMER]))
        state = systemd.state(Owner("autogit", root), JOBS[0])
        assert (state.active, state.enabled, state.last_result) == ("active", "enabled", "success, 2 restarts")
        assert systemd.state(Owner("autogit", root), TIMER).last_result == "never ran"

    def test_what_systemctl_says_against_it_is_passed_on(self, machine, root):
        program(Path(machine.systemctl), "#!/bin/sh\necho 'Failed to connect to bus: No medium found' >&2; exit 1\n")
        systemd = SystemdScheduler(machine)
        with pytest.raises(RejectedError, match="daemon-reload failed: Failed to connect to bus"):
            systemd.install(build_unit_schedule(context(root), JOBS))
        state = systemd.state(Owner("autogit", root), JOBS[0])
        assert state.active == "unknown"
        assert "Failed to connect to bus" in state.last_result

    def test_a_missing_systemctl_is_a_sentence(self, machine, root):
        with pytest.raises(UnavailableError, match="cannot be run"):
            SystemdScheduler(dataclasses.replace(machine, systemctl="/nowhere/systemctl")).install(
                build_unit_schedule(context(root), JOBS)
            )

    def test_a_folder_that_cannot_be_written_is_a_sentence(self, machine, root):
        (machine.units.parent / "file").write_text("")
        with pytest.raises(StorageFullError, match="cannot write"):
            SystemdScheduler(dataclasses.replace(machine, units=machine.units.parent / "file" / "x")).install(
                build_unit_schedule(context(root), JOBS)
            )

    def test_a_users_own_systemd_is_asked_and_lingering_is_named(self, machine, root):
        systemd = SystemdScheduler(dataclasses.replace(machine, scope="user"))
        systemd.install(build_unit_schedule(context(root, scope="user"), JOBS))
        assert calls(machine)[0] == "--user daemon-reload"
        assert "loginctl enable-linger me" in systemd.advice()[0]
        program(Path(machine.loginctl), "#!/bin/sh\necho yes\n")
        assert systemd.advice() == ()
        assert SystemdScheduler(machine).advice() == (), "the system's own units need no login"


class TestCrontab:
    FOREIGN = b"MAILTO=me\n\n# mine\n0 4 * * *\t/usr/bin/backup  '100\\%'\n\xff\xfe no text\r\n"

    @pytest.fixture
    def table(self, machine):
        return Path(machine.crontab).parent / "table"

    def test_the_block_comes_after_what_was_there_and_goes_without_a_trace(self, machine, root, table):
        table.write_bytes(self.FOREIGN)
        cron = CrontabScheduler(machine)
        schedule = build_crontab_schedule(context(root), JOBS)
        assert actions(cron.compare(schedule)) == [("crontab of me", Action.CREATE)]
        cron.install(schedule)
        assert table.read_bytes() == self.FOREIGN + schedule.files[0].text.encode()
        cron.install(Schedule(Owner("autogit", root)))
        assert table.read_bytes() == self.FOREIGN

    def test_an_account_without_a_crontab_gets_one(self, machine, root, table):
        schedule = build_crontab_schedule(context(root), JOBS)
        CrontabScheduler(machine).install(schedule)
        assert table.read_text() == schedule.files[0].text

    def test_installing_twice_changes_nothing(self, machine, root, table):
        cron = CrontabScheduler(machine)
        schedule = build_crontab_schedule(context(root), JOBS)
        cron.install(schedule)
        log = table.parent / "calls"
        log.unlink()
        assert [c.action for c in cron.compare(schedule)] == [Action.NOOP]
        cron.install(schedule)
        assert log.read_text().split() == ["-l", "-l"]

    def test_a_changed_block_is_replaced_in_its_place(self, machine, root, table):
        cron = CrontabScheduler(machine)
        cron.install(build_crontab_schedule(context(root), JOBS))
        table.write_bytes(table.read_bytes() + self.FOREIGN)
        changed = build_crontab_schedule(context(root, "renamed"), JOBS)
        assert [c.action for c in cron.compare(changed)] == [Action.UPDATE]
        cron.install(changed)
        assert table.read_bytes() == changed.files[0].text.encode() + self.FOREIGN

    def test_other_projects_and_blocks_that_only_look_like_ours_stay(self, machine, root, table, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        cron = CrontabScheduler(machine)
        other = build_crontab_schedule(context(tmp_path / "elsewhere"), JOBS)
        cron.install(other)
        lookalike = b"# BEGIN autogit autogit\n0 0 * * * mine\n# END autogit autogit\n"
        table.write_bytes(table.read_bytes() + lookalike)
        before = table.read_bytes()
        cron.install(build_crontab_schedule(context(root), JOBS))
        cron.install(Schedule(Owner("autogit", root)))
        assert table.read_bytes() == before

    def test_a_block_without_its_end_is_refused(self, machine, root, table):
        table.write_text("# BEGIN autogit autogit\n0 0 * * * whose\n")
        with pytest.raises(OwnershipError, match="has no end"):
            CrontabScheduler(machine).install(build_crontab_schedule(context(root), JOBS))
        assert table.read_text() == "# BEGIN autogit autogit\n0 0 * * * whose\n"

    def test_a_table_that_cannot_be_read_is_never_replaced(self, machine, root, table):
        table.write_bytes(self.FOREIGN)
        program(Path(machine.crontab), "#!/bin/sh\necho 'You (me) are not allowed to use this program' >&2; exit 1\n")
        with pytest.raises(RejectedError, match="not allowed"):
            CrontabScheduler(machine).install(build_crontab_schedule(context(root), JOBS))
        assert table.read_bytes() == self.FOREIGN

    def test_root_asks_for_the_owners_crontab(self, machine, root):
        other = dataclasses.replace(machine, account=Account(os.geteuid() + 1, "alice", root))
        CrontabScheduler(other).install(build_crontab_schedule(context(root), JOBS))
        assert (Path(machine.crontab).parent / "calls").read_text().splitlines() == ["-u alice -l", "-u alice -"]

    def test_cron_says_nothing_of_a_job(self, machine, root):
        state = CrontabScheduler(machine).state(Owner("autogit", root), JOBS[0])
        assert (state.active, state.enabled, state.last_result) == ("", "", "")
