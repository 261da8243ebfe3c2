"""Grafana: what is provisioned fits together, queries parse and ask for metrics that exist, nothing secret shows."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from autogit.core.render import render
from autogit.errors import SettingsError

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = ("prometheus", "loki", "tempo")
CANARY = "canary'\"\\ #{7*7} {{ 7*7 }} 1e3 ünï"
SIGN_IN = f"GRAFANA_GITLAB_SIGN_IN=true\nGRAFANA_GITLAB_CLIENT_ID=id-1\nGRAFANA_GITLAB_CLIENT_SECRET='{'s' * 40}'\n"
# What each exporter shows. A name that is not here is a slip of the pen or a new one: look it up, then add it.
METRICS = {
    "prometheus": "up ALERTS",
    "node-exporter": "node_cpu_seconds_total node_memory_MemAvailable_bytes node_memory_MemTotal_bytes node_load1 "
    "node_filesystem_avail_bytes node_filesystem_size_bytes node_disk_io_time_seconds_total node_vmstat_oom_kill",
    "cadvisor": "container_cpu_usage_seconds_total container_memory_working_set_bytes "
    "container_spec_memory_limit_bytes container_network_receive_bytes_total container_network_transmit_bytes_total "
    "container_oom_events_total container_start_time_seconds container_last_seen",
    "traefik": "traefik_entrypoint_requests_total traefik_open_connections traefik_config_last_reload_success "
    "traefik_config_reloads_total traefik_router_requests_total traefik_router_request_duration_seconds_bucket "
    "traefik_router_requests_bytes_total traefik_router_responses_bytes_total traefik_tls_certs_not_after",
    "gitlab-workhorse": "gitlab_workhorse_http_requests_total gitlab_workhorse_http_request_duration_seconds_bucket",
    "gitlab-gitaly": "grpc_server_handled_total",
    "gitlab-sidekiq": "sidekiq_running_jobs sidekiq_jobs_failed_total sidekiq_jobs_queue_duration_seconds_bucket",
    "gitlab's puma": "http_requests_total gitlab_rails_queue_duration_seconds_bucket puma_active_connections "
    "puma_queued_connections puma_max_threads",
    "gitlab's exporters": "sidekiq_queue_size pg_stat_activity_count pg_settings_max_connections "
    "pg_database_size_bytes redis_memory_used_bytes registry_http_requests_total",
    "gitlab-runner": "gitlab_runner_jobs gitlab_runner_concurrent gitlab_runner_jobs_total gitlab_runner_errors_total "
    "gitlab_runner_failed_jobs_total gitlab_runner_job_queue_duration_seconds_bucket "
    "gitlab_runner_job_duration_seconds_bucket gitlab_runner_api_request_statuses_total",
    "dcgm-exporter 4.8": "DCGM_FI_DEV_GPU_UTIL DCGM_FI_DEV_GPU_TEMP DCGM_FI_DEV_FB_USED DCGM_FI_DEV_FB_FREE "
    "DCGM_FI_DEV_POWER_USAGE DCGM_FI_DEV_SM_CLOCK DCGM_FI_DEV_XID_ERRORS",
    "loki": "loki_distributor_bytes_received_total loki_discarded_samples_total loki_ingester_memory_streams",
    "tempo": "tempo_distributor_spans_received_total tempo_discarded_spans_total",
    "tempo's generator": "traces_spanmetrics_calls_total traces_spanmetrics_latency_bucket",
    "autogit, later": "autogit_certificate_not_after_timestamp_seconds autogit_dns_records autogit_dns_drift_records "
    "autogit_dns_last_check_timestamp_seconds autogit_dns_failures_total",
    "api": "autogit_mirror_state autogit_mirror_lag_seconds autogit_mirror_last_proof_timestamp_seconds "
    "autogit_mirror_failures autogit_mirror_last_sync_timestamp_seconds autogit_mirror_sync_seconds "
    "autogit_mirror_sync_changed autogit_mirror_sync_requests autogit_mirror_sync_problems",
    "prompt-filter": "autogit_prompt_filter_requests_total autogit_prompt_filter_verdicts_total "
    "autogit_prompt_filter_seconds_bucket autogit_prompt_filter_bytes_sum autogit_prompt_filter_bytes_bucket "
    "autogit_prompt_filter_failures_total autogit_prompt_filter_waiting autogit_prompt_filter_unjudged_total "
    "autogit_quarantine_texts autogit_quarantine_bytes autogit_quarantine_limit_bytes",
}
KNOWN = {name for names in METRICS.values() for name in names.split()}
# Grafana's own variables, as it would fill them in.
FILLED = {
    "$__rate_interval": "1m", "$__range": "6h", "$__auto": "1m", "${search:doublequote}": '"x \\" y"',
    "$router": "gitlab@file|api@file", "$service": "gitlab|loki", "$mirror": "github-you",
    "${__tags}": 'service="traefik"',
    "${__span.traceId}": "0af7651916cd43dd8448eb211c80319c",
}  # fmt: skip
_LABEL = r"[a-zA-Z_]\w*"
_TEXT = r'"(?:[^"\\]|\\.)*"'
# The part of LogQL in use: a selector with a matcher, line filters, parsers, label filters (Loki, LogQL, log queries).
LOG_QUERY = re.compile(
    rf"\{{\s*{_LABEL}\s*(?:=~|!~|!=|=)\s*{_TEXT}(?:\s*,\s*{_LABEL}\s*(?:=~|!~|!=|=)\s*{_TEXT})*\s*\}}"
    rf"(?:\s*(?:\|=|\|~|!=|!~)\s*{_TEXT}|\s*\|\s*(?:json|logfmt)|\s*\|\s*{_LABEL}\s*(?:=~|!~|!=|=)\s*{_TEXT})*\s*"
)
METRIC_QUERY = re.compile(
    rf"(?:sum|min|max|avg|count)(?: by \({_LABEL}(?:, {_LABEL})*\))? "
    r"\((?:rate|count_over_time)\((?P<log>.*) \[\d+[smh]\]\)\)"
)


@pytest.fixture
def grafana(workbench):
    """A function that builds a platform with Grafana in Docker, and returns it with Grafana's rendered files."""
    workbench.facts = replace(workbench.facts, cpus=64, memory_bytes=256 * 1024**3)

    def build(*others, env=""):
        services = ",".join(("grafana", *others))
        spec = workbench.spec(f"RUNTIME=docker\nSERVICES_ENABLED={services}\n{env}")
        files = {p.removeprefix("grafana/"): f.text for p, f in render(spec).files.items() if p.startswith("grafana/")}
        return spec, files

    return build


