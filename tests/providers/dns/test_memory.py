"""The provider that keeps records in memory."""

from __future__ import annotations

import pytest

from autogit.model.dns import Zone
from autogit.model.project import ProjectPaths
from autogit.providers.base import ProviderContext
from autogit.providers.dns.memory import MemoryConfig, MemoryDNS
from autogit.testing.dns import DNSProviderContract


class TestMemory(DNSProviderContract):
    @pytest.fixture
    def provider(self, tmp_path):
        context = ProviderContext(ProjectPaths(tmp_path, tmp_path / ".env"))
        return MemoryDNS(context, MemoryConfig(zones=("home.test", "sub.home.test")))

    @pytest.fixture
    def zone(self):
        return Zone("home.test", "home.test")
