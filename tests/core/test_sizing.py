"""Sizing: the specification's table and its totals, exactly, and what fits a host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autogit.core.sizing import format_size, format_total, go_memory_limit, largest_fitting_tier, tier_total
from autogit.errors import HostTooSmallError
from autogit.model.service import TIERS, SizingTier

TABLE = {
    "gitlab": ("4C/4G", "6C/6G", "12C/16G", "24C/32G"),
    "grafana": ("0.5C/256M", "1C/512M", "2C/1G", "4C/2G"),
    "loki": ("1C/512M", "2C/1G", "4C/4G", "8C/8G"),
    "prometheus": ("1C/512M", "2C/1G", "4C/4G", "8C/8G"),
    "tempo": ("0.5C/256M", "1C/512M", "2C/2G", "4C/4G"),
    "meilisearch": ("1C/512M", "2C/1G", "4C/4G", "8C/16G"),
    "api": ("0.5C/256M", "1C/512M", "2C/1G", "4C/2G"),
    "traefik": ("0.5C/128M", "1C/256M", "2C/512M", "4C/1G"),
}
TOTALS = ("9C/6.5G", "16C/11G", "32C/33G", "64C/73G")


@pytest.mark.parametrize("service", TABLE)
def test_each_service_has_the_sizes_of_the_specification(workbench, service):
    sizing = workbench.catalogue().get(service).descriptor.sizing
    assert tuple(format_size(sizing[tier]) for tier in TIERS) == TABLE[service]


@pytest.mark.parametrize(("tier", "total"), list(zip(TIERS, TOTALS, strict=True)))
def test_each_tier_has_the_total_of_the_specification(workbench, tier, total):
    rows = [workbench.catalogue().get(name).descriptor for name in TABLE]
    assert format_total(*tier_total(rows, tier)) == total


@pytest.mark.parametrize("text", ["", "1C", "1C/2T", "-1C/1G", "1c/1g", "1C/1G extra", "0C/1G", "1C/0M"])
def test_a_size_in_another_form_is_refused(text):
    with pytest.raises(ValueError, match="size|greater than 0"):
        SizingTier.parse(text)


def test_a_host_without_the_memory_is_refused_with_the_tier_that_fits(workbench):
    workbench.facts = replace(workbench.facts, memory_bytes=1024**3)
    with pytest.raises(HostTooSmallError) as refused:
        workbench.spec("SERVICES_ENABLED=api\nSIZE=production\n")
    assert refused.value.hint == "set SIZE=homelab"
    assert "3.0 of 1.0 GB" in refused.value.message
    workbench.facts = replace(workbench.facts, memory_bytes=1024**2)
    with pytest.raises(HostTooSmallError) as refused:
        workbench.spec("SERVICES_ENABLED=api\n")
    assert "SERVICES_ENABLED" in refused.value.hint


def test_too_few_cores_are_a_warning_not_a_refusal(workbench):
    workbench.facts = replace(workbench.facts, cpus=1)
    note = next(n for n in workbench.spec("SERVICES_ENABLED=api\nSIZE=team\n").notes if n.subject == "size")
    assert note.level == "warning"
    assert "4 of 1 cores" in note.message


def test_the_largest_tier_that_fits_is_found(workbench):
    rows = [workbench.catalogue().get(name).descriptor for name in TABLE]
    gib = 1024**3
    assert largest_fitting_tier(rows, 5 * gib) is None
    assert largest_fitting_tier(rows, 7 * gib) == "minimal"
    assert largest_fitting_tier(rows, 40 * gib) == "team"
    assert largest_fitting_tier(rows, 400 * gib) == "production"


def test_a_go_program_collects_before_its_memory_ends():
    assert go_memory_limit(SizingTier(cpus=1, memory_bytes=1000 * 1024**2)) == "900MiB"
