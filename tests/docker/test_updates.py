"""Changes to a running platform: what need not be replaced stays, and what fails leaves the former version serving."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress

import pytest

from tests.docker.platform import ROUTED, SERVICE, eventually, platform_of
from tests.engine import EngineError
from tests.images import broken_image, next_image

pytestmark = pytest.mark.integration

LAST_WORDS = ("release 2 starts", "its data was written by release 1", "cannot migrate the data")

SITE = """
config:
  - {path: site.conf, on_change: reload}
settings:
  - {name: SITE_WORD, description: A word, default: one}
  - {name: SITE_SUBNET, description: Where its network lies, type: subnet, default: 10.219.1.0/24}
routes:
  - {rate_limit: 0}
"""
RELOADS = """\
    reload_signal: HUP
    stop_signal: TERM
    subnets: {web: SITE_SUBNET}
"""

STORE = """
config:
  - {path: store.conf, on_change: restart}
settings:
  - {name: STORE_WORD, description: A word, default: good}
"""
KEEPS = """\
    volumes: {store-data: /loki}
    # It does not start with what it cannot read.
    entrypoint:
      - /bin/sh
      - -c
      - >-
        grep -q good /etc/autogit/store/store.conf || { echo "store: bad configuration"; exit 1; };
        exec /usr/bin/loki
"""

CALM = """\
    # It lets requests that it has accepted come to their end.
    entrypoint:
      - /bin/sh
      - -c
      - >-
        httpd -f -p 3100 -h /www & main=$!; trap 'kill $main; sleep 1; exit 0' TERM;
        while kill -0 $main; do wait $main; done
