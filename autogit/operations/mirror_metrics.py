"""What Prometheus sees of the mirrors: each copy's last proof, the states, and the last sync."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from autogit.core.mirrors import standing
from autogit.errors import AutogitError
from autogit.model.mirror import MirrorRecord, MirrorRule, MirrorState
from autogit.model.project import ProjectPaths
from autogit.operations.mirror_last_sync import read_last_sync, running_sync
from autogit.operations.mirror_wiring import read_declared
from autogit.providers.host.mirror_records import MirrorRecords

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_text(paths: ProjectPaths, now: datetime) -> bytes:
    """Return everything in Prometheus' text form; what cannot be read is left out, for its alert to miss."""
    registry = CollectorRegistry()
    registry.register(_Collector(paths, now))
    return generate_latest(registry)


class _Collector:
    """The mirrors as they are at the moment of asking: other processes write what is read here."""

    def __init__(self, paths: ProjectPaths, now: datetime) -> None:
        self._paths = paths
        self._now = now

    def collect(self) -> Iterable[Metric]:
        """Yield what is known."""
        with suppress(AutogitError):
            rules = read_declared(self._paths.mirror_rules)
            yield GaugeMetricFamily("autogit_mirror_rules", "Mirrors that are declared", len(rules))
            records = MirrorRecords(self._paths.mirrors / "records.sqlite").load() if rules else []
            yield from _of_rules(rules, records, self._now)
            yield from _of_repositories({rule.name for rule in rules}, records, self._now)
        yield from _of_sync(self._paths)


def _of_rules(rules: Sequence[MirrorRule], records: Sequence[MirrorRecord], now: datetime) -> Iterator[Metric]:
    states = GaugeMetricFamily("autogit_mirror_state", "Repositories by state", labels=["mirror", "state"])
    limits = GaugeMetricFamily(
        "autogit_mirror_stale_after_seconds", "Age of a last proof from which on a copy is stale", labels=["mirror"]
    )
    for rule in rules:
        found = [standing(record, rule, now) for record in records if record.rule == rule.name]
        for state in MirrorState:
            states.add_metric([rule.name, str(state)], found.count(state))
        limits.add_metric([rule.name], rule.stale_after_seconds)
    yield from (states, limits)


def _of_repositories(rules: set[str], records: Sequence[MirrorRecord], now: datetime) -> Iterator[Metric]:
    labels = ["mirror", "repository"]
    proofs = GaugeMetricFamily(
        "autogit_mirror_last_proof_timestamp_seconds", "When a copy was last proven equal to its source", labels=labels
    )
    lags = GaugeMetricFamily("autogit_mirror_lag_seconds", "Age of the last proof", labels=labels)
    targets = GaugeMetricFamily(
        "autogit_mirror_target_last_proof_timestamp_seconds",
        "When a project in GitLab was last proven to hold what its copy has",
        labels=labels,
    )
    failures = GaugeMetricFamily(
        "autogit_mirror_failures", "Attempts that failed since the last one that went well", labels=labels
    )
    for record in _one_each(record for record in records if record.rule in rules):
        values = [record.rule, record.path]
        failures.add_metric(values, record.failures)
        if record.proof:
            proofs.add_metric(values, record.proof.at.timestamp())
            lags.add_metric(values, max(0.0, (now - record.proof.at).total_seconds()))
        if record.target and record.target.proof:
            targets.add_metric(values, record.target.proof.at.timestamp())
    yield from (proofs, lags, targets, failures)


def _one_each(records: Iterable[MirrorRecord]) -> Iterable[MirrorRecord]:
    """Leave out what is gone where another repository has its name by now: Prometheus takes no name twice."""
    found: dict[tuple[str, str], MirrorRecord] = {}
    for record in sorted(records, key=lambda one: one.gone_since is None and not one.moved):
        found[(record.rule, record.path)] = record
    return found.values()


def _of_sync(paths: ProjectPaths) -> Iterator[Metric]:
    is_running = running_sync(paths) is not None
    yield GaugeMetricFamily("autogit_mirror_sync_running", "Whether a sync is at work", is_running)
    last = read_last_sync(paths)
    if last is None or not last.at:
        return
    ended = datetime.fromisoformat(last.at).timestamp()
    yield GaugeMetricFamily("autogit_mirror_last_sync_timestamp_seconds", "When the last sync of all ended", ended)
    yield GaugeMetricFamily("autogit_mirror_sync_seconds", "How long it took", last.seconds)
    yield GaugeMetricFamily("autogit_mirror_sync_changed", "Repositories that had something new", last.changed)
    yield GaugeMetricFamily("autogit_mirror_sync_requests", "Requests to forges that it took", last.requests)
    yield GaugeMetricFamily(
        "autogit_mirror_sync_problems", "Sources that could not be asked, or not to the end", len(last.problems)
    )
