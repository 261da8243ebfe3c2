"""The platforms that the catalogue's tests render: both ingresses, both collectors, everything on, and the examples."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {
    p.parent.name: p.read_text() for p in sorted((ROOT / "examples").glob("*/.env")) if "docker" in p.read_text()
}
EVERYTHING = "gitlab,gitlab-runner,grafana,loki,tempo,prometheus,meilisearch,api,dcgm-exporter"
PLATFORMS = {
    f"{ingress}-{collector}": f"RUNTIME=docker\nINGRESS={ingress}\nLOG_COLLECTOR={collector}\n"
    f"SERVICES_ENABLED={EVERYTHING}\nGITLAB_PAGES=true\nRUNNER_TOKEN=glrt-canary\n"
    for ingress in ("traefik", "nginx")
    for collector in ("alloy", "promtail")
} | EXAMPLES
