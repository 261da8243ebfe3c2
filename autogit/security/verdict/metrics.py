"""What Prometheus sees of the verdict service: all of its workers together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from autogit.errors import AutogitError
from autogit.model.quarantine import QuarantineSize

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_BYTES = (256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304)
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def share_values(folder: Path, slot: int) -> None:
    """Keep the values of this process in a file of `folder` from now on, so that any worker can tell those of all.

    A worker that takes another's place goes on with its numbers: a counter never falls.
    """
    os.environ[_FOLDER] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]  # as below


class Metrics:
    """Counters and histograms of one worker."""

    def __init__(self, quarantine_size: Callable[[], QuarantineSize]) -> None:
        self._size = quarantine_size
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "autogit_prompt_filter_requests", "Requests judged", ["service", "mode"], registry=registry
        )
        self.verdicts = Counter(
            "autogit_prompt_filter_verdicts",
            "Requests by verdict and by what became of them",
            ["service", "verdict", "action"],
            registry=registry,
        )
        self.seconds = Histogram(
            "autogit_prompt_filter_seconds", "Time from question to answer", buckets=_SECONDS, registry=registry
        )
        self.bytes = Histogram(
            "autogit_prompt_filter_bytes", "Size of what was judged, as it came", buckets=_BYTES, registry=registry
        )
        self.failures = Counter(
            "autogit_prompt_filter_failures",
            "Requests that were not judged here: busy, timeout, error",
            ["reason"],
            registry=registry,
        )
        self.unjudged = Counter(
            "autogit_prompt_filter_unjudged",
            "Requests that the ingress passed or refused without a verdict, as it told with a later one",
            ["outcome"],
            registry=registry,
        )
        self.waiting = Gauge(
            "autogit_prompt_filter_waiting",
            "Requests being judged",
            registry=registry,
            multiprocess_mode="livesum",
        )
        for reason in ("busy", "timeout", "error"):
            self.failures.labels(reason)
        for outcome in ("passed", "refused"):
            self.unjudged.labels(outcome)

    def text(self) -> bytes:
        """Return all of it in Prometheus' text form."""
        registry = self._registry
        if os.environ.get(_FOLDER):
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # it has no annotations
        own = CollectorRegistry()
        own.register(_QuarantineCollector(self._size))
        return generate_latest(registry) + generate_latest(own)


class _QuarantineCollector:
    """The quarantine as it is at the moment of asking: others write to it too."""

    def __init__(self, size: Callable[[], QuarantineSize]) -> None:
        self._size = size

    def collect(self) -> Iterable[Metric]:
        """Yield what is known; nothing where the quarantine cannot be read."""
        try:
            size = self._size()
        except AutogitError:
            return
        texts = GaugeMetricFamily("autogit_quarantine_texts", "Texts in the quarantine", labels=["status"])
        for status, count in size.counts.items():
            texts.add_metric([str(status)], count)
        yield texts
        yield GaugeMetricFamily("autogit_quarantine_bytes", "Bytes that the quarantine takes up", size.used_bytes)
        yield GaugeMetricFamily("autogit_quarantine_limit_bytes", "Bytes it may take up", size.max_bytes)
