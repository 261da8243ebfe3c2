"""Upgrades of services whose data must stop on the way: which jumps are refused, and which path is shown."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autogit.core.paths import templates_root
from autogit.core.upgrades import check_jump, load_upgrade_path, path_between
from autogit.errors import DescriptorError, UnsupportedError

FILE = templates_root() / "services" / "gitlab" / "upgrade-path.yml"
PATH = load_upgrade_path(FILE.read_text(), "gitlab/upgrade-path.yml")
SMALL = r"""
pattern: 'v(?P<major>[0-9]+)\.(?P<minor>[0-9]+)\.(?P<patch>[0-9]+)'
rule_minors: [3, 6]
stops:
  - {stop: "1.3", tag: v1.3.9}
  - {stop: "1.5"}
"""


def _refused(current, wanted, path=PATH, service="gitlab"):
    with pytest.raises(UnsupportedError) as refused:
        check_jump(path, service, current, wanted)
    assert refused.value.exit_code == 2
    return refused.value


def test_a_jump_over_stops_is_refused_with_the_path_to_take():
    refused = _refused("gitlab/gitlab-ce:18.3.1-ce.0", "gitlab/gitlab-ce:19.0.2-ce.0")
    assert refused.message == (
        "gitlab 18.3.1 cannot go to 19.0.2 in one step: its data must stop on the way at 18.5.7-ce.0, 18.8.11-ce.0, "
        "18.11.12-ce.0, in this order"
    )
    assert refused.hint == (
        "IMAGE_GITLAB=gitlab/gitlab-ce:18.5.7-ce.0 in .env, autogit up, wait until its background migrations have "
        "finished, then the next"
    )


@pytest.mark.parametrize(
    ("current", "wanted"),
    [
        ("18.2.0-ce.0", "18.4.3-ce.0"),  # from a stop up to the next
        ("18.3.0-ce.0", "18.5.0-ce.0"),  # to a stop
        ("18.11.9-ce.0", "19.0.0-ce.0"),
        ("18.11.9-ce.0", "19.2.0-ce.0"),
        ("19.5.0-ce.0", "19.5.3-ce.0"),
        ("19.5.3-ce.0", "19.5.0-ce.0"),  # back within one minor version
        ("18.4.0-ce.0", "18.4.0-ee.0"),
    ],
)
def test_a_step_that_skips_no_stop_is_free(current, wanted):
    assert path_between(PATH, current, wanted) == ()
    check_jump(PATH, "gitlab", f"gitlab/gitlab-ce:{current}", f"gitlab/gitlab-ce:{wanted}")


def test_the_known_path_from_18_0_to_today():
    assert [tag.rpartition(".")[0].rpartition(".")[0] for tag in path_between(PATH, "18.0.0-ce.0", "19.6.0-ce.0")] == [
        "18.2",
        "18.5",
        "18.8",
        "18.11",
        "19.2",
        "19.5",
    ]


def test_versions_later_than_the_list_follow_the_rule():
    assert path_between(PATH, "19.5.3-ce.0", "20.6.0-ce.0") == (
        "19.8 (its latest patch)",
        "19.11 (its latest patch)",
        "20.2 (its latest patch)",
        "20.5 (its latest patch)",
    )
    assert path_between(PATH, "20.9.0-ce.0", "21.0.0-ce.0") == ("20.11 (its latest patch)",)


def test_a_stop_whose_patch_is_unknown_is_named_by_its_version():
    small = load_upgrade_path(SMALL, "x")
    assert path_between(small, "v1.0.0", "v2.4.0") == (
        "v1.3.9",
        "1.5 (its latest patch)",
        "1.6 (its latest patch)",
        "2.3 (its latest patch)",
    )
    assert (
        "IMAGE_MY_WIKI=wiki:1.5 (its latest patch) in .env"
        in _refused("wiki:v1.4.0", "wiki:v1.6.0", small, "my-wiki").hint
    )


def test_the_way_back_is_a_restore():
    refused = _refused("gitlab/gitlab-ce:19.2.0-ce.0", "gitlab/gitlab-ce:18.11.12-ce.0")
    assert "gitlab 19.2.0 cannot go back to 18.11.12" in refused.message
    assert "only by restore" in refused.message
    assert "keep IMAGE_GITLAB at 19.2.0-ce.0" in refused.hint
    assert path_between(PATH, "19.2.0-ce.0", "18.0.0-ce.0") == ()


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "autogit-test/gitlab:local",
        "gitlab/gitlab-ce",
        "localhost:5000/gitlab",
        "gitlab/gitlab-ce:latest",
        "gitlab/gitlab-ce:19.5.0-rc42.ce.0",
        "gitlab/gitlab-ce:nightly@sha256:" + "0" * 64,
        "gitlab/gitlab-ce@sha256:" + "0" * 64,
        "sha256:" + "1" * 64,
        "gitlab/gitlab-ce:20261020.0.0",
    ],
)
def test_a_version_that_cannot_be_read_gives_no_verdict(reference):
    check_jump(PATH, "gitlab", reference, "gitlab/gitlab-ce:19.5.3-ce.0")
    check_jump(PATH, "gitlab", "gitlab/gitlab-ce:14.0.0-ce.0", reference)
    assert path_between(PATH, "14.0.0-ce.0", reference) == ()


def test_an_image_is_read_with_registry_port_and_digest():
    refused = _refused(
        "localhost:5000/gitlab/gitlab-ce:18.2.8-ce.0", "localhost:5000/g/ce:18.8.0-ce.0@sha256:" + "a" * 64
    )
    assert refused.hint.startswith("IMAGE_GITLAB=localhost:5000/g/ce:18.5.7-ce.0 in .env")


def test_one_stop_has_no_order():
    assert _refused("18.2.8-ce.0", "18.8.0-ce.0").message.endswith("its data must stop on the way at 18.5.7-ce.0")


def test_the_path_stays_in_the_edition_that_is_wanted():
    assert path_between(PATH, "18.2.8-ee.0", "18.8.0-ee.0") == ("18.5.7-ee.0",)
    assert path_between(PATH, "18.2.8", "18.8.0") == ("18.5.7-ce.0",)


VERSIONS = st.tuples(st.integers(13, 23), st.integers(0, 12), st.integers(0, 20)).map(
    lambda version: "{}.{}.{}-ce.0".format(*version)
)


@settings(deadline=None)
@given(VERSIONS, VERSIONS)
def test_following_the_path_stop_by_stop_is_never_refused_and_arrives(current, wanted):
    low, high = ([int(n) for n in tag.partition("-")[0].split(".")[:2]] for tag in (current, wanted))
    between = path_between(PATH, current, wanted)
    if high < low:
        assert between == ()
        _refused(current, wanted)
        return
    if between:
        _refused(current, wanted)
    steps = [current, *(tag.replace(" (its latest patch)", ".7-ce.0") for tag in between), wanted]
    for here, there in pairwise(steps):
        assert path_between(PATH, here, there) == ()
        check_jump(PATH, "gitlab", here, there)


def test_the_shipped_image_is_at_or_after_the_last_known_stop(workbench):
    image = workbench.catalogue().get("gitlab").descriptor.image
    assert path_between(PATH, PATH.stops[-1].tag, image) == ()
    assert path_between(PATH, "14.0.0-ce.0", image)
    check_jump(PATH, "gitlab", PATH.stops[-1].tag, image)


def _faults(text):
    with pytest.raises(DescriptorError) as refused:
        load_upgrade_path(text, "wiki/upgrade-path.yml")
    assert refused.value.exit_code == 2
    return [tuple(fault) for fault in refused.value.faults]


def test_all_faults_of_a_file_come_at_once_with_their_lines():
    text = r"""pattern: '(?P<major>[0-9]+)\.(?P<minor>[0-9]+)\.(?P<patch>[0-9]*)'
