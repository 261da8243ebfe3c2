"""Images from a real registry: pulled, held to, moved where somebody asks for it, missed in words."""

from __future__ import annotations

import json
from itertools import count

import pytest

from tests.docker.platform import ROUTED, SERVICE, platform_of
from tests.docker.registry import PASSWORD, USER, open_gate, open_registry

pytestmark = pytest.mark.integration

_NUMBERS = count(1)
_READY = 8


@pytest.fixture(scope="module")
def registry():
    with open_registry() as one:
        yield one


@pytest.fixture(scope="module")
def gitlabs(engine, images):
    """Two versions of GitLab, as far as their names tell."""
    names = [f"gitlab/gitlab-ce:{tag}" for tag in ("18.2.1-ce.0", "18.5.7-ce.0")]
    for name in names:
        engine.docker("tag", images["gitlab"], name)
    yield names
    engine.docker("rmi", "--force", *names)


@pytest.fixture(scope="module")
def live(engine, images, registry, gitlabs):
    """A platform that is up: GitLab, and as many small services as there are tests that want one of their own."""
    with platform_of(engine, images, "gitlab", IMAGE_GITLAB=gitlabs[0]) as one:
        one.ready = [Small(one, registry) for _ in range(_READY)]
        one.up()
        yield one


class Small:
    """A service of its own, whose first image is in the registry."""

    def __init__(self, platform, registry):
        self.platform = platform
        self.registry = registry
        self.name = f"x{next(_NUMBERS)}"
        self.setting = f"IMAGE_{self.name.upper()}"
        self.image = self.publish("1.0")
        self.describe(self.image)
        enable(platform, self.name)

    def publish(self, tag, release="1", how=""):
        return self.registry.publish(self.platform.engine, f"{self.name}:{tag}", release, how)

    def describe(self, image):
        """Say in its descriptor which image it is."""
        self.platform.add(self.name, SERVICE, ROUTED.replace("{}", "{rate_limit: 0}"), image=image)

    def entry(self):
        """What the lockfile says of its image."""
        return self.platform.lockfile["resources"][f"image/{self.name}"]["attributes"]

    def container(self):
        return self.platform.container(self.name)

    def serves(self, release):
        answer = self.platform.get(self.name)
        return (answer.status, json.loads(answer.text)["release"]) == (200, release)

    def remove(self, *, image=False):
        """Remove its container behind AutoGit's back, and its image where wished."""
        held = self.container()["Image"]
        self.platform.engine.docker("rm", "--force", f"{self.platform.name}-{self.name}-1")
        if image:
            self.platform.engine.docker("rmi", "--force", held)


def enable(platform, *names):
    """Have these services too."""
    platform.set(SERVICES_ENABLED=",".join([platform.env["SERVICES_ENABLED"], *names]))


@pytest.fixture
def small(live, registry):
    """A service that is not up yet."""
    return Small(live, registry)


@pytest.fixture
def running(live):
    """A service that is up."""
    one = live.ready.pop()
    assert one.serves("1")
    return one


def test_an_image_that_is_not_here_is_pulled_and_written_down(small, live, engine):
    said = live.up().stderr
    assert f"image/{small.name}  pulling {small.image}: " in said
    found = engine.api("GET", f"/images/{small.image}/json")
    digest = small.registry.digest(f"{small.name}:1.0")
    assert found["RepoDigests"] == [f"{small.image.removesuffix(':1.0')}@{digest}"]
    assert small.entry() == {
        "reference": small.image,
        "origin": "catalogue",
        "id": found["Id"],
        "digest": digest,
        "content": "",
    }
    assert small.container()["Image"] == found["Id"]
    assert small.serves("1")
    assert "Nothing to do" in live.up().stdout


def test_a_tag_that_moves_takes_nobody_along(running, live, engine):
    locked, container = running.entry(), running.container()["Id"]
    running.publish("1.0", "2")
    assert "Nothing to do" in live.up().stdout
    engine.docker("pull", running.image)
    assert "Nothing to do" in live.up().stdout
    words = f"{running.name}: {running.image} is another image by now: autogit upgrade {running.name} takes it"
    assert words in live.run("plan").stdout
    assert running.container()["Id"] == container

    running.remove()
    live.up()
    assert running.container()["Image"] == locked["id"], "the one that is held to, by its id"
    running.remove(image=True)
    assert f"image/{running.name}  pulled" in live.up().stderr
    assert running.container()["Image"] == locked["id"], "the one that is held to, by its digest"
    assert running.serves("1")
    assert running.entry() == locked
    assert "Nothing to do" in live.up().stdout


