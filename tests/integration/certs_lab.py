"""The parts of the end-to-end tests of certificates: an authority that can fail, sites, and who looks at them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dns.exception
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from autogit.operations import certs
from autogit.operations.issuers import load_issuer
from autogit.operations.project import open_project, project_paths
from autogit.providers.host.secret_store import IDENTITY_VARIABLE
from tests.integration.dns_lab import BindZone, project, written
from tests.providers.dns.bind import bind_server
from tests.providers.ssl.directory_shim import NEW_ACCOUNT, NEW_ORDER, directory_shim
from tests.providers.ssl.pebble import pebble_server

LAN = "192.168.1.170"
BLOCKED = "refused.test"
"""A domain for which the authority issues nothing from the start."""
_MOST_SECONDS = 30.0
_MOMENTS = [("", 1.2), ("asking", 0.2), ("waiting until", 0.06), ("[1/", 0.03)]
"""What a renewal says, and how long after that it may be killed; of the first it has said nothing."""


class Authority:
    """A Pebble with its shim, and every root that it ever had: what was issued before a restart is served still."""

    def __init__(self, pebble, shim):
        self.pebble, self.shim = pebble, shim
        self.roots = [pebble.root().decode()]

    def stop(self):
        self.pebble.stop()

    def start(self):
        """Start it with nothing of before: no accounts, no orders, another root."""
        self.pebble.start()
        self.roots = list(dict.fromkeys([*self.roots, self.pebble.root().decode()]))

    def restart(self, *, environ=None, **config):
        """Start it anew, with other lines in its configuration and other variables."""
        self.stop()
        self.pebble._env.update(environ or {})
        file = self.pebble.folder / "pebble.json"
        told = json.loads(file.read_text())
        told["pebble"].update(config)
        file.write_text(json.dumps(told))
        self.start()

    def settings(self):
        return {"CERT_ISSUER": self.shim.directory_url, "ACME_CA_FILE": self.pebble.ca_file}

    @property
    def name(self):
        """What it is called in sentences."""
        return f"127.0.0.1:{self.shim.port}"

    def accounts(self):
        """How often an account was asked for."""
        return len(self.shim.sent(NEW_ACCOUNT))

    def orders(self):
        """The payloads of all orders that were asked for."""
        return [one.payload for one in self.shim.sent(NEW_ORDER)]


class Lab:
    """A BIND with many zones and an authority that asks it."""

    def __init__(self, bind, authority, names):
        self.bind, self.authority = bind, authority
        self.free = [BindZone(bind, name) for name in names]

    @contextlib.contextmanager
    def site(self, zone=None, **changed):
        """A project with a zone of its own, and its certificate from the authority; nothing was brought up yet."""
        zone = zone or self.free.pop(0)
        with project(zone, **{"INGRESS_IP": LAN, **self.authority.settings(), **changed}) as home:
            yield Site(home, zone, self.authority)


@contextlib.contextmanager
def laboratory(folder, zones=20, eab=None):
    names = [f"home{number}.test" for number in range(zones)]
    lines = {name: [] for name in [*names, BLOCKED]}
    with (
        bind_server(folder / "bind", lines, recursion=True) as bind,
        pebble_server(folder / "pebble", dns=bind.server, eab=eab, config={"domainBlocklist": [BLOCKED]}) as pebble,
        directory_shim(pebble) as shim,
    ):
        yield Lab(bind, Authority(pebble, shim), names)


class Site:
    """One project, what lies in its store, and what its ingress serves."""

    def __init__(self, home, zone, authority):
        self.home, self.zone, self.authority = home, zone, authority
        self.host = f"api.{zone.name}"
        self.said, self.plans = [], []

    def run(self, *words, expect=0):
        """Run `autogit ...`; what it says is kept, for secrets may be in no output."""
        done = self.home.run(*words, expect=expect)
        self.said += [done.stdout, done.stderr]
        return done

    def certs(self, *words, expect=0):
        return self.run("certs", *words, expect=expect)

    def status(self, expect=0):
        """The one certificate as `certs status --format json` has it."""
        found = json.loads(self.certs("status", "--format", "json", expect=expect).stdout)["certificates"]
        assert [one["name"] for one in found] == [self.zone.name]
        return found[0]

    @property
    def certs_folder(self):
        return self.home.root / ".autogit" / "certs"

    @property
    def store(self):
        return self.certs_folder / self.zone.name

    def versions(self):
        found = (re.fullmatch(r"v(\d+)", path.name) for path in self.store.iterdir())
        return sorted(int(one[1]) for one in found if one)

    def folder(self, version=None):
        """The folder of a version, of the newest without one."""
        return self.store / f"v{version or self.versions()[-1]}"

    def stored(self, version=None):
        """A version's certificate, that of the newest without one."""
        return x509.load_pem_x509_certificates((self.folder(version) / "fullchain.pem").read_bytes())[0]

    def serving(self, host=""):
        """The certificate that is served for a host, after everything a browser checks."""
        return handshake(self.home.https_port, host or self.host, "\n".join(self.authority.roots))

    def challenges(self):
        """The TXT values that lie at the challenge name."""
        return self.zone.values("_acme-challenge", "TXT")

    def is_settled(self):
        """Assert that the newest certificate is served and that no challenge is left over."""
        assert self.in_force()
        assert self.challenges() == []

    def is_well(self):
        """Assert that it is settled, and that the status says so."""
        self.is_settled()
        status = self.status()
        assert (status["level"], status["due"]) == ("ok", ""), status
        assert [one["matches"] for one in status["served"]] == [True]

    @contextlib.contextmanager
    def put_right_afterwards(self):
        """Give the next test a site that is well, whatever the body found: only what is not well is touched."""
        env_file = self.home.root / ".env"
        env = env_file.read_text()
        try:
            yield
        finally:
            self.authority.shim.windows.clear()
            env_file.write_text(env)
            state = self.store / "renewal.json"
            if self.challenges() or '"failure": ""' not in state.read_text() or not self.in_force():
                state.unlink()
                self.zone.write("_acme-challenge", "TXT")
                self.run("up", "--yes", expect=None)
                if not self.in_force():
                    self.run("drift", "--revert", "file/traefik/dynamic/tls.yml", "--yes", expect=None)

    def in_force(self):
        return self.serving().serial_number == self.stored().serial_number

    def put(self, *, days_ago, days_left, trusted=True):
        """Lay a new version into the store that begins and ends then, as of the authority or (untrusted) of nobody."""
        now = datetime.now(UTC)
        chain, key, serial = make_chain(self.zone.name, now - timedelta(days=days_ago), now + timedelta(days=days_left))
        folder = self.folder(self.versions()[-1] + 1)
        folder.mkdir(0o700)
        (folder / "fullchain.pem").write_text(chain)
        (folder / "issuer.pem").write_text(chain[chain.rindex("-----BEGIN") :])
        (folder / "key.pem").write_text(key)
        (folder / "key.pem").chmod(0o600)
        names = [self.zone.name, f"*.{self.zone.name}"]
        meta = {"issuer": self.authority.name if trusted else "somebody", "names": names, "serial": serial}
        (folder / "meta.json").write_text(json.dumps(meta))
        return serial

    def forget_asking(self):
        """Let the next `certs renew` ask the authority for its window, whenever it was asked last."""
        file = self.store / "renewal.json"
        known = json.loads(file.read_text())
        for name in [name for name in known if "ask" in name or "pick" in name or "window" in name]:
            del known[name]
        file.write_text(json.dumps(known))

    def make_due(self):
        """Let the authority have wished for a renewal an hour ago, and not to be asked for a while."""
        now, file = datetime.now(UTC), self.store / "renewal.json"
        moments = {"window_start": -2, "pick_at": -1, "window_end": 1, "ask_at": 6}
        told = {name: f"{now + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}" for name, hours in moments.items()}
        file.write_text(json.dumps({**json.loads(file.read_text()), **told}))

    @contextlib.contextmanager
    def as_before(self):
        """Take back what the body put in force, as if its command was killed once the new version was in the store."""
        files = [self.home.root / "autogit.lock.json", self.tls_file]
        was = {file: file.read_bytes() for file in files}
        yield
        for file, content in was.items():
            fresh = file.parent.parent / f".{file.name}.lab"
            fresh.write_bytes(content)
            fresh.chmod(file.stat().st_mode & 0o777)
            fresh.replace(file)

    @property
    def tls_file(self):
        return self.home.root / ".autogit" / "rendered" / "traefik" / "dynamic" / "tls.yml"

    def secrets_shown(self, *more):
        """Where secrets stand though they should not: texts that were said, or files that are not the key's own."""
        wanted = {line.encode() for line in [*more, self.zone.server.key.secret]}
        for file in self.certs_folder.rglob("key.pem"):
            wanted |= {line for line in file.read_bytes().splitlines() if len(line) > 40 and b"-----" not in line}
            key = file.read_bytes().replace(b"\n", b"").split(b"-----")[2]
            wanted |= {base64.b64decode(key).hex().encode()}
        own = re.compile(r"(.*/)?(key\.pem|\.env)")
        files = {name: text for name, text in written(self.home).items() if not own.fullmatch(name)}
        said = {f"output {number}": text.encode() for number, text in enumerate(self.said)}
        return [name for name, text in {**files, **said}.items() if any(secret in text for secret in wanted)]


