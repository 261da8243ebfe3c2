"""Which image a service is held to: by `.env`, by the lockfile, by the catalogue; and what is said of newer ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autogit.core.images import deploy, image_setting, keep_locks, release
from autogit.model.container import ImageSpec, repository_of
from autogit.model.host import EngineFacts, ImageFacts
from autogit.model.lockfile import LockEntry, Lockfile
from autogit.model.resource import Address

NEW, OLD = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
DESCRIPTOR = """\
service: site
summary: A site
internal_port: 80
health_endpoint: /health
ready_endpoint: /ready
image: reg.example/site:2.0
ports:
  http: {internal: 80}
sizing: {minimal: 0.1C/32M, homelab: 0.1C/32M, team: 0.1C/32M, production: 0.1C/32M}
runs:
  container:
    networks: [web]
"""
ENV = "RUNTIME=docker\nSERVICES_ENABLED=site\n"


@pytest.fixture
def site(workbench):
    """Tells the image of a service, given what the lockfile and the engine know, and the notes on it."""
    workbench.add_service("site", DESCRIPTOR)

    def build(entry=None, known=None, env=""):
        workbench.lockfile = Lockfile(entries={Address("image", "site"): entry} if entry else {})
        workbench.facts = replace(workbench.facts, engine=EngineFacts("1.51", images=known or {}))
        spec = workbench.spec(ENV + env)
        notes = [note.message for note in spec.notes if note.subject == "site" and note.level == "info"]
        return next(s.image for s in spec.services if s.name == "site"), notes

    return build


def locked(reference, origin="catalogue", **attributes):
    return LockEntry(Address("image", "site"), {"reference": reference, "origin": origin, **attributes})


def facts(image_id, reference="reg.example/site:2.0"):
    return ImageFacts(image_id, (f"{repository_of(reference)}@{image_id}",))


def test_the_first_image_is_the_catalogues_as_the_engine_has_it(site):
    assert site() == (ImageSpec("reg.example/site:2.0", "catalogue"), [])
    known = {"reg.example/site:2.0": facts(NEW)}
    assert site(known=known) == (ImageSpec("reg.example/site:2.0", "catalogue", NEW, NEW), [])


def test_a_locked_image_is_held_to_and_a_newer_one_in_the_catalogue_is_told(site):
    image, notes = site(locked("reg.example/site:1.0", id=OLD, digest=OLD), {"reg.example/site:2.0": facts(NEW)})
    assert image == ImageSpec("reg.example/site:1.0", "catalogue", OLD, OLD)
    assert notes == ["the catalogue names reg.example/site:2.0 by now: autogit upgrade takes what it names"]


def test_a_tag_that_leads_elsewhere_is_told(site):
    image, notes = site(locked("reg.example/site:2.0", id=OLD, digest=OLD), {"reg.example/site:2.0": facts(NEW)})
    assert (image.id, image.digest) == (OLD, OLD)
    assert notes == ["reg.example/site:2.0 is another image by now: autogit upgrade site takes it"]


def test_a_setting_wins_and_is_not_held_to_once_it_is_gone(site):
    entry = locked("reg.example/site:1.0", "setting", id=OLD, digest=OLD)
    assert site(entry, env="IMAGE_SITE=reg.example/site:1.0\n")[0] == ImageSpec(
        "reg.example/site:1.0", "setting", OLD, OLD
    )
    assert site(entry, env="IMAGE_SITE=reg.example/site:3.0\n")[0] == ImageSpec("reg.example/site:3.0", "setting")
    assert site(entry) == (ImageSpec("reg.example/site:2.0", "catalogue"), [])


def test_a_deployed_image_is_held_to_whatever_the_catalogue_says(site):
    entry = locked("reg.example/site:1.5", "deploy", id=OLD, digest=OLD)
    assert site(entry) == (ImageSpec("reg.example/site:1.5", "deploy", OLD, OLD), [])


def test_a_change_that_was_begun_has_no_image_yet(site):
    assert site(LockEntry(Address("image", "site"), {}, intended="id:1")) == (
        ImageSpec("reg.example/site:2.0", "catalogue"),
        [],
    )


def test_plans_look_at_the_lockfile_in_their_own_way():
    one, other = (LockEntry(Address("image", name), {"reference": "x:1", "id": OLD}) for name in ("one", "other"))
    lockfile = Lockfile(entries={entry.address: entry for entry in (one, other)})
    assert keep_locks(lockfile) is lockfile
    assert set(release({"one"})(lockfile).entries) == {other.address}
    deployed = deploy("one", "x:2")(lockfile)
    assert deployed.find(one.address).attributes == {"reference": "x:2", "origin": "deploy"}
    assert deployed.find(other.address) == other
    assert lockfile.find(one.address) == one
    assert image_setting("node-exporter") == "IMAGE_NODE_EXPORTER"


@pytest.mark.parametrize(
    ("reference", "repository"),
    [
        ("traefik:3.0", "traefik"),
        ("127.0.0.1:5000/x:1", "127.0.0.1:5000/x"),
        ("127.0.0.1:5000/x", "127.0.0.1:5000/x"),
        (f"reg.example/a/b:1@{NEW}", "reg.example/a/b"),
        (f"reg.example:5000/a@{NEW}", "reg.example:5000/a"),
    ],
)
def test_a_repository_is_read_out_of_a_reference(reference, repository):
    assert repository_of(reference) == repository


def test_each_registry_knows_an_image_by_its_own_digest():
    known = ImageFacts("sha256:1", (f"traefik@{OLD}", f"reg.example/traefik@{NEW}"))
    for hub in ("traefik:3", "library/traefik:3", "docker.io/library/traefik:3"):
        assert known.digest_of(hub) == OLD
    assert known.digest_of("reg.example/traefik:3") == NEW
    assert known.digest_of("elsewhere.example/traefik:3") == ""
