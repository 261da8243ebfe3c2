"""Output: plain text is aligned and readable without colour, colour only where a terminal shows it."""

from __future__ import annotations

import io
import json

import pytest

from autogit.cli.output import Output, columns
from autogit.errors import Fault, SettingsError
from autogit.operations.platform import Event


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_columns_are_aligned_and_the_last_is_not_padded():
    assert columns([("a", "bb", "c"), ("aaa", "b", "")], ("X", "YY", "Z")) == ["X    YY  Z", "a    bb  c", "aaa  b"]
    assert columns([]) == []


@pytest.mark.parametrize(
    ("terminal", "color", "painted"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_colour_needs_a_terminal_and_no_refusal(monkeypatch, terminal, color, painted):
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    Output(color=color).error(SettingsError("broken", hint="mend it", faults=[Fault(".env line 1", "SIZE", "is bad")]))
    assert ("\x1b[31m" in stream.getvalue()) is painted
    plain = stream.getvalue().replace("\x1b[31m", "").replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert plain == "error[settings]: broken\n  .env line 1  SIZE  is bad\n\nhint: mend it\n"


def test_the_last_log_lines_stand_below_the_error(capsys):
    Output().error(SettingsError("broken", context=["line 1", "line 2"]))
    assert capsys.readouterr().err == "error[settings]: broken\n  last log lines:\n    line 1\n    line 2\n"


def test_each_landed_change_is_one_line_with_its_count(capsys):
    output = Output()
    output.event(Event("outcome", "process/api", "ready in 1.2s", 3, 12))
    output.event(Event("outcome", "process/web", "did not come up", 4, 12, ok=False))
    output.event(Event("progress", "process/web", "restarting"))
    Output(quiet=True).event(Event("progress", "process/web", "unheard"))
    assert capsys.readouterr().err == (
        "[ 3/12] process/api  ready in 1.2s\n[ 4/12] process/web  FAILED  did not come up\nprocess/web  restarting\n"
    )


def test_a_warning_is_heard_even_when_quiet(capsys):
    Output(quiet=True).warning("mind this")
    assert capsys.readouterr().err == "warning: mind this\n"


def test_on_a_terminal_waiting_is_redrawn_in_place_and_leaves_nothing_behind(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    output = Output(color=False)
    output.waiting("process/api", "waiting until it is ready: 1 of 30 s")
    output.waiting("process/api", "waiting until it is ready: 2 of 30 s")
    output.event(Event("outcome", "process/api", "ready in 2.1s", 1, 2))
    output.close()
    text = stream.getvalue()
    assert "2 of 30 s" in text
    assert "\x1b[2K" in text, "the line is erased"
    assert text.count("[1/2] process/api  ready in 2.1s\n") == 1


def test_elsewhere_waiting_is_a_line(capsys):
    output = Output()
    output.waiting("process/api", "waiting until it is ready: 1 of 30 s")
    output.close()
    assert capsys.readouterr().err == "process/api  waiting until it is ready: 1 of 30 s\n"


def test_json_steers_no_terminal_and_loses_nothing(capsys):
    told = {"text": "a\u202eb\x9b31m\ud800 \U0001f600 é\u2028"}
    Output(json=True).data(told, [])
    Output(json=True).record(told, "")
    shown = capsys.readouterr().out
    whole, record = shown.rsplit("\n", 2)[:2]
    assert json.loads(whole) == json.loads(record) == told
    assert shown.replace("\n", "").isprintable()
    assert "\U0001f600 é" in record
