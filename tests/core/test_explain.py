"""Reasons: the counterfactual names exactly the inputs behind a change."""

from __future__ import annotations

from autogit.core.explain import changed_settings, describe_setting, explainer
from autogit.errors import UsageError
from autogit.model.resource import Address, Resource


def _platform(size, port):
    return [
        Resource(Address("process", "api"), {"port": port, "size": size}),
        Resource(Address("file", "routes"), {"port": port}),
        Resource(Address("file", "other"), {"v": 1}),
    ]


def test_each_resource_names_the_settings_that_move_it_and_no_others():
    explain = explainer(
        _platform("team", 2),
        {"SIZE homelab -> team": lambda: _platform("homelab", 2), "PORT": lambda: _platform("team", 1)},
    )
    assert explain(Address("process", "api")) == "SIZE homelab -> team; PORT"
    assert explain(Address("file", "routes")) == "PORT"
    assert explain(Address("file", "other")) == ""


def test_a_resource_that_is_gone_has_a_cause_too():
    explain = explainer(
        _platform("s", 1), {"without x": lambda: [*_platform("s", 1), Resource(Address("process", "x"), {})]}
    )
    assert explain(Address("process", "x")) == "without x"


def test_a_former_value_that_is_impossible_now_explains_nothing():
    def impossible():
        raise UsageError("no such service")

    assert explainer(_platform("s", 1), {"SERVICES_ENABLED": impossible})(Address("process", "api")) == ""


def test_settings_are_compared_only_with_a_real_last_apply():
    assert changed_settings({}, {"SIZE": "team"}) == {}
    assert changed_settings({"SIZE": "team", "GONE": "1"}, {"SIZE": "team", "NEW": "2"}) == {
        "GONE": ("1", ""),
        "NEW": ("", "2"),
    }


def test_lists_show_what_came_and_went():
    assert describe_setting("SERVICES_ENABLED", "api,prometheus", "api,grafana") == (
        "SERVICES_ENABLED without prometheus with grafana"
    )
    assert describe_setting("SERVICES_ENABLED", "a,b", "b,a") == "SERVICES_ENABLED reordered"
    assert describe_setting("ACME_EMAIL", "", "a@b.test") == "ACME_EMAIL (unset) -> a@b.test"
