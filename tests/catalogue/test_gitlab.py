"""GitLab's and the runner's configuration, evaluated by a real Ruby and read by a real TOML reader."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autogit.core.compose import COMPOSE_FILE
from autogit.core.render import render
from autogit.errors import SettingsError
from autogit.model.service import TIERS

HARNESS = Path(__file__).with_name("omnibus.rb")
OMNIBUS = "gitlab/omnibus.rb"
CONFIG = "gitlab-runner/config.toml"
BOTH = "RUNTIME=docker\nSERVICES_ENABLED=gitlab,gitlab-runner,prometheus\nRUNNER_TOKEN=glrt-canary\n"
SECRETS = {
    "GITLAB_ROOT_PASSWORD": "root-canary",
    "GITLAB_SMTP_PASSWORD": "smtp-canary",
    "GITLAB_REGISTRY_BACKUP_PASSWORD": "backup-canary",
    "GITLAB_REGISTRY_RESTORE_PASSWORD": "restore-canary",
    "RUNNER_TOKEN": "glrt-canary",
}
MAIL = "GITLAB_SMTP_ADDRESS=smtp.example.org\nGITLAB_SMTP_USER=mailer\nGITLAB_SMTP_PASSWORD=smtp-canary\n"
HOSTILE = [
    'it\'s a "quote" and a \\ at the end \\',
    "\\' + system('touch canary') + '",
    "#{system('touch canary')} #$0 #@a",
    "'); system('touch canary'); ('",
    "`touch canary` $(touch canary) ${HOME} $$ $RUNNER_TOKEN",
    "{{ 7 * 7 }} {% raw %} <%= 7 * 7 %>",
    "first\nsecond\n__END__\n=begin\n",
    "%q(x) <<~X %w[a b] :symbol",
    "1e3",
    "yes",
    "0o17",
    "nil",
    "žluťoučký kůň 漢字 🐎 \u2028 \u0085 \ufeff",
    "\x04 \x1a \x1b[31m \x7f \t",
    "]] [runners]\ntoken = 'x'",
]
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


@pytest.fixture
def platform(workbench):
    """A function that builds a platform of a `.env` text, on a host that is large enough for every tier."""
    workbench.facts = replace(workbench.facts, cpus=64, memory_bytes=256 * 1024**3)
    return workbench.spec


@pytest.fixture
def evaluate(ruby, tmp_path):
    """A function that evaluates the omnibus.rb of platforms, in one run of Ruby, and returns their settings."""

    def run(*specs, secrets=SECRETS):
        jobs = [
            {
                "config": render(spec).files[OMNIBUS].text,
                "path": "/etc/autogit/gitlab/omnibus.rb",
                "environment": _service(spec, "gitlab").container.environment["GITLAB_OMNIBUS_CONFIG"],
                "secrets": {f"/run/secrets/{name}": f"{value}\n" for name, value in secrets.items()},
            }
            for spec in specs
        ]
        done = subprocess.run(
            [ruby, "-W0", HARNESS], input=json.dumps(jobs), capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert done.returncode == 0, done.stderr
        results = json.loads(done.stdout)
        for result in results:
            assert result["error"] is None
            assert result["executed"] == []
        assert list(tmp_path.glob("canary")) == []
        return [result["settings"] for result in results]

    return run


def _service(spec, name):
    return next(s for s in spec.services if s.name == name)


def _with(spec, **values):
    """Return a platform whose gitlab and runner have other settings, past the checks of `.env`."""
    services = tuple(
        replace(s, settings={**s.settings, **{k: v for k, v in values.items() if k in s.settings}})
        for s in spec.services
    )
    return replace(spec, services=services)


def _quoted(value):
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _toml(spec):
    return tomllib.loads(render(spec).files[CONFIG].text)


# GitLab: sizes


@pytest.mark.parametrize("tier", TIERS)
def test_ruby_takes_the_file_without_a_warning(platform, ruby, tier, tmp_path):
    path = tmp_path / "omnibus.rb"
    path.write_text(
        render(platform(f"{BOTH}{MAIL}SIZE={tier}\nGITLAB_PAGES=true\nGITLAB_KAS=true\n")).files[OMNIBUS].text
    )
    done = subprocess.run([ruby, "-wc", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Syntax OK\n", "")


TABLE = {
    "minimal": (0, None, 5, "128MB", False, 3),
    "homelab": (2, 1200, 10, "256MB", False, 5),
    "team": (4, 1500, 20, "1GB", True, 20),
    "production": (8, 1500, 20, "4GB", True, None),
}


def test_each_tier_has_the_sizes_of_the_table(platform, evaluate):
    for tier, found in zip(TIERS, evaluate(*(platform(f"{BOTH}SIZE={t}\n") for t in TIERS)), strict=True):
        workers, memory, sidekiq, buffers, exporters, per_repo = TABLE[tier]
        puma, gitaly = found["puma"], found["gitaly"]["configuration"]
        assert (puma["worker_processes"], puma["min_threads"], puma["max_threads"]) == (workers, 4, 4)
        assert puma.get("per_worker_max_memory_mb") == memory
        assert found["sidekiq"]["concurrency"] == sidekiq
        assert found["postgresql"]["shared_buffers"] == buffers
        assert found["prometheus_monitoring"]["enable"] is exporters
        assert found["gitlab_kas"]["enable"] is False
        assert {limit["max_per_repo"] for limit in gitaly.get("concurrency", [])} == ({per_repo} if per_repo else set())
        saving = {"MALLOC_CONF": "dirty_decay_ms:1000,muzzy_decay_ms:1000"}
        small = tier == "minimal"
        assert found["gitlab_rails"].get("env") == (saving if small else None)
        assert found["gitaly"].get("env") == ({**saving, "GITALY_COMMAND_SPAWN_MAX_PARALLEL": "2"} if small else None)


def test_shared_buffers_stay_below_a_quarter_of_the_containers_memory(platform):
    units = {"MB": 1024**2, "GB": 1024**3}
    for tier in TIERS:
        gitlab = _service(platform(f"{BOTH}SIZE={tier}\n"), "gitlab")
        text = gitlab.descriptor.tier_values[tier]["postgresql_shared_buffers"]
        assert int(text[:-2]) * units[text[-2:]] * 4 <= gitlab.container.memory_bytes


# GitLab: behind the ingress


def test_addresses_carry_the_ports_that_the_world_sees(platform, evaluate):
    odd = "GITLAB_PAGES=true\nBASE_DOMAIN=git.example.org\nHTTPS_PORT=8443\nPORT_GITLAB_SSH=2200\n"
    usual, other = evaluate(platform(f"{BOTH}GITLAB_PAGES=true\n"), platform(f"{BOTH}{odd}"))
    names = ("external_url", "registry_external_url", "pages_external_url")
    assert [usual[name] for name in names] == [
        "https://gitlab.autogit.localhost",
        "https://registry.autogit.localhost",
        "https://pages.autogit.localhost",
    ]
    assert [other[name] for name in names] == [
        "https://gitlab.git.example.org:8443",
        "https://registry.git.example.org:8443",
        "https://pages.git.example.org:8443",
    ]
    assert usual["gitlab_rails"]["gitlab_shell_ssh_port"] == 2222
    assert other["gitlab_rails"]["gitlab_shell_ssh_port"] == 2200


def test_gitlab_speaks_plain_http_to_the_ingress_on_the_ports_of_its_routes(platform, evaluate):
    spec = platform(f"{BOTH}GITLAB_PAGES=true\n")
    (found,) = evaluate(spec)
    targets = {route.name: route.target for route in spec.routes if route.service == "gitlab"}
    for group, route in (("gitlab_rails", "gitlab"), ("registry", "gitlab-registry"), ("gitlab_pages", "gitlab-pages")):
        nginx = found[group]["nginx"]
        assert nginx["listen_https"] is False
        assert targets[route] == f"http://gitlab:{nginx['listen_port']}"
        assert "proxy_set_headers" not in nginx
    assert targets["gitlab-git"] == targets["gitlab"]
    assert found["letsencrypt"]["enable"] is False
    # The daemon behind the Pages route must not want the port of its own nginx.
    assert found["gitlab_pages"]["listen_proxy"] != f"localhost:{found['gitlab_pages']['nginx']['listen_port']}"


def test_client_addresses_are_believed_from_the_network_that_only_the_ingress_shares(platform, evaluate):
    spec = platform(f"{BOTH}GITLAB_PROXY_SUBNET=10.99.0.0/29\n")
    (found,) = evaluate(spec)
    for nginx in (found["gitlab_rails"]["nginx"], found["registry"]["nginx"]):
        assert nginx["real_ip_trusted_addresses"] == ["10.99.0.0/29"]
        assert (nginx["real_ip_header"], nginx["real_ip_recursive"]) == ("X-Forwarded-For", "on")
    assert found["gitlab_rails"]["trusted_proxies"] == ["10.99.0.0/29"]
    network = next(n for n in spec.networks if n.name == "gitlab-web")
    assert (network.subnet, network.internal) == ("10.99.0.0/29", True)
    assert {s.name for s in spec.running if "gitlab-web" in s.container.networks} == {"gitlab", "traefik"}


def test_monitoring_pages_answer_to_the_container_alone(platform, evaluate):
    (found,) = evaluate(platform(BOTH))
    assert found["gitlab_rails"]["monitoring_whitelist"] == ["127.0.0.0/8", "::1/128"]


@pytest.mark.parametrize("registry", [True, False])
@pytest.mark.parametrize("pages", [True, False])
def test_registry_and_pages_follow_their_flags(platform, evaluate, registry, pages):
    spec = platform(f"{BOTH}GITLAB_REGISTRY={str(registry).lower()}\nGITLAB_PAGES={str(pages).lower()}\n")
    (found,) = evaluate(spec)
    assert found["registry"]["enable"] is found["gitlab_rails"]["registry_enabled"] is registry
    assert found["gitlab_pages"]["enable"] is pages
    assert ("registry_external_url" in found, "nginx" in found["registry"]) == (registry, registry)
    assert ("pages_external_url" in found, "nginx" in found["gitlab_pages"]) == (pages, pages)
    names = {route.name for route in spec.routes if route.service == "gitlab"}
    expected = {"gitlab", "gitlab-git", "gitlab-registry"} if registry else {"gitlab", "gitlab-git"}
    assert names == (expected | {"gitlab-pages"} if pages else expected)


def test_a_backup_holds_the_registrys_database(platform, evaluate):
    on, off = evaluate(platform(BOTH), platform(f"{BOTH}GITLAB_REGISTRY=false\n"))
    rails = on["gitlab_rails"]
    assert rails["backup_role"] is True
    assert (rails["backup_registry_password"], rails["restore_registry_password"]) == (
        "backup-canary",
        "restore-canary",
    )
    assert "backup_role" not in off["gitlab_rails"]


def test_backups_are_kept_for_days_and_for_their_owner(platform, evaluate):
    week, forever = evaluate(platform(BOTH), platform(f"{BOTH}GITLAB_BACKUP_KEEP_DAYS=0\n"))
    assert week["gitlab_rails"]["backup_keep_time"] == 7 * 24 * 3600
    assert week["gitlab_rails"]["backup_archive_permissions"] == 0o600
    assert forever["gitlab_rails"]["backup_keep_time"] == 0


def test_mail_is_sent_as_the_settings_say(platform, evaluate):
    none, login, tls, open_relay = (
        found["gitlab_rails"]
        for found in evaluate(
            platform(BOTH),
            platform(BOTH + MAIL),
            platform(f"{BOTH}{MAIL}GITLAB_SMTP_PORT=465\nGITLAB_SMTP_FROM=git@example.org\n"),
            platform(f"{BOTH}GITLAB_SMTP_ADDRESS=relay.lan\nGITLAB_SMTP_PORT=25\n"),
        )
    )
    assert none["gitlab_email_enabled"] is False
    assert "smtp_enable" not in none
    assert (login["smtp_address"], login["smtp_port"], login["smtp_user_name"]) == ("smtp.example.org", 587, "mailer")
    assert login["smtp_password"] == "smtp-canary"
    assert (login["smtp_tls"], login["smtp_enable_starttls_auto"]) == (False, True)
    assert login["gitlab_email_from"] == "gitlab@autogit.localhost"
    assert (tls["smtp_tls"], tls["smtp_enable_starttls_auto"]) == (True, False)
    assert tls["gitlab_email_from"] == "git@example.org"
    assert not {"smtp_user_name", "smtp_password", "smtp_authentication"} & set(open_relay)


def test_the_first_password_comes_from_a_file_and_the_first_address_from_the_environment(platform, evaluate):
    spec = platform(f"{BOTH}GITLAB_ROOT_EMAIL=root@example.org\n")
    (found,) = evaluate(spec)
    assert found["gitlab_rails"]["initial_root_password"] == "root-canary"
    assert _service(spec, "gitlab").container.environment["GITLAB_ROOT_EMAIL"] == "root@example.org"


# GitLab: names that are no more

GONE = re.compile(
    r"^\s*(nginx\[|registry_nginx|pages_nginx|gitlab_kas_nginx|mattermost|spamcheck|git_data_dirs?\b|grafana|unicorn|"
    r"gitlab_exporter\['server_name'\]|sidekiq\['(max|min)_concurrency'\]|gitaly\['(?!configuration|env|enable))|"
    r"use_bundled_binaries|bin_path|proxy_set_headers|signup_enabled|password_authentication|default_branch"
)


@pytest.mark.parametrize("tier", TIERS)
def test_no_key_that_aborts_or_is_legacy_appears(platform, tier):
    text = render(platform(f"{BOTH}{MAIL}SIZE={tier}\nGITLAB_PAGES=true\n")).files[OMNIBUS].text
    assert [line for line in text.splitlines() if not line.startswith("#") and GONE.search(line)] == []


# GitLab: metrics


def _listening(found):
    """Return the ports that a configuration shows metrics on, to others than itself."""
    addresses = [found["gitlab_workhorse"]["prometheus_listen_addr"]]
    addresses.append(found["gitaly"]["configuration"]["prometheus_listen_addr"])
    if found["sidekiq"]["metrics_enabled"]:
        addresses.append(f"{found['sidekiq']['listen_address']}:{found['sidekiq']['listen_port']}")
    if found["puma"]["exporter_enabled"]:
        addresses.append(f"{found['puma']['exporter_address']}:{found['puma']['exporter_port']}")
    if found["prometheus_monitoring"]["enable"]:
        addresses += [found[name]["listen_address"] for name in ("redis_exporter", "postgres_exporter")]
        exporter = found["gitlab_exporter"]
        addresses.append(f"{exporter['listen_address']}:{exporter['listen_port']}")
    if found["registry"]["enable"]:
        addresses.append(found["registry"]["debug_addr"])
    return {int(a.rpartition(":")[2]) for a in addresses if a.startswith("0.0.0.0:")}


def test_prometheus_asks_only_where_something_answers(platform, evaluate):
    specs = [
        platform(f"{BOTH}SIZE={tier}\nGITLAB_REGISTRY={registry}\n") for tier in TIERS for registry in ("true", "false")
    ]
    for spec, found in zip(specs, evaluate(*specs), strict=True):
        scrapes = yaml.safe_load(render(spec).files["prometheus/prometheus.yml"].text)["scrape_configs"]
        targets = {t for job in scrapes for config in job.get("static_configs", []) for t in config["targets"]}
        asked = {int(t.removeprefix("gitlab:")) for t in targets if t.startswith("gitlab:")}
        assert {9229, 9236, 8082} <= asked <= _listening(found)
        assert "gitlab-runner:9252" in targets
        assert "metrics" in _service(spec, "gitlab").container.networks


def test_the_bundled_monitoring_is_off_and_gitlab_knows_the_platforms_own(platform, evaluate):
    with_one, without = evaluate(platform(f"{BOTH}SIZE=team\n"), platform("RUNTIME=docker\nSERVICES_ENABLED=gitlab\n"))
    for found in (with_one, without):
        assert [found[name]["enable"] for name in ("prometheus", "alertmanager", "node_exporter")] == [False] * 3
    assert with_one["gitlab_rails"]["prometheus_address"] == "prometheus:9090"
    assert "prometheus_address" not in without["gitlab_rails"]


# GitLab: values of any kind


def _texts(found):
    rails = found["gitlab_rails"]
    names = ("time_zone", "smtp_address", "smtp_user_name", "gitlab_email_from")
    return [rails[name] for name in names] + rails["trusted_proxies"] + rails["nginx"]["real_ip_trusted_addresses"]


def test_hostile_settings_arrive_as_themselves_and_nothing_runs(platform, evaluate):
    keys = ("GITLAB_TIME_ZONE", "GITLAB_SMTP_ADDRESS", "GITLAB_SMTP_USER", "GITLAB_SMTP_FROM")
    specs = [platform(BOTH + "".join(f"{key}={_quoted(value)}\n" for key in keys)) for value in HOSTILE]
    for value, found in zip(HOSTILE, evaluate(*specs), strict=True):
        assert _texts(found) == [*[value] * 4, *["172.30.250.0/28"] * 2]


def test_a_subnet_is_a_subnet(platform):
    with pytest.raises(SettingsError) as refused:
        platform(BOTH + "GITLAB_PROXY_SUBNET=172.30.250.1/28\n")
    assert "has host bits set" in refused.value.faults[0].message


def _filled(spec, value):
    """Return a platform of which every text of GitLab's is the same one."""
    names = ("GITLAB_TIME_ZONE", "GITLAB_SMTP_ADDRESS", "GITLAB_SMTP_USER", "GITLAB_SMTP_FROM", "GITLAB_PROXY_SUBNET")
    return _with(spec, **dict.fromkeys(names, value))