class Watch(threading.Thread):
    """Shakes hands with an ingress all the time, as strictly as a browser; `failures` should stay empty."""

    def __init__(self, port, host, roots):
        super().__init__()
        self._place = (port, host, roots)
        self._ended = threading.Event()
        self.failures, self.serials = [], []

    def run(self):
        while not self._ended.wait(0.02):
            try:
                self.serials.append(handshake(*self._place).serial_number)
            except (OSError, ValueError) as exc:
                self.failures.append(f"handshake {len(self.serials)}: {exc}")

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.join()


def handshake(port, host, roots):
    """The certificate that is served for a host, once chain, dates and name were checked against PEM roots."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=roots)
    with (
        socket.create_connection(("127.0.0.1", port), 5) as raw,
        context.wrap_socket(raw, server_hostname=host) as link,
    ):
        return x509.load_der_x509_certificate(link.getpeercert(binary_form=True))


def renewed_at(home, clock, *, force=False):
    """What `certs renew` does, in this process, which has another clock."""
    with pytest.MonkeyPatch.context() as patch:  # what the command has in its environment
        patch.setenv(IDENTITY_VARIABLE, str(Path(home.environ["HOME"]) / ".config" / "autogit" / "identity.txt"))
        return asyncio.run(certs.renew(project_at(home, clock), force=force))


def project_at(home, clock):
    """The project as a command opens it, but for its clock."""
    found = open_project(project_paths(home.root))
    context = replace(found.context, clock=clock)
    return replace(found, context=context, certificates=load_issuer(found.settings, context, found.dns))


def make_chain(domain, start, end):
    """A chain (PEM) for a domain and all below it that is valid from then to then, its key (PEM), its serial (hex)."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority of {domain}")])
    serial = x509.random_serial_number()

    def made(subject, public, number, *extensions):
        builder = x509.CertificateBuilder(root_name, subject, public, number, start, end)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(root_key, hashes.SHA256())

    names = x509.SubjectAlternativeName([x509.DNSName(domain), x509.DNSName(f"*.{domain}")])
    leaf_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)])
    identity = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    leaf = made(leaf_name, key.public_key(), serial, (names, False), (identity, False))
    root = made(
        root_name,
        root_key.public_key(),
        x509.random_serial_number(),
        (x509.BasicConstraints(ca=True, path_length=0), True),
    )
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in (leaf, root)).decode()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return chain, private, f"{serial:x}"