def test_an_upgrade_takes_what_its_tag_leads_to_and_a_broken_one_is_not_tried_twice(running, live, engine):
    former, ids = live.lockfile, live.ids()
    running.publish("1.0", "2")
    dry = live.run("upgrade", running.name, "--dry-run").stdout
    assert f"{running.image}  moves  {running.registry.digest(f'{running.name}:1.0')}" in dry
    assert f"{running.name}: its tag leads to another image in the registry" in dry
    assert (live.lockfile, live.ids()) == (former, ids)
    assert engine.api("GET", f"/images/{running.image}/json")["Id"] == running.entry()["id"], "nothing is pulled"

    live.run("upgrade", running.name, "--yes")
    assert running.serves("2")
    good = running.entry()
    assert good["digest"] == running.registry.digest(f"{running.name}:1.0")
    assert good["id"] == running.container()["Image"]
    assert "  stays  " in live.run("upgrade", running.name, "--dry-run").stdout

    running.publish("1.0", "3", "exits")
    failed = live.run("upgrade", running.name, "--yes", expect=4)
    assert f"container/{running.name}  replace  {running.name} ends again and again" in failed.stderr
    assert "the former one is serving" in failed.stderr
    assert running.serves("2")
    assert running.entry() == good
    container = running.container()["Id"]
    assert "Nothing to do" in live.up().stdout
    assert running.container()["Id"] == container


def test_a_newer_catalogue_moves_nothing_until_an_upgrade(running, live):
    running.describe(running.publish("2.0", "2"))
    newer = running.image.replace(":1.0", ":2.0")
    assert "Nothing to do" in live.up().stdout
    words = f"{running.name}: the catalogue names {newer} by now: autogit upgrade takes what it names"
    assert words in live.run("plan").stdout
    dry = live.json("upgrade", "--dry-run", running.name)
    [row] = dry["services"]
    assert (row["current"], row["wanted"], row["changes"]) == (running.image, newer, True)
    assert running.serves("1")
    live.run("upgrade", running.name, "--yes")
    assert running.serves("2")
    assert (running.entry()["reference"], running.entry()["origin"]) == (newer, "catalogue")


def test_a_setting_is_a_wish_that_up_fulfils_and_the_catalogue_counts_again_without_it(running, live):
    former = running.entry()
    live.set(**{running.setting: running.publish("3.0", "3")})
    said = live.up().stderr
    assert f"{running.setting} (unset) -> {running.image.replace(':1.0', ':3.0')}" in said
    assert running.serves("3")
    assert running.entry()["origin"] == "setting"
    live.set(**{running.setting: None})
    live.up()
    assert running.serves("1")
    assert running.entry() == former
    assert "Nothing to do" in live.up().stdout


def test_a_deployed_image_is_held_to_until_an_upgrade(running, live):
    former, deployed = running.entry(), running.publish("2.0", "2")
    live.run("deploy", running.name, "--image", deployed, "--yes")
    assert running.serves("2")
    good = running.entry()
    assert (good["reference"], good["origin"]) == (deployed, "deploy")
    assert "Nothing to do" in live.up().stdout

    broken = running.publish("3.0", "3", "exits")
    failed = live.run("deploy", running.name, "--image", broken, "--yes", expect=4)
    assert "the former one is serving" in failed.stderr
    assert running.serves("2")
    assert running.entry() == good
    assert "Nothing to do" in live.up().stdout

    live.run("upgrade", running.name, "--yes")
    assert running.serves("1")
    assert running.entry() == former


def test_a_deployment_that_env_contradicts_is_refused(running, live):
    live.set(**{running.setting: running.image})
    live.up()
    before = live.lockfile
    failed = live.run("deploy", running.name, "--image", "127.0.0.1:1/other:1.0", expect=2)
    assert f" holds {running.name} to {running.image}: the next autogit up would go back" in failed.stderr
    assert f"hint: set {running.setting}=127.0.0.1:1/other:1.0 there" in failed.stderr
    assert live.lockfile == before


@pytest.mark.parametrize("words", [("deploy", "tempo", "--image", "grafana/tempo:1.0"), ("upgrade", "tempo")])
def test_what_does_not_run_is_neither_deployed_nor_upgraded(live, words):
    failed = live.run(*words, expect=2)
    assert "error[usage]: tempo does not run here" in failed.stderr
    assert "SERVICES_ENABLED" in failed.stderr


def test_a_pinned_digest_is_what_runs(small, live):
    digest = small.registry.digest(f"{small.name}:1.0")
    live.set(**{small.setting: f"{small.image}@{digest}"})
    small.publish("1.0", "2")
    live.up()
    assert small.serves("1")
    assert small.entry()["digest"] == digest
    assert "Nothing to do" in live.up().stdout
    live.run("upgrade", small.name, "--yes")
    assert small.serves("1")