@pytest.fixture
def gitlab_alone(platform):
    """A platform with everything that GitLab needs to know, of which only GitLab is rendered."""
    spec = platform("RUNTIME=docker\nSERVICES_ENABLED=gitlab\n")
    return replace(spec, services=(_service(spec, "gitlab"),))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(st.lists(ANY, min_size=10, max_size=30))
def test_any_text_survives_ruby(gitlab_alone, evaluate, values):
    found = evaluate(*(_filled(gitlab_alone, value) for value in values))
    assert [_texts(each) for each in found] == [[value] * 6 for value in values]


def test_a_line_end_of_two_characters_survives_ruby(gitlab_alone, evaluate):
    (found,) = evaluate(_filled(gitlab_alone, "first\r\nsecond"))
    assert _texts(found) == ["first\r\nsecond"] * 6


def test_no_secret_is_in_anything_that_is_rendered(platform, evaluate):
    given_secrets = "".join(f"{name}={value}\n" for name, value in SECRETS.items() if name != "RUNNER_TOKEN")
    spec = platform(f"{BOTH}{given_secrets}GITLAB_SMTP_ADDRESS=smtp.example.org\nGITLAB_SMTP_USER=mailer\n")
    for path, file in render(spec).files.items():
        assert [value for value in SECRETS.values() if value in file.text] == [], path
    gitlab, runner = _service(spec, "gitlab").container, _service(spec, "gitlab-runner").container
    assert set(gitlab.secrets) == set(SECRETS) - {"RUNNER_TOKEN"}
    assert set(runner.secrets) == {"RUNNER_TOKEN"}
    (found,) = evaluate(spec)
    assert found["gitlab_rails"]["smtp_password"] == "smtp-canary"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("external_url \"#{system('touch canary')}\"", {"executed": ["system touch canary"], "error": None}),
        ("external_url `touch canary`", {"executed": ["` touch canary"], "error": None}),
        ("mattermost['enable'] = true", {"executed": [], "error": "NameError"}),
        ("nginx['listen_port'] = 80", {"executed": [], "error": "NameError"}),
        ("puma['port'] = 1; puma['port'] = 2", {"executed": [], "error": "ArgumentError"}),
    ],
)
def test_the_evaluation_would_notice_what_the_tests_above_rule_out(ruby, tmp_path, text, said):
    job = {"config": text, "path": "/x.rb", "environment": "from_file('/x.rb')", "secrets": {}}
    done = subprocess.run(
        [ruby, "-W0", HARNESS], input=json.dumps([job]), capture_output=True, text=True, cwd=tmp_path, check=True
    )
    (result,) = json.loads(done.stdout)
    assert result["executed"] == said["executed"]
    assert (result["error"] or "").partition(":")[0] == (said["error"] or "")
    assert list(tmp_path.iterdir()) == []


