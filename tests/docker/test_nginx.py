"""nginx as the ingress of a platform in containers: the real one, with its key, its reload, and Traefik's place."""

from __future__ import annotations

import socket
import ssl

import pytest
from cryptography import x509

from tests.docker.platform import ROUTED, SERVICE, eventually, platform_of

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def one(engine, images):
    """A platform of one small service behind nginx."""
    with platform_of(engine, images, "site", INGRESS="nginx") as found:
        found.add("site", SERVICE, ROUTED.replace("{}", "{rate_limit: 0}"))
        found.first_up = found.up()
        yield found


def _serial(one):
    root = next((one.root / ".autogit" / "certs" / "local-ca").rglob("root.pem"))
    context = ssl.create_default_context(cafile=root)
    with (
        socket.create_connection(("127.0.0.1", one.https_port), 5) as raw,
        context.wrap_socket(raw, server_hostname="site.autogit.localhost") as link,
    ):
        return f"{x509.load_der_x509_certificate(link.getpeercert(binary_form=True)).serial_number:x}"


def _certificate(one):
    return one.json("certs", "status")["certificates"][0]


def test_nginx_serves_and_says_what_it_does_not_do(one):
    assert one.get("site").status == 200
    assert "traefik.enable=true get no route from nginx" in one.first_up.stderr
    assert set(one.ids()) == {"nginx-1", "site-1"}
    (key,) = (one.root / ".autogit" / "certs" / "autogit.localhost").glob("v1/key.pem")
    assert key.stat().st_mode & 0o777 == 0o600
    assert "Nothing to do" in one.up().stdout


def test_a_renewal_is_served_by_the_same_container(one):
    before, container = _serial(one), one.ids()["nginx-1"]
    one.run("certs", "renew", "--force")
    assert _serial(one) != before
    assert one.ids()["nginx-1"] == container
    assert (_certificate(one)["level"], _certificate(one)["serial"]) == ("ok", _serial(one))
    assert "Nothing to do" in one.up().stdout


def test_a_file_that_nginx_refuses_is_told_and_put_back(one):
    conf = one.root / ".autogit" / "rendered" / "nginx" / "nginx.conf"
    good, override = conf.read_bytes(), one.root / "overrides" / "files" / "nginx" / "nginx.conf"
    override.parent.mkdir(parents=True)
    override.write_bytes(good.replace(b"server_tokens off", b"server_tokenz off"))
    said = one.up(expect=None)
    override.unlink()
    assert said.returncode in (1, 4)
    assert 'unknown directive "server_tokenz"' in said.stderr
    assert conf.read_bytes() == good
    assert one.get("site").status == 200
    one.up()


def test_the_ingress_is_changed_on_a_living_platform_and_back(one):
    serial = _serial(one)
    for wanted in ("traefik", "nginx"):
        one.set(INGRESS=wanted)
        said = one.up().stderr
        assert f"{wanted}: takes the place of" in said
        assert set(one.ids()) & {"traefik-1", "nginx-1"} == {f"{wanted}-1"}
        assert eventually(lambda: one.get("site").status == 200)
        assert _serial(one) == serial
        assert "Nothing to do" in one.up().stdout


def test_where_the_new_ingress_does_not_come_up_the_former_one_serves_on(one):
    override = one.root / "overrides" / "files" / "traefik" / "traefik.yml"
    override.parent.mkdir(parents=True)
    override.write_text("entryPoints: {}\nping: {entryPoint: none}\n")
    with one.settings(INGRESS="traefik"):
        said = one.up(expect=None)
    override.unlink()
    assert said.returncode in (1, 4)
    assert "nginx is serving again" in said.stderr
    assert eventually(lambda: one.get("site").status == 200)
    one.up()
    assert set(one.ids()) == {"nginx-1", "site-1"}
