"""Reading an engine's answers: what was made as wished compares equal, whatever version of the engine says it."""

from __future__ import annotations

import copy

import pytest

from autogit.model.container import ImageSpec
from autogit.model.lockfile import LockEntry
from autogit.model.resource import Address, Resource
from autogit.providers.compute.engine.observe import (
    Found,
    by_service,
    container_resource,
    fit_subnet,
    image_facts,
    image_resource,
    network_resource,
)
from tests.providers.compute.test_engine_body import payload

ID = "5b12a67a5cbf10d5fd162a67faf9ee313de0a7cc43aff704e48517f2c6594a11"
IMAGE_ID = "sha256:b6a7da24606b13697fed3d74c745c5e8d9775d315057fd38ea9e074399e932b3"

RECORDED = {  # Engine 20.10.24, what is read of it
    "Id": ID,
    "Created": "2026-11-25T01:02:56.692631344Z",
    "Name": "/shop-web-1",
    "Image": IMAGE_ID,
    "RestartCount": 0,
    "State": {
        "Status": "running",
        "OOMKilled": False,
        "ExitCode": 0,
        "StartedAt": "2026-11-25T01:02:57.70906109Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
        "Health": {"Status": "starting", "FailingStreak": 0, "Log": []},
    },
    "Config": {
        "Image": "web:1",
        "Cmd": ["serve"],
        "Entrypoint": ["/bin/web"],
        "Env": ["LEVEL=info", "PATH=/bin"],
        "Labels": {
            "autogit.config": "c1",
            "autogit.hash": "abc",
            "autogit.managed": "true",
            "autogit.reload": "",
            "com.docker.compose.project": "shop",
            "com.docker.compose.project.working_dir": "/srv/shop/.autogit/rendered",
            "com.docker.compose.service": "web",
        },
        "StopTimeout": 15,
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 10000000000},
    },
    "HostConfig": {
        "Memory": 67108864,
        "NanoCpus": 500000000,
        "PortBindings": {"443/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8443"}]},
    },
    "NetworkSettings": {
        "Networks": {
            "shop_metrics": {"Aliases": ["web", "5b12a67a5cbf"], "NetworkID": "7098ce9d11ec"},
            "shop_web": {"Aliases": ["web", "web.example.org", "5b12a67a5cbf"], "NetworkID": "e52b2352c97c"},
        }
    },
}

WISH = Resource(
    Address("container", "web"),
    {
        "name": "shop-web-1",
        "hash": "abc",
        "image": "web:1",
        "image_id": IMAGE_ID,
        "command": ("/bin/web", "serve"),
        "environment": ("LEVEL=info",),
        "ports": ("127.0.0.1:8443->443",),
        "networks": ("metrics", "web web.example.org"),
        "memory_bytes": 67108864,
        "cpus": 0.5,
        "config": "c1",
        "reload": "",
        "state": "running",
        "copies": 1,
    },
    payload=payload(entrypoint=("/bin/web",), command=("serve",)),
)


def changed(*path, to):
    raw = copy.deepcopy(RECORDED)
    place = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return raw


def differing(*raws, entry=None, wish=WISH):
    """Names of the attributes that a wish finds otherwise."""
    seen = container_resource([Found(raw) for raw in raws], wish, entry, "shop").attributes
    return {name for name, value in wish.attributes.items() if seen[name] != value}


def newer(raw):
    """The same container as engines from 25.0 on tell of it: an id is no alias, names are told apart (API 1.44)."""
    raw = copy.deepcopy(raw)
    for endpoint in raw["NetworkSettings"]["Networks"].values():
        endpoint["Aliases"] = endpoint["Aliases"][:-1]
        endpoint["DNSNames"] = ["shop-web-1", *endpoint["Aliases"], ID[:12]]
    return raw


@pytest.mark.parametrize("raw", [RECORDED, newer(RECORDED)], ids=["20.10", "25.0"])
def test_a_container_as_wished_differs_in_nothing(raw):
    assert differing(raw) == set()


