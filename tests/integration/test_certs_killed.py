"""A renewal that is killed between two of its steps: what was served is served, and the next run converges."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.integration.certs_lab import laboratory

pytestmark = pytest.mark.integration

# The real command, in which one function ends the process at once, before or after its work.
DYING = """
import functools, importlib, os, signal, sys

module, name, when, words = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
owner = importlib.import_module(module)
*path, last = name.split(".")
for part in path:
    owner = getattr(owner, part)
work = getattr(owner, last)

@functools.wraps(work)
def dying(*given, **told):
    if when == "after":
        work(*given, **told)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, last, dying)
sys.argv = ["autogit", *words]
from autogit.__main__ import main
sys.exit(main())
"""
STEPS = {
    "before the order": ("autogit.providers.ssl.acme", "AcmeIssuer._ordered", "before"),
    "issued, and not in the store": ("autogit.providers.ssl.acme", "AcmeIssuer._store", "before"),
    "written beside its place": ("pathlib", "Path.rename", "before"),
    "in the store, and not remembered": ("autogit.providers.ssl.store", "CertificateStore.write", "after"),
    "in the store, and not named": ("autogit.providers.ssl.store", "CertificateStore.tidy", "after"),
    "about to be named": ("autogit.providers.host.files", "HostFiles._carry_out", "before"),
    "named, and not recorded": ("autogit.providers.host.files", "HostFiles._carry_out", "after"),
    "named, and not proven": ("autogit.operations.asked_routes", "await_routes", "before"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with laboratory(tmp_path_factory.mktemp("killed"), zones=1) as lab, lab.site() as site:
        site.run("up", "--yes")
        yield site


@pytest.mark.parametrize("step", STEPS)
def test_between_any_two_steps_of_a_renewal(site, step):
    victim = subprocess.run(
        [sys.executable, "-c", DYING, *STEPS[step], "certs", "renew", "--force"],
        cwd=site.home.root,
        env=site.home.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    site.said += [victim.stdout, victim.stderr]
    assert victim.returncode == -signal.SIGKILL, victim.stderr
    assert site.serving(), "what browsers accept is served, whatever was under way"
    site.certs("renew")
    site.is_well()
    assert site.secrets_shown() == []
