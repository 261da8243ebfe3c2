"""Taking back: files of a run that does not work are put back, and who was told of them is told again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from autogit.core.store import LockfileStore, Recorder
from autogit.errors import NotReadyError
from autogit.model.lockfile import LockEntry, Lockfile
from autogit.model.plan import Action, ApplyResult, Change, FieldChange, Outcome, Plan, Policy
from autogit.model.project import ProjectPaths
from autogit.model.resource import Address, Resource
from autogit.model.spec import CertificateSpec
from autogit.operations.taking_back import Run, take_certificate_back, take_refused_back

NGINX, TLS, CONF = Address("process", "nginx"), Address("file", "nginx/tls.conf"), Address("file", "nginx/nginx.conf")
CERTIFICATE = CertificateSpec(
    "a.test", "local", ("a.test",), 2, "/p/certs/a.test/v2/fullchain.pem", "/p/certs/a.test/v2/key.pem"
)


class Processes:
    """Carries out whatever it is given, and remembers it."""

    kinds = ("process",)

    def __init__(self):
        self.told = []

    async def apply(self, changes):
        for change in changes:
            self.told.append((change.address, change.action, change.after.attributes["reload"]))
            yield Outcome(change.address, change.action, ok=True, attributes=dict(change.after.attributes))


def _file(address, text):
    return Change(
        address,
        Action.UPDATE,
        "",
        (),
        Resource(address, {"sha256": "old"}),
        Resource(address, {"sha256": "new"}, payload=text),
    )


@pytest.fixture
def run(tmp_path):
    """A run that wrote both files of nginx, the one with the new certificate (as a container sees it), and reloaded."""
    paths = ProjectPaths(tmp_path, tmp_path / ".env")
    for address in (TLS, CONF):
        for folder, text in ((paths.previous, "former"), (paths.rendered, "new")):
            (folder / address.name).parent.mkdir(parents=True, exist_ok=True)
            (folder / address.name).write_text(text)
    payload = SimpleNamespace(config_files=())
    told = Change(
        NGINX,
        Action.UPDATE,
        "",
        (FieldChange("reload", "old", "new"),),
        Resource(NGINX, {"reload": "old"}),
        Resource(NGINX, {"reload": "new"}, depends_on=(TLS, CONF), payload=payload),
    )
    tls = _file(TLS, "ssl_certificate /etc/autogit/certs/a.test/v2/fullchain.pem;")
    plan = Plan((tls, _file(CONF, "listen 443;"), told), Policy.SYNC)
    before = {a: LockEntry(a, {name: "old"}) for a, name in ((TLS, "sha256"), (CONF, "sha256"), (NGINX, "reload"))}

    def made(error=None):
        landed = [Outcome(c.address, c.action, ok=True) for c in plan.changes[:2]]
        store = LockfileStore(tmp_path / "autogit.lock.json", tmp_path / "previous.json")
        recorder = Recorder(store, Lockfile(entries=before))
        result = ApplyResult((*landed, Outcome(NGINX, Action.UPDATE, ok=error is None, error=error)), ())
        for change, outcome in zip(plan.changes, result.outcomes, strict=True):
            recorder.note(change, outcome)
        return Run(SimpleNamespace(paths=paths), plan, result, recorder, (Processes(),))

    return made


def _texts(run):
    return {a.name: (run.project.paths.rendered / a.name).read_text() for a in (TLS, CONF)}


def _recorded(run):
    return {a: next(iter(entry.attributes.values())) for a, entry in run.recorder.store.load().entries.items()}


def test_a_certificate_that_is_not_served_is_taken_out_of_the_file_that_names_it_and_of_no_other(run):
    one = run()
    asyncio.run(take_certificate_back(one, CERTIFICATE))
    assert _texts(one) == {TLS.name: "former", CONF.name: "new"}
    assert one.providers[0].told == [(NGINX, Action.UPDATE, "old")], "else the next up would not tell it again"
    assert _recorded(one) == {TLS: "old", CONF: "new", NGINX: "old"}


def test_files_that_were_refused_are_all_put_back(run):
    one = run(NotReadyError("nginx cannot read its new files"))
    asyncio.run(take_refused_back(one))
    assert set(_texts(one).values()) == {"former"}
    assert set(_recorded(one).values()) == {"old"}


def test_nothing_is_taken_back_where_nothing_was_refused(run):
    one = run()
    asyncio.run(take_refused_back(one))
    assert set(_texts(one).values()) == {"new"}
    assert one.providers[0].told == []
