"""nginx as the ingress of a running platform: what it serves and refuses, how it renews, whose place it takes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.integration.certs_lab import Watch, handshake, laboratory
from tests.integration.conftest import end_installation, free_ports, make_installation
from tests.integration.test_certs import wait_until
from tests.tools import find_tool

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not find_tool("nginx"), reason="server missing: nginx (tests/servers/install fetches it)"),
]
FAILED, USAGE, PARTLY = 1, 2, 4
TLS_CONF = "file/nginx/tls.conf"


class Home:
    """A platform with nginx in front, and what is seen of it from outside."""

    def __init__(self, installation):
        self.home = installation
        self.host = "api.autogit.localhost"
        self.rendered = installation.root / ".autogit" / "rendered" / "nginx"

    @property
    def roots(self):
        return self.home.root_certificate.read_text()

    def serial(self):
        return handshake(self.home.https_port, self.host, self.roots).serial_number

    def watch(self):
        return Watch(self.home.https_port, self.host, self.roots)

    def status(self, expect=0):
        return self.home.json("certs", "status", expect=expect)["certificates"][0]

    def pid(self):
        return self.home.process_pid("nginx")

    def is_well(self):
        """Assert that the newest certificate is served, that routes answer, and that nothing waits."""
        told = self.status()
        assert (told["level"], f"{self.serial():x}") == ("ok", told["serial"])
        assert self.home.probe(self.host, "/healthz").status == 200
        assert "Nothing to do" in self.home.run("up").stdout


@pytest.fixture(scope="module")
def one():
    folder = Path(tempfile.mkdtemp(prefix="autogit-"))
    home = make_installation(folder, INGRESS="nginx")
    home.run("up", "--yes")
    yield Home(home)
    end_installation(home)
    shutil.rmtree(folder, ignore_errors=True)


def test_nginx_serves_the_platform_with_a_key_that_is_its_owners_alone(one):
    one.is_well()
    states = {s["name"]: s["status"] for s in one.home.json("status")["services"]}
    assert states == {"api": "healthy", "nginx": "healthy"}
    (key,) = (one.home.root / ".autogit" / "certs" / "autogit.localhost").glob("v1/key.pem")
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_renewal_is_served_at_once_and_loses_no_request(one):
    before, pid = one.serial(), one.pid()
    with one.watch() as watch:
        for _ in range(2):
            one.home.run("certs", "renew", "--force")
    assert watch.failures == []
    assert len(set(watch.serials)) == 3
    assert watch.serials[0] == before
    assert one.pid() == pid
    one.is_well()


def test_a_file_that_nginx_refuses_is_told_and_put_back(one):
    conf, pid = one.rendered / "nginx.conf", one.pid()
    good = conf.read_bytes()
    override = one.home.root / "overrides" / "files" / "nginx" / "nginx.conf"
    override.parent.mkdir(parents=True)
    override.write_bytes(good.replace(b"server_tokens off", b"server_tokenz off"))
    said = one.home.run("up", "--yes", expect=PARTLY).stderr
    assert "nginx cannot read its new files and goes on with the former ones" in said
    assert 'unknown directive "server_tokenz"' in said
    assert conf.read_bytes() == good, "started anew, it would not come up with the other"
    assert one.home.probe(one.host, "/healthz").status == 200
    serial = one.serial()
    one.home.run("certs", "renew", "--force")
    assert one.serial() != serial, "a renewal waits for nothing that waits for up"
    assert b"server_tokens off" in conf.read_bytes()
    shutil.rmtree(override.parents[1])
    one.home.run("up", "--yes")
    assert one.pid() == pid
    one.is_well()


def test_a_renewal_puts_a_certificate_in_force_and_nothing_that_waits_for_up(one):
    program = one.home.lockfile["resources"]["process/nginx"]["attributes"]
    one.home.set(SIZE="homelab", PORT_NGINX_PING=free_ports(1)[0])
    conf = (one.rendered / "nginx.conf").read_bytes()
    done = one.home.json("certs", "renew", "--force")
    assert [row["address"] for row in done["applied"]] == ["certificate/autogit.localhost", TLS_CONF, "process/nginx"]
    assert (one.rendered / "nginx.conf").read_bytes() == conf
    assert one.home.lockfile["resources"]["process/nginx"]["attributes"] == program
    assert one.status()["level"] == "ok"
    one.home.run("up", "--yes")
    one.home.set(SIZE="minimal", PORT_NGINX_PING=None)
    one.home.run("up", "--yes")
    one.is_well()


@pytest.mark.soak
def test_a_certificate_that_is_not_served_is_taken_back_and_the_next_run_puts_it_right(one):
    """nginx is asked to read its files and cannot hear: its master stands still."""
    one.home.run("certs", "renew", "--force")
    serial, named = one.serial(), (one.rendered / "tls.conf").read_bytes()
    master = psutil.Process(one.pid())
    master.suspend()
    try:
        said = one.home.run("certs", "renew", "--force", expect=PARTLY).stderr
    finally:
        master.resume()
    assert f"is served with certificate {serial:x}, on disk is " in said
    assert (one.rendered / "tls.conf").read_bytes() == named
    wait_until(lambda: one.serial() == serial, "the former certificate is served")
    assert one.status(expect=1)["sentence"] == "what is served is not what is on disk"
    one.home.run("certs", "renew")
    assert one.serial() != serial
    one.is_well()


def test_workers_whose_master_was_killed_do_not_keep_its_ports(one):
    former = psutil.Process(one.pid())
    workers = former.children()
    os.kill(former.pid, signal.SIGKILL)
    wait_until(lambda: one.pid() not in (0, former.pid) and one.home.probe(one.host, "/healthz").status == 200, "nginx")
    wait_until(lambda: not [w for w in workers if w.is_running()], "the orphans are gone")
    one.is_well()
    assert one.pid() != former.pid


def test_the_ingress_is_changed_on_a_living_platform_and_back(one):
    ports, pids = (one.home.https_port, one.serial()), {one.home.process_pid("api")}
    for former, wanted in (("nginx", "traefik"), ("traefik", "nginx")):
        one.home.set(INGRESS=wanted)
        assert f"{wanted}: takes the place of {former}" in one.home.run("plan").stdout
        one.home.run("certs", "renew")
        assert one.status()["level"] == "ok", "until up, the former one is the ingress"
        one.home.run("up", "--yes")
        assert [n.partition(".")[0] for n, *_ in one.home.supervisor_infos()] == ["api", wanted]
        assert not (one.home.root / ".autogit" / "rendered" / former).exists()
        one.is_well()
    assert (one.home.https_port, one.serial()) == ports
    assert {one.home.process_pid("api")} == pids


def test_where_the_new_ingress_does_not_come_up_the_former_one_serves_on(one):
    override = one.home.root / "overrides" / "files" / "traefik" / "traefik.yml"
    override.parent.mkdir(parents=True)
    override.write_text("entryPoints: {}\nping: {entryPoint: none}\n")
    one.home.set(INGRESS="traefik")
    said = one.home.run("up", "--yes", expect=None)
    assert said.returncode in (FAILED, PARTLY)
    assert "nginx is serving again" in said.stderr
    assert one.home.probe(one.host, "/healthz").status == 200
    shutil.rmtree(override.parents[1])
    one.home.set(INGRESS="nginx")
    one.home.run("up", "--yes")
    one.is_well()


def test_healing_brings_the_ingress_back_that_a_killed_up_had_stopped(one):
    one.home.set(INGRESS="traefik")
    victim = one.home.start("up", "--yes")
    wait_until(lambda: not _state(one, "nginx") or victim.poll() is not None, "nginx is stopped")
    victim.kill()
    victim.communicate()
    one.home.run("reconcile", expect=None)
    wait_until(lambda: one.home.probe(one.host, "/healthz").status == 200, "somebody serves")
    one.home.run("up", "--yes")
    assert one.home.probe(one.host, "/healthz").status == 200
    one.home.set(INGRESS="nginx")
    one.home.run("up", "--yes")
    one.is_well()


def _state(one, service):
    return any(name.startswith(f"{service}.") and pid for name, _, pid, _ in one.home.supervisor_infos() or ())


def test_down_ends_nginx_and_its_workers(one):
    processes = [*psutil.Process(one.pid()).children(), psutil.Process(one.pid())]
    one.home.run("down")
    assert not [p for p in processes if p.is_running()]
    one.home.run("up", "--yes")
    one.is_well()


def test_a_certificate_of_an_acme_authority_is_issued_served_and_renewed(tmp_path):
    with laboratory(tmp_path, zones=1) as lab, lab.site(INGRESS="nginx") as site:
        site.run("up", "--yes")
        site.is_well()
        former = site.serving().serial_number
        done = json.loads(site.certs("renew", "--force", "--format", "json").stdout)
        assert TLS_CONF in [row["address"] for row in done["applied"]]
        assert site.serving().serial_number != former
        site.is_well()


def test_without_the_program_nothing_is_brought_up_and_called_served(tmp_path):
    home = make_installation(tmp_path, INGRESS="nginx")
    home.environ["PATH"] = str(tmp_path / "no programs")
    done = home.run("up", "--yes", expect=USAGE)
    assert "INGRESS=nginx (.env line 7) cannot run here: nginx is not on PATH" in done.stderr
    assert not (home.root / "autogit.lock.json").exists()
