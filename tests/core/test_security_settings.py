"""The settings of the filter: what `.env` may say, and what is said where it says something else."""

from __future__ import annotations

import pytest

from autogit.core.settings import load_settings
from autogit.errors import SettingsError
from autogit.model.security import Thresholds, Verdict


def settings(tmp_path, text):
    env = tmp_path / ".env"
    env.write_text(text)
    return load_settings(env, [])


def test_thresholds_are_those_of_the_source_or_of_all(tmp_path):
    found = settings(tmp_path, "SECURITY_THRESHOLDS=log:0.6/0.8/0.95, issue:0.3/0.3/1").security_policy
    assert found.for_source("log") == Thresholds(0.6, 0.8, 0.95)
    assert found.for_source("issue").verdict(0.3) is Verdict.QUARANTINE
    assert found.for_source("commit") == Thresholds()


def test_a_service_has_the_mode_of_all_unless_it_has_one_of_its_own(tmp_path):
    found = settings(tmp_path, "PROMPT_FILTER=block\nPROMPT_FILTER_SERVICES=grafana:off,gitlab:quarantine")
    assert [found.filter_mode(name) for name in ("grafana", "gitlab", "api")] == ["off", "quarantine", "block"]
    assert found.effective()["PROMPT_FILTER_SERVICES"] == "grafana:off,gitlab:quarantine"
    assert found.effective()["SECURITY_THRESHOLDS"] == "default:0.5/0.7/0.9"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("SECURITY_THRESHOLDS=log:0.9/0.5/0.7", "log must have three numbers in order"),
        ("SECURITY_THRESHOLDS=log:0.5/0.7", "log must have three numbers in order"),
        ("SECURITY_THRESHOLDS=log:nan/nan/nan", "log must have three numbers in order"),
        ("SECURITY_THRESHOLDS=0.5/0.7/0.9", "SOURCE:FLAG/QUARANTINE/BLOCK"),
        ("SECURITY_THRESHOLDS=log:1/1/1,log:1/1/1", "twice"),
        ("PROMPT_FILTER_SERVICES=gitlab", "SERVICE:MODE"),
        ("PROMPT_FILTER_SERVICES=gitlab:severe", "must be one of off, monitor, quarantine, block"),
        ("QUARANTINE_DAYS=soon", "must be a whole number from 1 to 3650"),
        ("PROMPT_FILTER_MAX_BODY_BYTES=5", "must be a whole number from 1024 to 67108864"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, line, said):
    with pytest.raises(SettingsError) as told:
        settings(tmp_path, line)
    assert said in str(list(told.value.faults))