def test_every_image_that_cannot_be_had_is_named_and_nothing_is_made(live, engine, registry):
    spare = registry.publish(engine, "spare:1.0")
    with open_registry(registry.folder, locked=True) as locked:
        wanted = {
            "untagged": (spare.replace(":1.0", ":9.9"), "its registry does not have it"),
            "unknown": (registry.name("nothing-there:1.0"), "its registry does not have it"),
            "nowhere": ("images.invalid/x:1.0", "its registry cannot be reached (no such host)"),
            "down": ("127.0.0.1:1/x:1.0", "its registry cannot be reached (connection refused)"),
            "closed": (
                locked.name("spare:1.0"),
                f"its registry wants a login: docker login 127.0.0.1:{locked.port}",
            ),
            "foreign": (
                registry.publish_for("arm64", "spare:1.0", "arm"),
                "it is made for arm64, this engine is amd64",
            ),
        }
        for name, (image, _) in wanted.items():
            live.add(name, SERVICE, image=image)
        enabled = live.env["SERVICES_ENABLED"]
        enable(live, *wanted)
        before = (live.everything(), live.lockfile)
        failed = live.up(expect=2).stderr
        assert "error[blocked]: nothing was changed: 6 things stand in the way" in failed
        rows = {words[0]: words[1:] for words in (line.split(maxsplit=2) for line in failed.splitlines()) if words}
        for name, (image, why) in wanted.items():
            assert rows[f"image/{name}"] == [image, f"is not here and cannot be pulled: {why}"]
        assert "hint: autogit images load FILE" in failed
        assert "IMAGE_<SERVICE>=" in failed
        assert (live.everything(), live.lockfile) == before
        noted = live.run("plan").stdout
        assert all(f"! image/{name}: {image}" in noted for name, (image, _) in wanted.items())
        live.set(SERVICES_ENABLED=enabled)


def test_a_registry_that_wants_a_login_gets_that_of_the_user(small, live, engine):
    with open_registry(small.registry.folder, locked=True) as locked:
        folder = live.folder / "home" / ".docker"
        folder.mkdir()
        command = ["--config", str(folder), "login", "--username", USER, "--password", PASSWORD]
        engine.docker(*command, f"127.0.0.1:{locked.port}")
        small.describe(locked.name(f"{small.name}:1.0"))
        good = (folder / "config.json").read_text()
        for bad, why in (('{"credsStore": "lost"}', "docker-credential-lost is missing"), ("[]", "it is damaged")):
            (folder / "config.json").write_text(bad)
            failed = live.run("plan", expect=None)
            assert f"logins cannot be read from ~/.docker/config.json: {why}" in failed.stdout + failed.stderr
        (folder / "config.json").write_text(good)
        done = live.up()
        assert small.serves("1")
        assert PASSWORD not in done.stdout + done.stderr + json.dumps(live.lockfile)


def test_a_registry_that_fails_twice_is_asked_again(small, live):
    with open_gate(small.registry) as gate:
        small.describe(gate.name(f"{small.name}:1.0"))
        gate.failures = 2
        live.up()
        assert small.serves("1")
        gate.failures = 1
        small.publish("1.0", "2")
        said = live.run("upgrade", small.name, "--yes").stderr
        assert "failed, trying again: its registry fails (503 Service Unavailable)" in said
        assert small.serves("2")


def test_an_upgrade_without_its_registry_takes_the_engines_own_image(running, live, engine):
    running.describe(engine_tag := f"images.invalid/{running.name}:2.0")
    engine.docker("pull", running.publish("2.0", "2"))
    engine.docker("tag", running.image.replace(":1.0", ":2.0"), engine_tag)
    said = live.run("upgrade", running.name, "--yes").stderr
    assert f"{engine_tag} cannot be pulled: its registry cannot be reached (no such host); the engine's own" in said
    assert running.serves("2")


def test_an_upgrade_to_an_image_that_cannot_be_had_changes_nothing(running, live):
    running.describe(running.registry.name(f"{running.name}:2.0"))
    before = (live.everything(), live.lockfile)
    failed = live.run("upgrade", running.name, "--yes", expect=2).stderr
    assert "error[blocked]: nothing was changed: an image cannot be had" in failed
    assert "cannot be pulled: its registry does not have it" in failed
    assert (live.everything(), live.lockfile) == before
    assert running.serves("1")


def test_gitlab_does_not_skip_a_version_that_its_data_must_stop_at(live):
    before = (live.everything(), live.lockfile)
    live.set(IMAGE_GITLAB="gitlab/gitlab-ce:19.2.0-ce.0")
    refusal = "gitlab 18.2.1 cannot go to 19.2.0 in one step: its data must stop on the way at "
    for words in (["up", "--yes"], ["upgrade", "gitlab", "--yes"], ["upgrade", "gitlab", "--dry-run"]):
        failed = live.run(*words, expect=2).stderr
        assert f"{refusal}18.5.7-ce.0, 18.8.11-ce.0, 18.11.12-ce.0, in this order" in failed
        assert "hint: IMAGE_GITLAB=gitlab/gitlab-ce:18.5.7-ce.0 in .env" in failed
    assert f"! gitlab: {refusal}" in live.run("plan").stdout
    live.set(IMAGE_GITLAB=None)
    image = "gitlab/gitlab-ce:19.2.0-ce.0"
    assert "in one step" in live.run("deploy", "gitlab", "--image", image, expect=2).stderr
    assert (live.everything(), live.lockfile) == before
    live.set(IMAGE_GITLAB="gitlab/gitlab-ce:18.5.7-ce.0")
    live.up()
    assert live.lockfile["resources"]["image/gitlab"]["attributes"]["reference"] == "gitlab/gitlab-ce:18.5.7-ce.0"