# GitLab: the route of Git, runners and packages

UNLIMITED = [
    "/group/project.git/info/refs",
    "/group/sub/project.git/git-upload-pack",
    "/group/project.git/git-receive-pack",
    "/group/project.git/gitlab-lfs/objects/0a1b/12",
    "/group/project.git/info/lfs/objects/batch",
    "/group/project/-/archive/main/project-main.tar.gz",
    "/group/project/-/jobs/12/artifacts/download",
    "/group/project/uploads",
    "/group/project/uploads/0a1b/picture.png",
    "/uploads/-/system/user/avatar/1/avatar.png",
    "/import/gitlab_project",
    "/jwt/auth",
    "/v2/group/dependency_proxy/containers/alpine/manifests/3.22",
    "/api/v4/jobs/request",
    "/api/v4/jobs/12/trace",
    "/api/v4/jobs/12/artifacts",
    "/api/v4/projects/12/jobs/13/artifacts",
    "/api/v4/projects/12/jobs/artifacts/main/download",
    "/api/v4/projects/group%2Fsub%2Fproject/packages/generic/tool/1.0/tool.tar.gz",
    "/api/v4/projects/group/sub/project/packages/generic/tool/1.0/tool.tar.gz",
    "/api/v4/projects/12/packages/npm/@scope%2fname",
    "/api/v4/groups/group%2Fsub/-/packages/maven/a/b/1.0/b.jar",
    "/api/v4/packages/conan/v1/ping",
    "/api/v4/projects/12/repository/archive.zip",
    "/api/v4/projects/12/terraform/state/production",
    "/api/v4/projects/12/uploads",
    "/api/v4/projects/import",
    "/api/v4/projects/12/export/download",
]
LIMITED = [
    "/",
    "/users/sign_in",
    "/group/project",
    "/group/project/-/merge_requests/1",
    "/group/project/-/blob/main/import/v2/info/refs",
    "/group/v2/-/issues",
    "/api/v4/projects",
    "/api/v4/projects/group%2Fproject",
    "/api/v4/projects/12/packages",
    "/api/v4/user",
    "/api/graphql",
    "/oauth/token",
    "/-/metrics",
    "/-/readiness",
]