@pytest.fixture
def dashboards(grafana):
    _, files = grafana()
    return {path: json.loads(text) for path, text in files.items() if path.endswith(".json")}


def _environment(spec):
    return next(s for s in spec.running if s.name == "grafana").container.environment


def _expressions(dashboards, source):
    """Every query of a kind of data source, with its dashboard and panel."""
    for path, dashboard in dashboards.items():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                if target["datasource"]["type"] == source:
                    yield f"{path}: {panel['title']}", target.get("expr") or target["query"]


def _filled(expression):
    for name, value in FILLED.items():
        expression = expression.replace(name, value)
    return expression


def _provisioned(files):
    """The data sources as Grafana takes them in: `$$` is a dollar sign, a single one would be its environment."""
    text = files["datasources/platform.yml"]
    assert not re.search(r"(?<!\$)\$(?!\$)\w", re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE))
    return yaml.safe_load(text.replace("$$", "$"))["datasources"]


def _uids(value):
    if isinstance(value, dict):
        yield from (v for k, v in value.items() if k == "datasourceUid")
        if isinstance(value.get("datasource"), dict):
            yield value["datasource"]["uid"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _uids(item)


@pytest.mark.parametrize("others", [c for n in range(4) for c in itertools.combinations(BACKENDS, n)], ids="-".join)
def test_data_sources_are_those_that_run_and_link_to_no_other(grafana, others):
    _, files = grafana(*others)
    found = _provisioned(files)
    assert [d["uid"] for d in found] == [d["type"] for d in found]
    # A service may bring another along; what is asked for is always there.
    assert set(others) <= {d["uid"] for d in found}
    assert set(_uids(found)) <= {d["uid"] for d in found}
    assert all(re.fullmatch(rf"http://{d['uid']}:\d+", d["url"]) for d in found)


def test_trace_log_and_metric_lead_to_each_other(grafana):
    _, files = grafana(*BACKENDS)
    data = {d["uid"]: d["jsonData"] for d in _provisioned(files)}
    assert data["prometheus"]["exemplarTraceIdDestinations"] == [{"name": "trace_id", "datasourceUid": "tempo"}]
    (field,) = data["loki"]["derivedFields"]
    assert (field["matcherType"], field["matcherRegex"], field["url"]) == ("label", "trace_id", "${__value.raw}")
    assert LOG_QUERY.fullmatch(_filled(data["tempo"]["tracesToLogsV2"]["query"]))
    assert data["tempo"]["serviceMap"] == {"datasourceUid": "prometheus"}
    assert "$" not in _filled(json.dumps([q["query"] for q in data["tempo"]["tracesToMetrics"]["queries"]]))


def test_every_data_source_that_a_dashboard_names_is_provisioned(grafana, dashboards):
    _, files = grafana(*BACKENDS)
    assert set(_uids(list(dashboards.values()))) == {d["uid"] for d in _provisioned(files)}


def test_the_provider_reads_the_folder_that_is_mounted(grafana):
    spec, files = grafana()
    (provider,) = yaml.safe_load(files["dashboards/platform.yml"])["providers"]
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards"
    mounts = {m.target for m in next(s for s in spec.running if s.name == "grafana").container.mounts}
    assert "/etc/grafana/provisioning" in mounts
    assert (
        _environment(spec)["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].removeprefix("/etc/grafana/provisioning/")
        in files
    )


def test_eight_dashboards_can_be_told_apart_and_hold_no_ids_of_another_grafana(dashboards):
    assert len(dashboards) == len({d["uid"] for d in dashboards.values()}) == 8
    for path, dashboard in dashboards.items():
        assert "id" not in dashboard, path
        assert "__inputs" not in json.dumps(dashboard), path
        assert dashboard["links"][0]["tags"] == dashboard["tags"], path


def test_every_panel_says_what_it_shows_and_in_what_unit(dashboards):
    for path, dashboard in dashboards.items():
        panels = dashboard["panels"]
        assert len({p["id"] for p in panels}) == len(panels), path
        assert len({p["title"] for p in panels}) == len(panels), path
        for panel in panels:
            assert len(panel["description"]) > 10, (path, panel["title"])
            assert panel["targets"], (path, panel["title"])
            assert panel["type"] in {"timeseries", "stat", "state-timeline", "bargauge", "table", "logs"}
            assert panel["type"] == "logs" or panel["fieldConfig"]["defaults"]["unit"], (path, panel["title"])


def test_panels_lie_beside_each_other_and_never_over_each_other(dashboards):
    for path, dashboard in dashboards.items():
        taken = set()
        for panel in dashboard["panels"]:
            g = panel["gridPos"]
            own = set(itertools.product(range(g["x"], g["x"] + g["w"]), range(g["y"], g["y"] + g["h"])))
            assert not own & taken, (path, panel["title"])
            assert g["x"] + g["w"] <= 24, (path, panel["title"])
            taken |= own


def test_every_variable_is_declared_and_used(dashboards):
    for path, dashboard in dashboards.items():
        text = json.dumps(dashboard["panels"])
        used = {name for name in re.findall(r"\$\{?(\w+)", text) if not name.startswith("__")}
        assert used == {v["name"] for v in dashboard["templating"]["list"]}, path


def test_every_promql_expression_is_taken_by_promtool_and_asks_for_a_known_metric(
    grafana, dashboards, promtool, tmp_path
):
    _, files = grafana(*BACKENDS)
    asked = dict(enumerate(_expressions(dashboards, "prometheus")))
    links = next(d for d in _provisioned(files) if d["uid"] == "tempo")["jsonData"]["tracesToMetrics"]["queries"]
    asked |= {len(asked) + i: (q["name"], q["query"]) for i, q in enumerate(links)}
    assert len(asked) > 70
    rules = [{"record": f"query:{i}", "expr": _filled(expr)} for i, (_, expr) in asked.items()]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    used = {name: place for place, expr in asked.values() for name in _metrics(expr)}
    variables = [v for d in dashboards.values() for v in d["templating"]["list"] if "qryType" in str(v["query"])]
    used |= {name: "a variable" for v in variables for name in re.findall(r"label_values\((\w+),", v["query"]["query"])}
    assert {name: place for name, place in used.items() if name not in KNOWN} == {}
    assert KNOWN - set(used) == set()


def _metrics(expression):
    """The metrics in a PromQL expression: what is left without texts, labels, grouping, functions and ranges."""
    bare = re.sub(_TEXT, '""', _filled(expression))
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(?:by|without|on|ignoring)\s*\([^)]*\)", "", bare)
    return set(re.findall(r"\b[A-Za-z_]\w*\b(?!\s*\()", bare)) - {
        "or",
        "and",
        "unless",
        "bool",
        "sum",
        "min",
        "max",
        "by",
    }


def test_every_logql_expression_selects_streams_and_uses_stages_that_exist(dashboards):
    asked = list(_expressions(dashboards, "loki"))
    assert len(asked) >= 5
    for place, expression in asked:
        text = _filled(expression)
        metric = METRIC_QUERY.fullmatch(text)
        assert LOG_QUERY.fullmatch(metric["log"] if metric else text), (place, text)
        assert "$" not in text, place


@pytest.mark.parametrize(
    "wrong", ["{}", '{a="b"', "{a=b}", '{a="b"} | jsn', '|= "x"', '{a="b"} |= x', '{a="b"} | json |']
)
def test_the_check_of_logql_finds_what_is_wrong(wrong):
    assert not LOG_QUERY.fullmatch(wrong)


def test_panels_without_data_yet_say_so(dashboards):
    for dashboard in dashboards.values():
        for panel in dashboard["panels"]:
            asked = {name for target in panel["targets"] for name in re.findall(r"autogit_\w+", target.get("expr", ""))}
            later = bool(asked & set(METRICS["autogit, later"].split()))
            assert later == ("from a later version on" in panel["description"]), panel["title"]


def test_the_committed_dashboards_are_what_the_script_makes():
    found = importlib.util.spec_from_file_location("dashboards", ROOT / "scripts" / "dashboards.py")
    script = sys.modules["dashboards"] = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(script)
        made = script.dashboard_files()
    finally:
        del sys.modules["dashboards"]
    folder = ROOT / "templates" / "services" / "grafana" / "config" / "dashboards"
    assert made == {p.name: p.read_text() for p in folder.glob("*.json")}


def test_secrets_are_paths_and_stand_in_no_file(grafana):
    env = f"{SIGN_IN}GRAFANA_ADMIN_PASSWORD=admin-canary\nGRAFANA_SECRET_KEY=key-canary\n"
    spec, files = grafana("gitlab", env=env)
    everything = "".join(files.values()) + render(spec).files["docker-compose.yml"].text
    assert not re.search(r"canary|s{40}", everything)
    secret = {k: v for k, v in _environment(spec).items() if re.search(r"PASSWORD|SECRET", k)}
    assert secret == {
        "GF_SECURITY_ADMIN_PASSWORD__FILE": "/run/secrets/GRAFANA_ADMIN_PASSWORD",
        "GF_SECURITY_SECRET_KEY__FILE": "/run/secrets/GRAFANA_SECRET_KEY",
        "GF_AUTH_GITLAB_CLIENT_SECRET__FILE": "/run/secrets/GRAFANA_GITLAB_CLIENT_SECRET",
    }


def test_grafana_is_closed_and_asks_nothing_of_the_internet(grafana):
    spec, _ = grafana()
    env = _environment(spec)
    off = [k for k, v in env.items() if v == "false"]
    assert {"GF_USERS_ALLOW_SIGN_UP", "GF_AUTH_ANONYMOUS_ENABLED", "GF_ANALYTICS_REPORTING_ENABLED"} <= set(off)
    assert {
        "GF_ANALYTICS_CHECK_FOR_UPDATES",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES",
        "GF_NEWS_NEWS_FEED_ENABLED",
    } <= set(off)
    assert (env["GF_PLUGINS_PREINSTALL_DISABLED"], env["GF_SECURITY_COOKIE_SECURE"]) == ("true", "true")
    container = next(s for s in spec.running if s.name == "grafana").container
    assert "egress" not in container.networks
    assert (container.user, container.read_only, container.tmpfs) == ("472:0", True, ("/tmp",))


@pytest.mark.parametrize("tier", ["minimal", "homelab", "team", "production"])
def test_no_tier_leaves_out_a_data_source_that_is_provisioned(grafana, tier):
    spec, _ = grafana(env=f"SIZE={tier}\n")
    assert not set(BACKENDS) & set(_environment(spec)["GF_PLUGINS_DISABLE_PLUGINS"].split(","))


def test_nothing_of_sign_in_is_active_when_it_is_off(grafana):
    env = "GRAFANA_GITLAB_CLIENT_ID=id-1\nGRAFANA_ALLOWED_GROUPS=staff\nGRAFANA_GITLAB_CLIENT_SECRET=left-over\n"
    spec, _ = grafana("gitlab", env=env)
    gitlab = {k.removeprefix("GF_AUTH_GITLAB_"): v for k, v in _environment(spec).items() if "GITLAB" in k}
    assert gitlab.pop("ENABLED") == "false"
    switches = {"SCOPES", "USE_PKCE", "USE_REFRESH_TOKEN", "ALLOW_ASSIGN_GRAFANA_ADMIN", "SKIP_ORG_ROLE_SYNC"}
    assert {k for k, v in gitlab.items() if v} == switches
    mounts = next(s for s in spec.running if s.name == "grafana").container.mounts
    assert [m.source for m in mounts if m.target == "/etc/autogit/ingress.pem"] == ["/dev/null"]


@pytest.mark.parametrize("ingress", ["traefik", "nginx"])
def test_sign_in_sends_browsers_to_the_public_address_and_calls_gitlab_on_the_web_network(grafana, ingress):
    env = f"{SIGN_IN}INGRESS={ingress}\nHTTPS_PORT=9443\nBASE_DOMAIN=example.org\n"
    env += "GRAFANA_ALLOWED_GROUPS='staff, ops/core'\n"
    spec, _ = grafana("gitlab", env=env)
    found = _environment(spec)
    assert found["GF_SERVER_ROOT_URL"] == "https://grafana.example.org:9443/"
    assert found["GF_AUTH_GITLAB_AUTH_URL"] == "https://gitlab.example.org:9443/oauth/authorize"
    assert found["GF_AUTH_GITLAB_TOKEN_URL"] == "https://gitlab.example.org:9443/oauth/token"
    assert found["GF_AUTH_GITLAB_API_URL"] == "https://gitlab.example.org:9443/api/v4"
    assert found["GF_AUTH_GITLAB_ALLOWED_GROUPS"] == "staff, ops/core"
    assert found["GF_AUTH_GITLAB_ENABLED"] == "true"
    container = next(s for s in spec.running if s.name == "grafana").container
    door = next(s for s in spec.running if s.name == ingress)
    # The public name leads to the ingress, which listens on the public port inside too.
    assert "gitlab.example.org" in door.container.networks["web"]
    assert 9443 in {p.container_port for p in door.container.ports}
    assert "web" in container.networks
    trusted = next(m for m in container.mounts if m.target == found["GF_AUTH_GITLAB_TLS_CLIENT_CA"])
    assert (trusted.source, trusted.read_only) == (spec.certificate.root, True)
    assert not any(m.source == spec.certificate.key or m.source == str(spec.paths.certs) for m in container.mounts)


def test_sign_in_waits_for_its_application_and_without_gitlab_it_is_refused(grafana):
    found = _environment(grafana("gitlab", env="\nGRAFANA_GITLAB_SIGN_IN=true\n")[0])
    names = ("ENABLED", "CLIENT_ID__FILE", "CLIENT_SECRET__FILE")
    assert [found[f"GF_AUTH_GITLAB_{name}"] for name in names] == ["false", "", ""]
    with pytest.raises(SettingsError) as refused:
        grafana(env=SIGN_IN)
    assert [f.message for f in refused.value.faults] == ["needs the service gitlab: add it to SERVICES_ENABLED"]


@pytest.mark.parametrize("value", [CANARY, "$HOME $(id) `id`", "a,b\nGF_LOG_LEVEL=debug"])
def test_hostile_values_stay_values(grafana, workbench, value):
    settings = workbench.settings(f"RUNTIME=docker\nSERVICES_ENABLED=grafana,gitlab\n{SIGN_IN}")
    given = {**settings.service_settings, "GRAFANA_ALLOWED_GROUPS": value}
    spec = _build(workbench, settings.model_copy(update={"service_settings": given}))
    read = yaml.safe_load(render(spec).files["docker-compose.yml"].text)["services"]["grafana"]["environment"]
    # A line break comes back as a space: the image reads its environment line by line.
    assert read["GF_AUTH_GITLAB_ALLOWED_GROUPS"].replace("$$", "$") == " ".join(value.split())


def _build(workbench, settings):
    from autogit.core.spec import build_spec

    workbench.facts = replace(workbench.facts, cpus=64, memory_bytes=256 * 1024**3)
    return build_spec(settings, workbench.catalogue(), workbench.facts, workbench.lockfile, workbench.paths)
