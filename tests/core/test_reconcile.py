"""The loop as a whole, over a world in memory: what was applied plans to nothing, and every reason names its cause."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from autogit.core.reconcile import Engine, carry_out, prepare, record_in_sync
from autogit.core.settings import build_settings
from autogit.core.store import LockfileStore
from autogit.errors import UnsupportedError
from autogit.model.host import CertificateFacts
from autogit.model.plan import Action
from autogit.model.resource import Address

ENV = "SERVICES_ENABLED=api,prometheus\nSIZE=minimal\n"


class Loop:
    """An engine over the in-memory reconciler whose `.env` can be changed."""

    def __init__(self, workbench, memory):
        self.workbench, self.memory, self.env = workbench, memory, ENV

    def engine(self):
        async def facts():
            return self.workbench.facts

        def former(key, value):
            pairs = dict(line.split("=", 1) for line in self.env.splitlines())
            pairs.pop(key, None)
            pairs |= {key: value} if value else {}
            return build_settings(pairs, catalogue.descriptors, env_dir=self.workbench.paths.root)

        paths = self.workbench.paths
        settings, catalogue = self.workbench.settings(self.env), self.workbench.catalogue()
        store = LockfileStore(paths.lockfile, paths.state / "previous.json")
        clock = lambda: datetime(2026, 11, 24, tzinfo=UTC)  # noqa: E731
        return Engine(paths, settings, catalogue, store, [self.memory], facts, former, clock)

    def prepare(self):
        return asyncio.run(prepare(self.engine()))

    def up(self):
        engine = self.engine()

        async def run():
            prepared = await prepare(engine)
            return await carry_out(engine, prepared, prepared.plan, lambda _: None, "up")

        result, recorder = asyncio.run(run())
        facts = CertificateFacts(1, "", ("*.autogit.localhost", "autogit.localhost"), serial="1")
        self.workbench.facts = replace(self.workbench.facts, certificates={"autogit.localhost": facts})
        return result, recorder


@pytest.fixture
def loop(workbench, memory):
    return Loop(workbench, memory)


def _pending(prepared):
    return {str(c.address): (c.action.value, c.reason) for c in prepared.plan.pending}


def test_what_was_applied_plans_to_nothing_and_is_recorded(loop):
    result, _ = loop.up()
    assert not result.failed
    after = loop.prepare()
    assert _pending(after) == {}
    assert after.lockfile.last_apply == {"command": "up", "result": "ok", "at": "2026-11-24T00:00:00Z"}
    assert after.lockfile.settings["SIZE"] == "minimal"
    assert set(after.lockfile.entries) == {r.address for r in after.desired}


def test_a_process_waits_for_its_files_certificate_and_secret(loop):
    loop.up()
    log = loop.memory.log
    own = [a for a in log if a.startswith("file/prometheus")]
    assert log.index("process/prometheus") > max(log.index(a) for a in [*own, "secret/PROMETHEUS_PASSWORD"])
    assert log.index("process/traefik") > log.index("certificate/autogit.localhost")


def test_every_reason_names_the_setting_behind_it(loop):
    loop.up()
    loop.env = "SERVICES_ENABLED=api\nSIZE=team\nPORT_API=9000\n"
    pending = _pending(loop.prepare())
    assert pending["process/prometheus"] == ("delete", "SERVICES_ENABLED without prometheus")
    assert pending["process/traefik"] == ("replace", "SIZE minimal -> team")
    assert pending["process/api"] == ("replace", "PORT_API (unset) -> 9000")
    assert set(pending["file/traefik/dynamic/routes.yml"][1].split("; ")) == {
        "PORT_API (unset) -> 9000",
        "SERVICES_ENABLED without prometheus",
    }


def test_a_due_certificate_is_the_reason_for_everything_it_moves(loop, workbench):
    loop.up()
    due = replace(workbench.facts.certificates["autogit.localhost"], due="20 of 90 days left")
    workbench.facts = replace(workbench.facts, certificates={"autogit.localhost": due})
    pending = _pending(loop.prepare())
    assert set(pending) == {"certificate/autogit.localhost", "file/traefik/dynamic/tls.yml"}
    assert {reason for _, reason in pending.values()} == {"certificate: 20 of 90 days left"}


def test_settings_are_recorded_only_when_everything_landed(loop):
    loop.up()
    loop.env = ENV.replace("minimal", "team")
    loop.memory.failing["process/traefik"] = ()
    result, _ = loop.up()
    assert [str(o.address) for o in result.failed] == ["process/traefik"]
    after = loop.prepare()
    assert after.lockfile.settings["SIZE"] == "minimal"
    assert _pending(after) == {"process/traefik": ("replace", "SIZE minimal -> team")}
    loop.memory.failing.clear()
    loop.up()
    assert loop.prepare().lockfile.settings["SIZE"] == "team"


def test_a_plan_without_changes_still_learns_new_settings(loop):
    loop.up()
    loop.env = ENV + "DNS_TTL=600\n"
    prepared = loop.prepare()
    assert _pending(prepared) == {}
    assert record_in_sync(loop.engine(), prepared).settings["DNS_TTL"] == "600"
    serial = loop.prepare().lockfile.serial
    assert record_in_sync(loop.engine(), loop.prepare()).serial == serial, "nothing new, nothing written"


def test_resources_that_are_as_wished_and_unrecorded_become_ours(loop):
    loop.up()
    loop.workbench.paths.lockfile.unlink()
    prepared = loop.prepare()
    assert {c.action for c in prepared.plan.changes} == {Action.NOOP}
    assert Address("process", "api") in record_in_sync(loop.engine(), prepared).entries


def test_a_kind_that_nobody_holds_is_a_fault(loop, memory, monkeypatch):
    monkeypatch.setattr(memory, "kinds", ("file",), raising=False)
    with pytest.raises(UnsupportedError, match="certificate, process, secret"):
        loop.prepare()


def _apply(loop, *chosen):
    engine = loop.engine()

    async def run():
        prepared = await prepare(engine)
        part = replace(prepared.plan, changes=tuple(c for c in prepared.plan.changes if str(c.address) in chosen))
        await carry_out(engine, prepared, part, lambda _: None, "part")

    asyncio.run(run())


def test_a_part_of_a_plan_records_the_ports_of_what_it_makes_anew_alone(loop):
    loop.up()
    before = loop.prepare().lockfile.ports
    loop.env = ENV + "PORT_API=9000\nHTTPS_PORT=9443\n"
    _apply(loop, "file/traefik/dynamic/routes.yml")
    assert loop.prepare().lockfile.ports == before, "nothing listens elsewhere yet"
    _apply(loop, "process/api")
    assert loop.prepare().lockfile.ports == {**before, "api/http": 9000}


def test_what_waits_for_up_is_not_recorded_as_if_it_were_in_force(loop):
    loop.up()
    before = loop.prepare().lockfile
    loop.env = ENV + "HTTPS_PORT=9443\n"
    after = record_in_sync(loop.engine(), loop.prepare())
    assert (after.settings, after.ports) == (before.settings, before.ports)


def test_autogits_certificate_stays_recorded_until_traefik_is_started_to_order_its_own(loop, memory, monkeypatch):
    common = "SERVICES_ENABLED=api\nBASE_DOMAIN=example.org\nCERT_ISSUER=letsencrypt\nCERT_CHALLENGE=http-01\n"
    loop.env = common
    loop.up()
    own = Address("certificate", "example.org")
    loop.env = common + "CERT_MANAGER=traefik\n"
    held = (*(kind for kind in memory.kinds if kind != "certificate"), "acme_storage")
    monkeypatch.setattr(memory, "kinds", held, raising=False)
    _apply(loop, "acme_storage/letsencrypt", "file/traefik/dynamic/routes.yml")
    assert own in loop.engine().store.load().entries
    loop.up()
    loop.up()
    assert own not in loop.engine().store.load().entries
    assert memory.world[own], "it stays on disk"