def test_git_runners_and_packages_are_not_limited_and_everything_else_is(platform):
    routes = {r.name: r for r in platform(f"{BOTH}GITLAB_PAGES=true\n").routes}
    git, web = routes["gitlab-git"], routes["gitlab"]
    assert (git.host, git.rate_limit, git.max_body_bytes) == (web.host, 0, 0)
    assert web.rate_limit > 0
    assert web.path_regexp is None
    assert (routes["gitlab-registry"].rate_limit, routes["gitlab-registry"].max_body_bytes) == (0, 0)
    assert [path for path in UNLIMITED if not re.search(git.path_regexp, path)] == []
    assert [path for path in LIMITED if re.search(git.path_regexp, path)] == []


def test_the_expression_of_that_route_can_be_written_for_both_ingresses(platform):
    (expression,) = {r.path_regexp for r in platform(BOTH).routes if r.path_regexp}
    assert expression.startswith("^/")
    assert not re.search(r"[$`\s]|\(\?", expression), "nginx, Traefik and RE2 must all be able to hold it"


def test_gitlabs_own_security_headers_are_left_alone(platform):
    routes = [r for r in platform(f"{BOTH}GITLAB_PAGES=true\n").routes if r.service == "gitlab"]
    assert len(routes) == 4
    assert not any(route.security_headers for route in routes)