@contextlib.contextmanager
def mounted(folder, kilobytes):
    """Put a file system over a folder: the same read only, or one of so many that is full; yields whether it can be.

    What is in the folder is in it then as well; what is written to the small one is gone afterwards.
    """
    beside = folder.with_name(f".{folder.name}.lab")
    if kilobytes:
        shutil.copytree(folder, beside, symlinks=True)
        steps = [["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,mode=0700", "tmpfs", folder]]
    else:
        steps = [["mount", "--bind", folder, folder], ["mount", "-o", "remount,bind,ro", folder]]
    done = 0
    try:
        if shutil.which("mount"):
            while done < len(steps) and not subprocess.run(steps[done], check=False, capture_output=True).returncode:
                done += 1
        if done and kilobytes:
            shutil.copytree(beside, folder, symlinks=True, dirs_exist_ok=True)
            with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
                while filler.write(b"x" * 512):
                    pass
        yield done == len(steps)
    finally:
        if done:
            subprocess.run(["umount", folder], check=True)
        shutil.rmtree(beside, ignore_errors=True)


def kill_at_work(site, words, seconds):
    """Kill `certs renew --force` so long after it has said something ("": after its start); was it still at work?"""
    victim = site.home.start("certs", "renew", "--force")
    for line in iter(victim.stderr.readline, "") if words else ():
        if words in line:
            break
    time.sleep(seconds)
    died = victim.poll() is None
    victim.send_signal(signal.SIGKILL)
    site.said += victim.communicate()
    return died


def kill_before_it_is_recorded(site):
    """Kill `certs renew --force` when it has named the new version and has not written down that it did."""
    for _ in range(20):
        named, lock = site.tls_file.read_bytes(), site.home.root / "autogit.lock.json"
        victim = site.home.start("certs", "renew", "--force")
        while victim.poll() is None and site.tls_file.read_bytes() == named:
            time.sleep(0.0002)
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        known = json.loads(lock.read_text())["resources"]["file/traefik/dynamic/tls.yml"]["attributes"]
        if known["sha256"] != hashlib.sha256(site.tls_file.read_bytes()).hexdigest():
            return
    raise AssertionError("it was always quicker")


def survives_kills(site, kills, dice):
    """Kill renewals until so many died at work, and renew after each; returns what they left, counted."""
    moments = []
    found = {"started": 0, "killed": 0, "challenges left": 0, "not served": 0, "half written": 0}
    while found["killed"] < kills:
        found["started"] += 1
        assert found["started"] <= 3 * kills + 10, f"most of them ended before their moment came: {found}"
        moments = moments or dice.sample(_MOMENTS, len(_MOMENTS))
        words, most_seconds = moments.pop()
        found["killed"] += kill_at_work(site, words, dice.uniform(0.0, most_seconds))
        left = site.challenges()
        found["challenges left"] += bool(left)
        found["not served"] += site.serving().serial_number != site.stored().serial_number
        found["half written"] += any(path.name.endswith(".new") for path in site.store.iterdir())
        site.certs("renew")
        where = f"start {found['started']}: {found}"
        assert site.challenges() == [], f"{where}: a challenge stayed after certs renew"
        wait_until(site.in_force, f"{where}: the newest is served")
    site.is_settled()
    return found


def wait_until(seen, what):
    """Poll with a deadline."""
    deadline = time.monotonic() + _MOST_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, dns.exception.DNSException):
            if seen():
                return
        time.sleep(0.02)
    raise AssertionError(f"never: {what}")
