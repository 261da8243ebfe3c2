"""Jobs as text: every path comes back from systemd's and cron's own syntax as it went in."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autogit.core.schedule import (
    JOBS as ALL_JOBS,
)
from autogit.core.schedule import (
    MIRROR_SYNC,
    build_crontab_schedule,
    build_unit_schedule,
    quote_cron_command,
    quote_unit_command,
    select_jobs,
)
from autogit.errors import UnsupportedError
from autogit.model.schedule import Job, JobContext, Owner
from tests.tools import find_tool

HOSTILE = '/srv/it\'s 100% "mine" $HOME ${x} a;b #c \u00fc'
TIMER = Job(
    name="certs",
    description="renews certificates",
    arguments=("certs", "renew"),
    kind="timer",
    cron_times=("0 3,15 * * *",),
    on_calendar="*-*-* 03,15:00:00",
    jitter_seconds=3600,
    runtimes=("docker",),
)
JOBS = ALL_JOBS[:1]
LINE = st.text(st.characters(min_codepoint=0x20, exclude_categories=("C", "Zl", "Zp")), max_size=30)


def context(root="/srv/autogit", **changes):
    plain = JobContext(
        owner=Owner("autogit", Path(root)),
        env_file=Path(root) / ".env",
        runtime="docker",
        program=("/opt/venv/bin/autogit",),
        environment={"HOME": "/home/me", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    )
    return dataclasses.replace(plain, **changes)


def _mirror_jobs():
    return [job for job in ALL_JOBS if job.name == MIRROR_SYNC]


def unit(context, jobs=JOBS):
    return build_unit_schedule(context, jobs).files[0].text


def lines(context, jobs=JOBS):
    (file,) = build_crontab_schedule(context, jobs).files
    return [line for line in file.text.splitlines() if not line.startswith("#")]


class TestUnits:
    def test_the_healer_runs_for_ever_after_network_and_engine(self):
        (file,) = build_unit_schedule(context(), JOBS).files
        assert file.name == "autogit-autogit-reconcile.service"
        assert file.text.splitlines() == [
            "# autogit schedule: autogit in /srv/autogit",
            "# Written by autogit schedule install; autogit schedule remove takes it away.",
            "[Unit]",
            "Description=AutoGit autogit: repairs what fell since the last up",
            "Wants=network-online.target",
            "After=network-online.target docker.service",
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            "Type=exec",
            "WorkingDirectory=/srv/autogit/",
            "Environment=HOME=/home/me",
            "Environment=LANG=C.UTF-8",
            "Environment=PATH=/usr/bin:/bin",
            "ExecStart=/opt/venv/bin/autogit reconcile --watch --project-dir /srv/autogit --env-file /srv/autogit/.env",
            "Restart=always",
            "RestartSec=5",
            "KillMode=mixed",
            "NoNewPrivileges=yes",
            "LockPersonality=yes",
            "RestrictRealtime=yes",
            "SyslogIdentifier=autogit-autogit-reconcile",
            "",
            "[Install]",
            "WantedBy=multi-user.target",
        ]

    def test_stopping_the_healer_leaves_the_embedded_platform_alone(self):
        text = unit(context(runtime="embedded"))
        assert "KillMode=process" in text
        assert "docker.service" not in text
        assert "NoNewPrivileges" not in text, "the ingress may need its file capabilities"

    def test_a_users_own_systemd_knows_no_system_targets(self):
        text = unit(context(scope="user"))
        assert "WantedBy=default.target" in text
        assert "network-online" not in text
        assert "User=" not in text

    def test_a_system_unit_can_run_as_the_owner_of_the_project(self):
        assert "User=alice\n" in unit(context(user="alice"))

    def test_a_timer_has_its_times_its_jitter_and_what_it_starts(self):
        service, timer = build_unit_schedule(context(), [TIMER]).files
        assert (service.name, timer.name) == ("autogit-autogit-certs.service", "autogit-autogit-certs.timer")
        for line in ("OnCalendar=*-*-* 03,15:00:00", "RandomizedDelaySec=3600", "Persistent=yes"):
            assert line in timer.text.splitlines()
        assert "WantedBy=timers.target" in timer.text
        assert "Type=oneshot" in service.text
        assert "[Install]" not in service.text
        assert "Restart=" not in service.text

    def test_a_job_that_a_runtime_has_no_use_for_is_left_out(self):
        assert [job.name for job in select_jobs(context(runtime="embedded"), [*JOBS, TIMER])] == ["reconcile"]

    def test_a_job_for_mirrors_is_for_those_who_have_some(self):
        assert MIRROR_SYNC not in {job.name for job in select_jobs(context())}
        assert MIRROR_SYNC in {job.name for job in select_jobs(context(mirrors=True))}

    def test_mirrors_are_synced_every_five_minutes_as_long_after_as_each_time_on_this_host(self):
        service, timer = build_unit_schedule(context(mirrors=True), _mirror_jobs()).files
        for line in ("OnCalendar=*:0/5", "RandomizedDelaySec=120", "FixedRandomDelay=yes"):
            assert line in timer.text.splitlines()
        assert "autogit mirror sync --due --project-dir /srv/autogit" in service.text

    @pytest.mark.parametrize("path", ["/srv/a\nb", "/srv/a\x1bb", "/srv/a\udcffb"])
    @pytest.mark.parametrize("build", [build_unit_schedule, build_crontab_schedule])
    def test_a_path_that_no_line_can_hold_is_refused(self, build, path):
        with pytest.raises(UnsupportedError, match="no line of text can hold"):
            build(context(path))


class TestCrontab:
    def test_the_block_runs_at_boot_and_every_five_minutes(self):
        (file,) = build_crontab_schedule(context(), JOBS).files
        command = (
            "/usr/bin/env -i HOME=/home/me LANG=C.UTF-8 PATH=/usr/bin:/bin /opt/venv/bin/autogit reconcile "
            "--project-dir /srv/autogit --env-file /srv/autogit/.env --quiet >/dev/null"
        )
        assert file.text.splitlines() == [
            "# BEGIN autogit autogit",
            "# autogit schedule: autogit in /srv/autogit",
            "# Written by autogit schedule install; autogit schedule remove takes it away.",
            "# reconcile: repairs what fell since the last up",
            f"@reboot {command}",
            f"*/5 * * * * {command}",
            "# END autogit autogit",
        ]

    def test_a_backslash_is_refused_since_cron_programs_differ(self):
        with pytest.raises(UnsupportedError, match="backslash"):
            build_crontab_schedule(context("/srv/a\\b"), JOBS)

    def test_jitter_waits_without_a_percent_sign(self):
        (line,) = lines(context(), [TIMER])
        assert "* 3600 / 65536" in line
        assert "%" not in line

    def test_a_steady_job_waits_as_long_each_time_and_otherwise_on_another_host(self):
        def delay(host):
            (line,) = lines(context(host=host, mirrors=True), _mirror_jobs())
            return int(re.search(r"sleep (\d+); exec", line)[1])

        delays = [delay(f"host-{number}") for number in range(20)]
        assert delays == [delay(f"host-{number}") for number in range(20)]
        assert len(set(delays)) > 10
        assert all(0 <= seconds < 120 for seconds in delays)

    def test_a_line_says_to_a_shell_what_was_meant(self, tmp_path):
        program = _recorder(tmp_path / "it's 100% $x a=b" / "autogit", tmp_path)
        variables = {"HOME": HOSTILE, "PATH": os.environ["PATH"]}
        line = lines(context(HOSTILE, program=(str(program),), environment=variables))[0]
        _as_cron_would(line.removeprefix("@reboot "))
        words = ["reconcile", "--project-dir", HOSTILE, "--env-file", f"{HOSTILE}/.env", "--quiet"]
        assert (tmp_path / "words").read_text().split("\0")[:-1] == words
        seen = (tmp_path / "environment").read_text().split("\0")
        assert f"HOME={HOSTILE}" in seen
        assert not [v for v in seen if v.startswith("CANARY")]

    def test_a_jittered_line_runs_the_same_command(self, tmp_path):
        program = _recorder(tmp_path / "autogit", tmp_path)
        job = dataclasses.replace(TIMER, jitter_seconds=1)
        line = lines(context(HOSTILE, program=(str(program),)), [job])[0]
        _as_cron_would(line.removeprefix("0 3,15 * * * "))
        assert (tmp_path / "words").read_text().split("\0")[:4] == ["certs", "renew", "--project-dir", HOSTILE]

    @given(st.lists(LINE.map(lambda t: t.replace("\\", "")), min_size=1, max_size=5))
    def test_words_survive_cron_and_shell(self, words):
        line = quote_cron_command(["printf", r"%s\0", *words]).replace(r"\%", "%")
        done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=True)
        assert done.stdout.decode().split("\0")[:-1] == words

    def test_the_real_crontab_program_takes_it(self, tmp_path):
        crontab = find_tool("crontab")
        usage = [crontab or "false", "-h"]
        if "-n" not in subprocess.run(usage, capture_output=True, text=True, check=False).stderr:
            pytest.skip("no crontab program here that can check a file")
        schedule = build_crontab_schedule(context(HOSTILE), [*JOBS, TIMER])
        (tmp_path / "table").write_text(schedule.files[0].text)
        done = subprocess.run([crontab, "-n", tmp_path / "table"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


class TestRealSystemd:
    """`systemd-analyze verify` needs no running systemd; with debug messages it tells what it read."""

    @pytest.fixture
    def verify(self, tmp_path):
        program = find_tool("systemd-analyze")
        if program is None:
            pytest.skip("no systemd-analyze here")

        def run(files):
            for file in files:
                (tmp_path / file.name).write_text(file.text)
            return subprocess.run(
                [program, "verify", "--man=no", *(tmp_path / f.name for f in files)],
                env={**os.environ, "SYSTEMD_LOG_LEVEL": "debug", "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
                capture_output=True,
                text=True,
                check=False,
            )

        return run

    @pytest.mark.parametrize("runtime", ["docker", "embedded"])
    def test_units_are_valid(self, verify, runtime):
        files = build_unit_schedule(context("/tmp", runtime=runtime, program=("/bin/true",)), [*JOBS, TIMER]).files
        done = verify(files)
        assert done.returncode == 0, done.stderr[-2000:]
        assert [
            line for line in done.stderr.splitlines() if "autogit" in line and re.search("Unknown|ignor", line)
        ] == []

    @pytest.mark.parametrize("path", [HOSTILE, "/srv/a b\\n\\", "/srv/%h%%", "/srv/trailing ", "/srv/\\x41'"])
    def test_paths_are_read_as_they_were_meant(self, verify, path):
        program = ("/bin/true",)
        files = build_unit_schedule(context(path, program=program, environment={"HOME": path}), JOBS).files
        said = verify(files).stdout
        assert f"\tWorkingDirectory: {path}\n" in said
        assert f"\tEnvironment: HOME={path}\n" in said
        assert _command_line(said)[3:] == ["--project-dir", path, "--env-file", f"{path}/.env"]

    @given(words=st.lists(LINE, min_size=40, max_size=40))
    @settings(max_examples=8, deadline=None)
    def test_words_survive_systemd(self, tmp_path_factory, words):
        program = find_tool("systemd-analyze")
        if program is None:
            pytest.skip("no systemd-analyze here")
        unit = tmp_path_factory.mktemp("unit") / "words.service"
        unit.write_text(f"[Service]\nExecStart={quote_unit_command(['/bin/true', *words])}\n")
        done = subprocess.run(
            [program, "verify", "--man=no", unit],
            env={**os.environ, "SYSTEMD_LOG_LEVEL": "debug"},
            capture_output=True,
            check=False,
        )
        assert _command_line(done.stdout.decode())[1:] == words

    @pytest.mark.parametrize("program", ["/opt/it's/autogit", '/opt/"x"/autogit', "/opt/a\\b", "/opt/$x/autogit"])
    def test_a_program_that_systemd_would_refuse_is_started_by_a_shell(self, program):
        command = quote_unit_command([program, "reconcile"])
        assert command.startswith('/bin/sh -c "exec \\"$$0\\" \\"$$@\\"" ')
        assert command.endswith(" reconcile")


def _recorder(program, folder):
    """A program that writes down its words and its environment."""
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" > '{folder}/words'\nenv -0 > '{folder}/environment'\n")
    program.chmod(0o755)
    return program


def _as_cron_would(line):
    """Run the command of a crontab line: percent signs unescaped, /bin/sh, another variable around."""
    environ = {"PATH": os.environ["PATH"], "CANARY": "4711"}
    subprocess.run(["/bin/sh", "-c", line.replace(r"\%", "%")], env=environ, check=True, timeout=30)


def _command_line(said):
    """The words of ExecStart= as systemd read them: printed in double quotes, the dollar signs still doubled."""
    printed = re.search(r"^\s*Command Line: (/bin/true.*)$", said, re.MULTILINE)[1]
    words = re.findall(r'"((?:\\.|[^"\\])*)"|([^ ]+)', printed)
    return [re.sub(r"\\(.)", r"\1", quoted or plain).replace("$$", "$") for quoted, plain in words]
