"""AWS Route 53, held to what AWS takes by a server that is as strict."""

from __future__ import annotations

import pytest

from autogit.model.project import ProjectPaths
from autogit.providers.base import ProviderContext
from autogit.providers.dns.route53 import Route53Config, Route53DNS
from autogit.testing.dns import DNSProviderContract
from tests.providers.dns.aws import KEY_ID, SECRET, running_aws

pytestmark = pytest.mark.integration

CONTEXT = ProviderContext(ProjectPaths("/nowhere", "/nowhere/.env"))


async def no_pause(_seconds):
    pass


@pytest.fixture
def aws(monkeypatch, tmp_path):
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with running_aws() as server:
        yield server


def provider_of(aws, **settings):
    keys = {"access_key_id": KEY_ID, "secret_access_key": SECRET, "endpoint_url": aws.url}
    return Route53DNS(CONTEXT, Route53Config(**(keys | settings)), sleep=no_pause)


@pytest.fixture
def provider(aws):
    return provider_of(aws)


class TestContract(DNSProviderContract):
    @pytest.fixture
    def provider(self, aws):
        aws.page = 6
        return provider_of(aws)

    @pytest.fixture
    def zone(self, aws, provider):
        aws.add_zone("home.test")
        return self.run(provider.find_zone("home.test"))