"""


@pytest.fixture(scope="module")
def live(engine, images):
    """A platform that is up: `site` and `calm` can run beside their former version, `store` has data and cannot."""
    with platform_of(engine, images, "calm", "site", "store") as one:
        one.add("calm", ROUTED.replace("{}", "{rate_limit: 0}") + SERVICE, CALM)
        one.add("site", SITE + SERVICE, RELOADS, **{"site.conf.j2": "{{ settings.SITE_WORD }}\n"})
        one.add("store", STORE + SERVICE, KEEPS, **{"store.conf.j2": "{{ settings.STORE_WORD }}\n"})
        one.up()
        yield one


@pytest.fixture(autouse=True)
def _in_sync(live):
    """Hold each test to leaving a platform that is in sync; where one fails, the next begins with such a one too."""
    yield
    assert "Nothing to do" in live.up().stdout
    assert set(live.ids()) == {"calm-1", "site-1", "store-1", "socket-proxy-1", "traefik-1"}


def settle(platform):
    """Take back what a failed change left written, and hold it to touching no container."""
    before = platform.ids()
    assert "container/" not in platform.up().stderr
    assert platform.ids() == before


@contextmanager
def asking(platform, service):
    """Ask a service all the time; yields the counted answers, which are complete afterwards."""
    answers, ended = Counter(), threading.Event()

    def ask():
        while not ended.wait(0.02):
            try:
                # An address of one that has gone this moment is tried for three seconds, then the other one.
                status, text = platform.get(service, timeout=20)
                answers[f"{status} {text.strip()}"] += 1
            except OSError as exc:
                answers[repr(exc)] += 1

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_a_new_version_takes_over_without_a_failed_request(live, engine, images):
    before = live.ids()
    newer = next_image(engine, images, "loki")
    live.set(IMAGE_CALM=newer)
    with asking(live, "calm") as answers:
        done = live.up()
    assert "the former one served meanwhile" in done.stderr
    assert {text for text in answers if not text.startswith("200 ")} == set(), answers
    assert len(answers) == 2, "both versions answered"
    assert json.loads(live.get("calm").text)["release"] == "2"
    after = live.ids()
    assert after.pop("calm-1") != before.pop("calm-1")
    assert after == before, "nothing else was touched"
    assert live.lockfile["resources"]["image/calm"]["attributes"]["reference"] == newer


def test_a_new_version_of_what_has_data_says_how_long_nobody_served(live, engine, images):
    engine.docker("exec", live.container("store")["Id"], "sh", "-c", "echo kept >/loki/note")
    before = live.container("store")
    live.set(IMAGE_STORE=next_image(engine, images, "loki"))
    assert " s without it" in live.up().stderr
    after = live.container("store")
    assert after["Id"] != before["Id"]
    assert engine.docker("exec", after["Id"], "cat", "/loki/note") == "kept\n"


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("exits", "ends again and again, exit code 1"),
        ("flaps", "ends again and again, exit code 1"),
        ("unhealthy", "runs, but its health check does not pass"),
    ],
)
def test_a_broken_release_leaves_the_former_one_serving(live, engine, images, how, reason):
    before, images_before = live.ids(), live.lockfile["resources"]
    served = live.get("site")
    broken = broken_image(engine, images, "loki", how)
    with live.settings(IMAGE_SITE=broken, IMAGE_STORE=broken), asking(live, "site") as answers:
        done = live.up(expect=4)
    said = done.stdout + done.stderr
    assert "error[not-ready]" in said
    for service in ("site", "store"):
        assert f"{service} {reason}" in said, said
        assert f"container/{service}  FAILED" in said
    assert said.count("; the former one is serving") >= 2, said
    for line in LAST_WORDS:
        assert line in said, said
    assert live.ids() == before, said
    assert set(answers) == {f"200 {served.text.strip()}"}, answers
    assert live.container("store")["State"]["Running"]
    for service in ("site", "store"):
        known = live.lockfile["resources"][f"image/{service}"]
        assert known["attributes"] == images_before[f"image/{service}"]["attributes"]
    settle(live)


def test_a_broken_ingress_is_followed_by_the_former_one(live, engine, images):
    before = live.ids()
    with live.settings(IMAGE_TRAEFIK=broken_image(engine, images, "traefik", "exits")):
        said = live.up(expect=4).stderr
    assert "traefik ends again and again, exit code 1; the former one is serving" in said, said
    assert "traefik: cannot migrate the data" in said
    assert live.ids() == before
    assert live.get("site").status == 200
    settle(live)


def test_another_size_is_in_force_in_every_container(live):
    live.set(SIZE="homelab")
    live.up()
    assert live.container("site")["HostConfig"]["Memory"] == 48 * 1024**2
    assert live.container("store")["HostConfig"]["NanoCpus"] == 2 * 10**8
    assert live.container("traefik")["HostConfig"]["Memory"] == 256 * 1024**2
    assert live.get("site").status == 200


def test_a_file_that_is_read_at_start_means_a_restart_and_no_new_container(live):
    before, others = live.container("store"), {n: c["State"]["StartedAt"] for n, c in live.containers().items()}
    live.set(STORE_WORD="good-again")
    assert "restarted in" in live.up().stderr
    after = live.container("store")
    assert after["Id"] == before["Id"]
    assert after["State"]["StartedAt"] != others.pop("store-1")
    assert {n: live.containers()[n]["State"]["StartedAt"] for n in others} == others


def test_a_file_that_it_cannot_read_is_put_back(live):
    before = live.ids()
    path = live.root / ".autogit" / "rendered" / "store" / "store.conf"
    former = path.read_text()
    with live.settings(STORE_WORD="bad"):
        said = live.up(expect=4).stderr
    assert "store: bad configuration" in said
    assert "with its former files it is serving again" in said
    assert path.read_text() == former
    assert live.ids() == before
    assert live.container("store")["State"]["Running"]
    settle(live)


def test_a_file_that_is_read_again_means_a_signal_whatever_happened_to_the_container_before(live, engine):
    before = live.container("site")
    for number in (1, 2, 3):
        with suppress(EngineError):  # what ends it is ended with it
            engine.docker("exec", before["Id"], "kill", "1")
        assert eventually(lambda n=number: live.container("site")["RestartCount"] == n)
        assert eventually(lambda: live.container("site")["State"]["Status"] == "running")
    before = live.container("site")
    live.set(SITE_WORD=f"word-{time.time():.0f}")
    assert "reloaded in" in live.up().stderr
    after = live.container("site")
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])
    assert eventually(lambda: "read its configuration again" in engine.docker("logs", after["Id"]))


def test_a_network_that_was_left_is_joined_again(live, engine):
    before = live.ids()
    engine.docker("network", "disconnect", f"{live.name}_web", f"{live.name}-site-1")
    assert live.get("site").status != 200
    assert "networks joined" in live.up().stderr
    assert live.ids() == before
    assert live.get("site").status == 200


def test_a_network_moves_under_its_containers(live, engine):
    before = live.ids()
    live.set(SITE_SUBNET="10.219.2.0/24")
    assert "containers joined" in live.up().stderr
    assert live.ids() == before
    assert live.get("site").status == 200
    address = live.container("site")["NetworkSettings"]["Networks"][f"{live.name}_web"]["IPAddress"]
    assert address.startswith("10.219.2.")
    taken = engine.api("GET", f"/networks/{live.name}_edge")["IPAM"]["Config"][0]["Subnet"]
    with live.settings(SITE_SUBNET=taken):
        said = live.up(expect=2).stderr
    assert f"overlaps with the network {live.name}_edge ({taken}): set SITE_SUBNET to a free one" in said
    assert live.get("site").status == 200, said
    settle(live)


def test_limits_changed_by_hand_are_set_back_in_place(live, engine):
    before = live.ids()
    wished = live.container("site")["HostConfig"]
    engine.docker("update", "--memory", "64m", "--memory-swap", "80m", "--cpus", "0.7", f"{live.name}-site-1")
    assert "limits set" in live.up().stderr
    assert live.ids() == before
    host = live.container("site")["HostConfig"]
    assert [host[n] for n in ("Memory", "NanoCpus")] == [wished[n] for n in ("Memory", "NanoCpus")]


def test_what_was_stopped_paused_renamed_or_removed_by_hand_is_healed(live, engine):
    before = live.ids()
    engine.docker("stop", f"{live.name}-site-1")
    engine.docker("pause", f"{live.name}-store-1")
    engine.docker("rm", "--force", f"{live.name}-traefik-1")
    engine.docker("rename", f"{live.name}-socket-proxy-1", f"{live.name}-other")
    said = live.up().stderr
    for word in ("container/site  started", "container/store  continued", "container/traefik  ready"):
        assert word in said, said
    after = live.ids()
    assert after.pop("traefik-1") != before.pop("traefik-1")
    assert after == before, said
    assert live.get("site").status == 200


def test_a_renamed_container_reads_its_changed_files_too(live, engine):
    before = live.container("store")["State"]["StartedAt"]
    engine.docker("rename", f"{live.name}-store-1", f"{live.name}-other")
    live.set(STORE_WORD="good-renamed")
    live.up()
    assert live.container("store")["State"]["StartedAt"] != before


def test_what_an_update_of_another_wish_left_goes_and_the_one_that_serves_stays(live, engine):
    before = live.container("calm")
    labels = {
        name: value for name, value in before["Config"]["Labels"].items() if name.startswith(("com.", "autogit."))
    }
    words = [f"--label={name}={value}" for name, value in {**labels, "autogit.hash": "of-another-wish"}.items()]
    engine.docker("rename", before["Id"], f"{before['Id'][:12]}_{live.name}-calm-1")
    engine.docker("create", f"--name={live.name}-calm-1", *words, before["Config"]["Image"])
    live.up()
    after = live.container("calm")
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])


def test_a_service_that_is_taken_out_leaves_its_data(live, engine):
    engine.docker("exec", live.container("store")["Id"], "sh", "-c", "echo still >/loki/note")
    with live.settings(SERVICES_ENABLED="calm,site"):
        assert "container/store  stopped and removed" in live.up().stderr
        assert "store-1" not in live.ids()
        assert f"{live.name}_store-data" in live.volumes()
    live.up()
    assert engine.docker("exec", live.container("store")["Id"], "cat", "/loki/note") == "still\n"


def test_an_edit_inside_a_container_is_refused_or_lasts_with_its_volume(live, engine):
    before = live.container("store")["Id"]
    engine.docker("exec", before, "sh", "-c", "echo edited >/loki/own.conf")
    with pytest.raises(EngineError, match=r"Read-only|denied"):
        engine.docker("exec", before, "sh", "-c", "echo edited >/etc/autogit/store/store.conf")
    assert "Nothing to do" in live.up().stdout
    live.run("deploy", "store", "--force-recreate", "--yes")
    after = live.container("store")["Id"]
    assert after != before
    assert engine.docker("exec", after, "cat", "/loki/own.conf") == "edited\n"
