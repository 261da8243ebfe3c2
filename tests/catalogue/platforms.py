"""Platforms that tests render: everything with either log collector, and each example, on both ingresses."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {
    p.parent.name: p.read_text() for p in sorted((ROOT / "examples").glob("*/.env")) if "docker" in p.read_text()
}
EVERYTHING = "gitlab,gitlab-runner,grafana,loki,tempo,prometheus,meilisearch,api,dcgm-exporter,prompt-filter"
_WISHES = {
    collector: f"RUNTIME=docker\nLOG_COLLECTOR={collector}\nSERVICES_ENABLED={EVERYTHING}\nGITLAB_PAGES=true\n"
    "RUNNER_TOKEN=glrt-canary\n"
    for collector in ("alloy", "promtail")
} | EXAMPLES


def without(env, *keys):
    """A `.env` text without some of its keys."""
    return re.sub(rf"(?m)^({'|'.join(keys)})=.*\n", "", env)


PLATFORMS = {
    f"{ingress}-{name}": f"{without(env, 'INGRESS')}INGRESS={ingress}\n"
    for name, env in _WISHES.items()
    for ingress in ("traefik", "nginx")
}