def test_only_ssh_of_gitlab_is_published_and_by_the_ingress(platform):
    spec = platform(BOTH)
    assert _service(spec, "gitlab").container.ports == ()
    assert (2222, 2222) in {(p.host_port, p.container_port) for p in _service(spec, "traefik").container.ports}


def test_a_first_start_of_a_quarter_of_an_hour_is_not_taken_for_a_failure(platform):
    health = _service(platform(BOTH), "gitlab").container.health
    assert health.start_period_seconds >= 20 * 60
    assert _service(platform(BOTH), "gitlab").descriptor.runs.container.ready_timeout_seconds > 20 * 60


# Runner


@pytest.mark.parametrize(("tier", "jobs"), [("minimal", 1), ("homelab", 2), ("team", 4), ("production", 10)])
def test_the_runner_takes_as_many_jobs_as_the_tier_or_the_setting_says(platform, tier, jobs):
    by_tier = _toml(platform(f"{BOTH}SIZE={tier}\n"))
    assert by_tier["concurrent"] == jobs
    assert _toml(platform(f"{BOTH}SIZE={tier}\nRUNNER_CONCURRENT=7\n"))["concurrent"] == 7
    assert (by_tier["listen_address"], by_tier["log_format"], by_tier["check_interval"]) == (":9252", "json", 3)
    assert by_tier["shutdown_timeout"] > 30