rule_minor: [2]
rule_minors: [5, 2]
stops:
  - {stop: "1.3", tag: 1.4.0}
  - {stop: 1.5}
  - {stop: "1.2", tag: latest}
  - {stop: "1.6", tag: 1.6.}
  - 1.7
  - {stop: "1.8", tags: 1.8.0}
"""
    place = "wiki/upgrade-path.yml line"
    assert _faults(text) == [
        (f"{place} 2", "rule_minor", "unknown key. Did you mean rule_minors?"),
        (f"{place} 3", "rule_minors", "must be a list of minor versions, rising, as in [2, 5, 8, 11]"),
        (f"{place} 5", "stops.0", "tag 1.4.0 is not a patch of 1.3"),
        (f"{place} 6", "stops.1", 'stop must be a major and a minor version in quotes, as in "18.11"'),
        (f"{place} 7", "stops.2", "1.2 is out of order: stops stand oldest first"),
        (f"{place} 7", "stops.2", "tag latest cannot be read by the pattern"),
        (f"{place} 8", "stops.3", "tag 1.6. cannot be read by the pattern"),
        (f"{place} 9", "stops.4", "must have the key stop, may have the key tag, and no other"),
        (f"{place} 10", "stops.5", "must have the key stop, may have the key tag, and no other"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("- 1\n", "must be a mapping of keys to values"),
        ("pattern: [\n", "broken YAML"),
        (SMALL.replace("pattern:", "other:"), "pattern is missing"),
        (SMALL.replace("[3, 6]", "[]"), "must be a list of minor versions"),
        (SMALL.replace("[3, 6]", "[true]"), "must be a list of minor versions"),
        (SMALL.replace("[3, 6]", "3"), "must be a list of minor versions"),
        (SMALL.replace("pattern: '", "pattern: '("), "is not a regular expression"),
        (SMALL.replace("?P<patch>", ""), "has no group patch"),
        ("pattern: 5\nrule_minors: [1]\nstops: []\n", "must be a regular expression"),
        ("pattern: 5\nrule_minors: [1]\nstops: []\n", "must be a list of stops"),
        (SMALL.replace("tag: v1.3.9", "tag: 1.3"), "tag 1.3 cannot be read by the pattern"),
        (SMALL + '  - {stop: "1.5"}\n', "1.5 is out of order"),
        (SMALL + "stops: []\n", "stops stands here again"),
    ],
)
def test_a_faulty_file_is_refused_with_a_sentence(text, message):
    assert any(found.startswith(message) for _, _, found in _faults(text))