def test_one_that_compose_made_is_known_by_its_own_name_too():
    raw = changed("NetworkSettings", "Networks", "shop_metrics", "Aliases", to=["shop-web-1", "web", "5b12a67a5cbf"])
    assert differing(raw) == set()


@pytest.mark.parametrize(
    ("path", "to", "names"),
    [
        (("NetworkSettings", "Networks", "shop_web", "Aliases"), ["5b12a67a5cbf"], {"networks"}),
        (("NetworkSettings", "Networks", "shop_web", "Aliases"), None, {"networks"}),
        (("HostConfig", "Memory"), 0, {"memory_bytes"}),
        (("HostConfig", "NanoCpus"), None, {"cpus"}),
        (("State", "Status"), "paused", {"state"}),
        (("State", "Status"), "exited", {"state"}),
        (("State", "Status"), "restarting", {"state"}),
        (("State", "Health", "Status"), "unhealthy", {"state"}),
        (("State", "Health", "Status"), "none", set()),
        (("State", "Health"), None, set()),
        (("Name",), "/other", {"name"}),
        (("Config", "Env"), ["LEVEL=debug", "PATH=/bin"], {"environment"}),
        (("Config", "Image"), IMAGE_ID, set()),
        (("Image",), "sha256:other", {"image_id"}),
    ],
)
def test_what_somebody_changed_is_seen(path, to, names):
    assert differing(changed(*path, to=to)) == names


def test_networks_of_others_are_nobodys_business():
    raw = changed("NetworkSettings", "Networks", "theirs", to={"Aliases": None})
    assert differing(raw) == set()


def test_words_that_are_the_images_own_are_not_compared():
    wish = Resource(WISH.address, {**WISH.attributes, "command": ()}, payload=payload())
    assert differing(RECORDED, wish=wish) == set()


def test_a_container_that_reads_its_files_elsewhere_is_to_be_replaced(tmp_path):
    place = ("Config", "Labels", "com.docker.compose.project.working_dir")
    assert differing(changed(*place, to="/srv/former/.autogit/rendered")) == {"hash"}
    (tmp_path / "link").symlink_to("/srv/shop")
    assert differing(changed(*place, to=f"{tmp_path}/link/.autogit/rendered")) == set()


def test_what_a_container_was_told_since_its_birth_is_in_the_lockfile_for_that_container_only():
    told = {"config": "c2", "reload": "", "id": ID}
    assert differing(RECORDED, entry=LockEntry(WISH.address, told)) == {"config"}
    assert differing(RECORDED, entry=LockEntry(WISH.address, {**told, "id": "another"})) == set()


def test_two_versions_are_seen_and_the_one_that_runs_counts():
    former = changed("Name", to="/5b12a67a5cbf_shop-web-1")
    begun = changed("State", "Status", to="created")
    (group,) = by_service([Found(begun), Found(former)], "shop").values()
    assert [c.name for c in group] == ["5b12a67a5cbf_shop-web-1", "shop-web-1"]
    assert differing(*(c.raw for c in group)) == {"name", "copies"}
    both = by_service([Found(former), Found(RECORDED)], "shop")["web"]
    assert both[0].name == "shop-web-1"


def test_a_subnet_that_nobody_asked_for_is_not_compared():
    raw = {"Name": "shop_web", "Id": "1", "Internal": True, "IPAM": {"Config": [{"Subnet": "10.1.0.0/24"}]}}
    seen = network_resource(raw, "web")
    automatic = Resource(seen.address, {"name": "shop_web", "internal": True, "subnet": ""})
    fixed = Resource(seen.address, {**automatic.attributes, "subnet": "10.2.0.0/24"})
    assert fit_subnet(seen, automatic).attributes["subnet"] == ""
    assert fit_subnet(seen, fixed).attributes["subnet"] == "10.1.0.0/24"


def test_an_image_that_no_registry_knows_has_no_digest():
    spec = ImageSpec("web:1", "catalogue")
    facts = image_facts({"Id": IMAGE_ID, "RepoDigests": None, "Architecture": "amd64", "Config": None})
    seen = image_resource("web", spec, facts).attributes
    assert (seen["id"], seen["digest"], seen["reference"]) == (IMAGE_ID, "", "web:1")