def test_jobs_get_no_privileges_no_socket_and_no_images_of_others(platform):
    (runner,) = _toml(platform(BOTH))["runners"]
    docker = runner["docker"]
    assert docker["privileged"] is False
    assert docker["volumes"] == ["/cache"]
    assert docker["pull_policy"] == docker["allowed_pull_policies"] == ["always"]
    assert docker["image"] == "debian:12.12-slim"
    assert not {"gpus", "allowed_images", "extra_hosts", "network_mode"} & set(docker)
    assert "limit" not in runner


def test_the_runner_reaches_gitlab_by_its_public_address_and_trusts_its_authority(platform):
    spec = platform(f"{BOTH}BASE_DOMAIN=git.example.org\nHTTPS_PORT=8443\n")
    (runner,) = _toml(spec)["runners"]
    assert runner["url"] == "https://gitlab.git.example.org:8443"
    container = _service(spec, "gitlab-runner").container
    (chain,) = (m for m in container.mounts if m.target == runner["tls-ca-file"])
    assert chain.source == spec.certificate.root
    assert chain.read_only
    assert not any(str(spec.paths.certs) == m.source for m in container.mounts), "keys are not the runner's"
    assert "web" in container.networks
    assert "gitlab.git.example.org" in _service(spec, "traefik").container.networks["web"]


