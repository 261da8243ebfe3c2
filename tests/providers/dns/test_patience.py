"""Asking again: a read is repeated, a write is carried out once, however often its answer is lost."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from autogit.errors import ProviderAuthError, RateLimitedError, StalePlanError, UnavailableError
from autogit.model.dns import Zone, record_set
from autogit.model.project import ProjectPaths
from autogit.providers.base import ProviderContext
from autogit.providers.dns.memory import MemoryConfig, MemoryDNS
from autogit.providers.dns.patience import LONGEST_WAIT_SECONDS, PatientDNS
from autogit.testing.dns import DNSProviderContract

ZONE = Zone("home.test", "home.test")
OLD = record_set("git.home.test", "A", 300, ["192.0.2.1"])
NEW = record_set("git.home.test", "A", 300, ["192.0.2.2"])
LOST = UnavailableError("memory: no answer")


class Flaky(MemoryDNS):
    """Fails as told, before or after it has done what was asked; counts what was asked."""

    def __init__(self, context, config):
        super().__init__(context, config)
        self.before, self.after, self.asked = [], [], []
        self.meanwhile = None

    async def _do(self, name, work):
        self.asked.append(name)
        if self.before and (exc := self.before.pop(0)):
            raise exc
        found = await work()
        if self.meanwhile:
            await self.meanwhile()
        if self.after and (exc := self.after.pop(0)):
            raise exc
        return found

    async def list_records(self, zone, keys=None):
        self.asked.append("list")
        return await super().list_records(zone, keys)

    async def list_zones(self):
        return await self._do("zones", super().list_zones)

    async def create_record(self, zone, wanted):
        return await self._do("create", partial(super().create_record, zone, wanted))

    async def update_record(self, zone, old, wanted):
        return await self._do("update", partial(super().update_record, zone, old, wanted))

    async def delete_record(self, zone, old):
        return await self._do("delete", partial(super().delete_record, zone, old))


@pytest.fixture
def flaky(tmp_path):
    return Flaky(ProviderContext(ProjectPaths(tmp_path, tmp_path / ".env")), MemoryConfig(zones=("home.test",)))


@pytest.fixture
def waits():
    return []


@pytest.fixture
def patient(flaky, waits):
    async def sleep(seconds):
        waits.append(seconds)

    return PatientDNS(flaky, sleep)


class TestPatientMemory(DNSProviderContract):
    @pytest.fixture
    def provider(self, patient):
        return patient

    @pytest.fixture
    def zone(self):
        return ZONE


def kept(flaky):
    return [s.values for s in asyncio.run(MemoryDNS.list_records(flaky, ZONE))]


def test_it_goes_by_its_providers_name(patient, flaky):
    assert (patient.provider_name, patient.capabilities) == ("memory", flaky.capabilities)


def test_a_read_is_asked_again_with_longer_and_longer_pauses(patient, flaky, waits):
    flaky.before = [LOST, LOST, LOST]
    assert [z.name for z in asyncio.run(patient.list_zones())] == ["home.test"]
    assert waits == [1.0, 3.0, 9.0]


def test_after_four_tries_the_last_error_is_told(patient, flaky):
    flaky.before = [LOST] * 9
    with pytest.raises(UnavailableError, match="no answer"):
        asyncio.run(patient.list_zones())
    assert flaky.asked == ["zones"] * 4


def test_it_waits_as_long_as_it_is_told(patient, flaky, waits):
    flaky.before = [RateLimitedError("memory: too many", retry_after_seconds=77)]
    asyncio.run(patient.create_record(ZONE, NEW))
    assert waits == [77]
    assert flaky.asked == ["create", "create"], "what was refused was not carried out: no need to look"


def test_nobody_is_kept_waiting_for_longer_than_two_minutes(patient, flaky, waits):
    flaky.before = [RateLimitedError("memory: too many", retry_after_seconds=LONGEST_WAIT_SECONDS + 1)]
    with pytest.raises(RateLimitedError):
        asyncio.run(patient.create_record(ZONE, NEW))
    assert waits == []


def test_a_write_whose_answer_was_lost_is_looked_at_and_not_repeated(patient, flaky):
    flaky.after = [LOST]
    asyncio.run(patient.create_record(ZONE, NEW))
    assert flaky.asked == ["create", "list"]
    assert kept(flaky) == [NEW.values]


def test_a_write_that_was_not_carried_out_is_repeated(patient, flaky):
    asyncio.run(patient.create_record(ZONE, OLD))
    flaky.asked.clear()
    flaky.before = [LOST]
    asyncio.run(patient.update_record(ZONE, OLD, NEW))
    assert flaky.asked == ["update", "list", "update"]
    assert kept(flaky) == [NEW.values]


def test_a_delete_whose_answer_was_lost_is_done(patient, flaky):
    asyncio.run(patient.create_record(ZONE, OLD))
    flaky.asked.clear()
    flaky.after = [LOST]
    asyncio.run(patient.delete_record(ZONE, OLD))
    assert flaky.asked == ["delete", "list"]
    assert kept(flaky) == []


def test_what_others_wrote_while_the_answer_was_lost_stays(patient, flaky):
    others = record_set("git.home.test", "A", 300, ["192.0.2.77"])
    asyncio.run(patient.create_record(ZONE, OLD))

    async def meanwhile():
        flaky.meanwhile = None
        await MemoryDNS.update_record(flaky, ZONE, NEW, others)

    flaky.meanwhile, flaky.after = meanwhile, [LOST]
    with pytest.raises(StalePlanError, match=r"192\.0\.2\.77"):
        asyncio.run(patient.update_record(ZONE, OLD, NEW))
    assert kept(flaky) == [others.values]


def test_wrong_credentials_are_told_at_once(patient, flaky, waits):
    flaky.before = [ProviderAuthError("memory: no")]
    with pytest.raises(ProviderAuthError):
        asyncio.run(patient.list_zones())
    assert (flaky.asked, waits) == (["zones"], [])