def test_jobs_find_gitlab_at_a_given_address(platform):
    found = _toml(platform(f"{BOTH}RUNNER_GITLAB_ADDRESS=192.168.1.170\n"))["runners"][0]["docker"]
    assert found["extra_hosts"] == [
        "gitlab.autogit.localhost:192.168.1.170",
        "registry.autogit.localhost:192.168.1.170",
    ]


def test_gpus_and_allowed_images_follow_their_settings(platform):
    (runner,) = _toml(platform(f"{BOTH}RUNNER_GPUS=2\nRUNNER_ALLOWED_IMAGES='debian:*, ,alpine:**'\n"))["runners"]
    assert (runner["limit"], runner["docker"]["gpus"]) == (2, "all")
    assert runner["docker"]["allowed_images"] == ["debian:*", "alpine:**"]


def test_without_a_token_the_runner_waits_and_takes_no_jobs(platform):
    spec = platform("RUNTIME=docker\nSERVICES_ENABLED=gitlab-runner\n")
    found = _toml(spec)
    assert "runners" not in found
    assert found["listen_address"] == ":9252"
    assert _service(spec, "gitlab-runner").container.secrets == {}
    assert "gitlab" in {s.name for s in spec.running}


def test_hostile_settings_reach_the_runner_as_themselves(platform):
    for value in HOSTILE:
        quoted = _quoted(value)
        lines = f"RUNNER_DEFAULT_IMAGE={quoted}\nRUNNER_GITLAB_ADDRESS=192.0.2.7\nRUNNER_ALLOWED_IMAGES={quoted}\n"
        (runner,) = _toml(platform(BOTH + lines))["runners"]
        assert runner["docker"]["image"] == value
        assert runner["docker"]["extra_hosts"][0] == "gitlab.autogit.localhost:192.0.2.7"
        allowed = [part.strip() for part in value.split(",") if part.strip()]
        assert runner["docker"]["allowed_images"] == allowed
        assert runner["token"] == "$RUNNER_TOKEN"


@pytest.fixture
def runner_alone(platform):
    """A platform of which runner and GitLab alone are rendered."""
    spec = platform(BOTH)
    return replace(spec, services=(_service(spec, "gitlab-runner"), _service(spec, "gitlab")))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(ANY)
def test_any_text_survives_the_runners_file(runner_alone, value):
    (runner,) = _toml(_with(runner_alone, RUNNER_DEFAULT_IMAGE=value, RUNNER_GITLAB_ADDRESS=value))["runners"]
    assert runner["docker"]["image"] == value
    assert runner["docker"]["extra_hosts"][0] == f"gitlab.autogit.localhost:{value}"


@pytest.mark.parametrize("token", ["glrt-canary", None])
def test_the_token_reaches_the_process_by_its_environment_and_not_by_its_arguments(platform, tmp_path, token):
    """The container's own start script is run, its folders moved below a temporary one."""
    container = _service(platform(BOTH), "gitlab-runner").container
    assert container.entrypoint == ("/bin/sh", "-c")
    (script,) = container.command
    for folder in ("/etc/autogit/gitlab-runner", "/run/secrets", "/etc/gitlab-runner"):
        (tmp_path / folder.strip("/")).mkdir(parents=True)
        script = script.replace(folder, f"@@{folder}")
    script = script.replace("@@", str(tmp_path))
    (tmp_path / "etc/autogit/gitlab-runner/config.toml").write_text("concurrent = 1\n")
    if token:
        (tmp_path / "run/secrets/RUNNER_TOKEN").write_text(f"{token}\n")
    program = tmp_path / "bin" / "gitlab-runner"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s|" "${RUNNER_TOKEN-none}" "$@"\ncat "$3"\n')
    program.chmod(0o755)
    for _ in range(2):  # a second start finds the link of the first
        done = subprocess.run(
            [*container.entrypoint, script],
            capture_output=True,
            text=True,
            check=True,
            env={"PATH": f"{program.parent}:/usr/bin:/bin"},
        )
        seen, *arguments, config = done.stdout.split("|")
        assert seen == (token or "none")
        assert arguments[:2] == ["run", "--config"]
        assert not any("glrt" in argument for argument in arguments)
        assert config == "concurrent = 1\n"
    assert "glrt" not in "".join([*container.environment.values(), *container.command])


def test_the_runner_ends_after_its_jobs(platform):
    container = _service(platform(BOTH), "gitlab-runner").container
    assert container.stop_signal == "SIGQUIT"
    assert container.stop_grace_seconds >= 3600
    compose = yaml.safe_load(render(platform(BOTH)).files[COMPOSE_FILE].text)["services"]["gitlab-runner"]
    assert compose["depends_on"]["gitlab"]["condition"] == "service_healthy"


def test_the_state_of_the_runner_outlives_its_container(platform):
    mounts = {m.target: m for m in _service(platform(BOTH), "gitlab-runner").container.mounts}
    assert (mounts["/etc/gitlab-runner"].kind, mounts["/etc/gitlab-runner"].read_only) == ("volume", False)
    assert mounts["/etc/autogit/gitlab-runner"].read_only
