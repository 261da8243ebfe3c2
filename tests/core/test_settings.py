"""Settings: what `.env` says is taken as it stands, every fault comes at once, and no secret is ever shown."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autogit.core.settings import build_settings
from autogit.errors import NotInitialisedError, SettingsError

SAMPLE = """\
# .env - Single source of truth
BASE_DOMAIN=vectorweight.com
ACME_EMAIL=admin@vectorweight.com

# Service definitions (auto-discovered)
SERVICES_ENABLED=gitlab,grafana,loki,tempo,prometheus,meilisearch,api

# Dynamic port allocation (or explicit)
PORT_ALLOCATION=dynamic  # auto-assign from pool
# PORT_GITLAB=8080       # or explicit override
"""


def _faults(workbench, env):
    with pytest.raises(SettingsError) as refused:
        workbench.settings(env)
    assert refused.value.exit_code == 2
    return {(f.place, f.subject): f.message for f in refused.value.faults}, refused.value


def test_the_sample_of_the_specification_is_accepted_as_it_stands(workbench):
    found = workbench.settings(SAMPLE)
    assert found.base_domain == "vectorweight.com"
    assert found.acme_email == "admin@vectorweight.com"
    assert found.services_enabled == ("gitlab", "grafana", "loki", "tempo", "prometheus", "meilisearch", "api")
    assert found.port_allocation == "dynamic"
    assert found.source_of("BASE_DOMAIN") == ".env line 2"
    assert workbench.settings(SAMPLE.replace("# PORT_GITLAB", "PORT_GITLAB")).port_overrides == {"PORT_GITLAB": 8080}


def test_every_fault_comes_at_once_with_key_line_and_nearest_name(workbench):
    faults, error = _faults(
        workbench,
        "SIZE=huge\nBASEDOMAIN=x.test\n\n# a comment\nACME_EMAIL=nobody\nPORT_API=99999\nDNS_TTL=soon\n"
        "SIZE=team\nPROJECT_NAME=Mine!\nthis is no assignment\nSERVICES_ENABLED=api,grafanna\nBIND_ADDRESS=here\n",
    )
    assert faults == {
        (".env line 1", "SIZE=huge"): "must be one of minimal, homelab, team, production",
        (".env line 2", "BASEDOMAIN"): "unknown setting. Did you mean BASE_DOMAIN?",
        (".env line 5", "ACME_EMAIL=nobody"): "must be an e-mail address, as in admin@example.org",
        (".env line 6", "PORT_API"): "must be a port, a whole number from 1 to 65535",
        (".env line 7", "DNS_TTL=soon"): "must be a whole number from 1 to 86400",
        (".env line 8", "SIZE"): "is set twice (first on line 1)",
        (".env line 9", "PROJECT_NAME=Mine!"): (
            "must be lower-case letters, digits and hyphens, beginning with a letter, at most 31"
        ),
        (".env line 10", ""): "is not KEY=value",
        (".env line 11", "SERVICES_ENABLED"): "there is no service called grafanna. Did you mean grafana?",
        (".env line 12", "BIND_ADDRESS=here"): "must be an IP address, as in 127.0.0.1 or 192.168.1.170",
    }
    assert error.message == "10 faults in .env"
    assert [f.place for f in error.faults] == sorted((f.place for f in error.faults), key=lambda p: int(p.split()[-1]))


@pytest.mark.parametrize(
    "line",
    [
        "BASE_DOMAIN=nodots",
        "BASE_DOMAIN=https://example.org",
        "BASE_DOMAIN=-bad.example.org",
        "BASE_DOMAIN=a..b",
        f"BASE_DOMAIN={'a.' * 130}org",
        "HTTP_PORT=0",
        "HTTPS_PORT=eight",
        "PORT_POOL=9-1",
        "PORT_POOL=1-70000",
        "PORT_API=-1",
        "PORT_API_NOSUCH=8000",
        "SERVICES_ENABLED=api,api",
        "SERVICES_ENABLED=,",
        "RUNTIME=podman",
        "DNS_TTL=0",
    ],
)
def test_a_bad_value_is_named_with_its_line(workbench, line):
    faults, _ = _faults(workbench, f"\n{line}\n")
    assert {place for place, _ in faults} == {".env line 2"}
    assert all(subject.partition("=")[0] == line.partition("=")[0] for _, subject in faults)


def test_two_keys_may_not_claim_one_port(workbench):
    faults, _ = _faults(workbench, "HTTP_PORT=8080\nPORT_API=8080\n")
    assert faults == {(".env line 2", "PORT_API"): "is the same port as HTTP_PORT"}


@pytest.mark.parametrize("value", ["10.0.0.300", "10.0.0.0/24"])
def test_an_address_is_an_address(workbench, value):
    faults, _ = _faults(workbench, f"INGRESS_IP={value}")
    assert list(faults) == [(".env line 1", f"INGRESS_IP={value}")]


def test_a_domain_is_lower_case_and_has_no_trailing_dot(workbench):
    assert workbench.settings("BASE_DOMAIN=Home.Example.ORG.").base_domain == "home.example.org"


def test_an_empty_value_is_an_unset_one(workbench):
    found = workbench.settings("HTTP_PORT=\nACME_EMAIL=\nBASE_DOMAIN=\nCLOUDFLARE_API_TOKEN=\n")
    assert (found.http_port, found.acme_email, found.base_domain) == (None, None, "autogit.localhost")


def test_a_secret_can_come_from_a_file_beside_env(workbench, tmp_path):
    (tmp_path / "token").write_text("canary-from-file\n")
    found = workbench.settings("CLOUDFLARE_API_TOKEN_FILE=token\nPROMETHEUS_PASSWORD_FILE=token\n")
    assert found.provider_secrets["CLOUDFLARE_API_TOKEN"].get_secret_value() == "canary-from-file"
    assert found.service_secrets["PROMETHEUS_PASSWORD"].get_secret_value() == "canary-from-file"
    assert found.secret_files == (str(tmp_path / "token"),) * 2
    assert "canary" not in repr(found) + str(found.effective())
    assert found.effective()["CLOUDFLARE_API_TOKEN"] == "(secret)"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file: token"), (b"", "is empty: token"), (b"\xff\xfe", "cannot be read as UTF-8 text: token")],
)
def test_a_secret_file_that_cannot_serve_is_a_fault(workbench, tmp_path, content, message):
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    faults, _ = _faults(workbench, "CLOUDFLARE_API_TOKEN_FILE=token")
    assert faults == {(".env line 1", "CLOUDFLARE_API_TOKEN_FILE"): message}


def test_a_secret_and_its_file_exclude_each_other(workbench):
    faults, error = _faults(workbench, "CLOUDFLARE_API_TOKEN=canary-1\nCLOUDFLARE_API_TOKEN_FILE=token\n")
    assert faults == {
        (".env line 2", "CLOUDFLARE_API_TOKEN_FILE"): "CLOUDFLARE_API_TOKEN is given too: keep one of them"
    }
    assert "canary-1" not in str(error) + repr(error.faults)


@pytest.mark.parametrize("token", ["canary-4711", "canary with blank", "canary\\nline"])
def test_a_rejected_file_never_shows_a_secret_that_is_in_it(workbench, token):
    _, error = _faults(workbench, f'CLOUDFLARE_API_TOKEN="{token}"\nPROMETHEUS_PASSWORD="{token}"\nSIZE=x\nNOPE=1\n')
    assert "canary" not in repr((error, error.faults, error.context, error.hint))
    assert error.__cause__ is None or "canary" not in repr(error.__cause__)


def test_a_missing_file_says_how_to_begin(workbench):
    from autogit.core.settings import load_settings

    with pytest.raises(NotInitialisedError) as refused:
        load_settings(workbench.paths.env_file, ())
    assert refused.value.hint == "autogit init"


def test_a_folder_or_other_encoding_in_the_place_of_env_is_a_sentence(workbench):
    from autogit.core.settings import load_settings

    workbench.paths.env_file.write_bytes(b"SIZE=team\n\nACME_EMAIL=\xe9\n")
    with pytest.raises(SettingsError) as refused:
        load_settings(workbench.paths.env_file, ())
    assert [(f.place, f.message) for f in refused.value.faults] == [(".env line 3", "is not UTF-8 text")]
    workbench.paths.env_file.unlink()
    workbench.paths.env_file.mkdir()
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(workbench.paths.env_file, ())


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(workbench):
    workbench.paths.env_file.write_bytes(b"\xef\xbb\xbfSIZE=team\r\nBASE_DOMAIN=example.org\r\n")
    from autogit.core.settings import load_settings

    found = load_settings(workbench.paths.env_file, ())
    assert (found.size, found.base_domain) == ("team", "example.org")


def test_the_environment_never_overrides_the_file(workbench, monkeypatch):
    for name in ("SIZE", "BASE_DOMAIN", "RUNTIME", "size"):
        monkeypatch.setenv(name, "production")
    assert workbench.settings("BASE_DOMAIN=example.org").size == "homelab"


def test_images_and_service_settings_find_their_service(workbench):
    found = workbench.settings("IMAGE_GITLAB=registry.local/gitlab:1\nPROMETHEUS_RETENTION=30d\n")
    assert found.image_overrides == {"gitlab": "registry.local/gitlab:1"}
    assert found.service_settings["PROMETHEUS_RETENTION"] == "30d"
    assert found.effective()["IMAGE_GITLAB"] == "registry.local/gitlab:1"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["SIZE", "BASE_DOMAIN", "HTTP_PORT", "DNS_TTL", "PORT_API", "NOPE", "PORT_POOL", "RUNTIME"]),
        st.text(max_size=12),
    )
)
def test_any_values_at_all_give_settings_or_faults_of_known_keys(workbench, values):
    descriptors = workbench.catalogue().descriptors
    try:
        found = build_settings(values, descriptors, env_dir=workbench.paths.root)
    except SettingsError as refused:
        assert {f.subject.partition("=")[0] for f in refused.faults} <= set(values)
    else:
        assert found.effective()["SIZE"] in {"minimal", "homelab", "team", "production"}


def test_a_password_that_bcrypt_cannot_hold_is_refused_before_it_is_stored(workbench, tmp_path):
    (tmp_path / "long").write_text("x" * 80)
    for line in (f"PROMETHEUS_PASSWORD={'x' * 80}", "PROMETHEUS_PASSWORD_FILE=long"):
        with pytest.raises(SettingsError) as refused:
            workbench.settings(f"\n{line}\n")
        (fault,) = refused.value.faults
        assert fault.place == ".env line 2"
        assert "longer than 72 bytes" in fault.message


@pytest.mark.parametrize("line", ["PORT_API=\u00b2", "PORT_API=\u0663", "PORT_POOL=\u0661-\u0662"])
def test_digits_of_other_scripts_are_no_port(workbench, line):
    with pytest.raises(SettingsError):
        workbench.settings(line + "\n")


def test_two_keys_that_mean_one_port_are_one_too_many(workbench):
    with pytest.raises(SettingsError) as refused:
        workbench.settings("PORT_API=20001\nPORT_API_HTTP=20002\n")
    assert refused.value.faults[0].message == "means the same as PORT_API: keep one of them"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("IMAGE_GITLAB=gitlab/gitlab-ce:latest", "must be an image with a tag"),
        ("IMAGE_GITLAB=a b", "must be an image with a tag"),
        ("PROMETHEUS_RETENTION=30", "must be a duration of Prometheus"),
        ("GITLAB_ROOT_PASSWORD=short", "must have at least 8 characters"),
        ("GITLAB_PROXY_SUBNET=10.0.0.0/30", "must hold at least 8 addresses"),
        ("RUNNER_GITLAB_ADDRESS=foo bar", "must be an IP address or host-gateway"),
        ("LOKI_RETENTION_DAYS=0", "must be a whole number from 1 on"),
        ("GITLAB_PAGES=maybe", "must be true or false"),
    ],
)
def test_what_a_product_would_refuse_at_its_start_is_a_fault_now(workbench, line, message):
    with pytest.raises(SettingsError) as refused:
        workbench.settings(f"\n{line}\n")
    (fault,) = refused.value.faults
    assert fault.place == ".env line 2"
    assert message in fault.message


class TestProviders:
    """The settings of providers are known by their names alone, and checked where one is chosen."""

    def test_what_a_chosen_provider_needs_is_told(self, workbench):
        faults, _ = _faults(workbench, "\nDNS_PROVIDER=cloudflare\n")
        assert faults == {(".env line 2", "CLOUDFLARE_API_TOKEN"): "is needed with DNS_PROVIDER=cloudflare"}

    def test_a_value_that_does_not_fit_is_told_at_its_line(self, workbench):
        env = "DNS_PROVIDER=rfc2136\nRFC2136_SERVER=127.0.0.1:x\nRFC2136_KEY_NAME=k\nRFC2136_KEY_SECRET=canary!\n"
        faults, error = _faults(workbench, env + "RFC2136_PRIVATE=perhaps\n")
        assert faults[".env line 2", "RFC2136_SERVER=127.0.0.1:x"] == "'127.0.0.1:x' is not host or host:port"
        assert faults[".env line 4", "RFC2136_KEY_SECRET"].startswith("must be base64")
        assert faults[".env line 5", "RFC2136_PRIVATE=perhaps"] == "must be true or false"
        assert "canary" not in f"{error} {error.faults}"

    def test_an_unknown_provider_and_an_unknown_key_name_what_is_near(self, workbench):
        faults, _ = _faults(workbench, "DNS_PROVIDER=cloudfare\nCLOUDFLARE_API_TOCKEN=x\n")
        assert "must be one of none, cloudflare, dnsmasq" in faults[".env line 1", "DNS_PROVIDER=cloudfare"]
        assert faults[".env line 2", "CLOUDFLARE_API_TOCKEN"].endswith("Did you mean CLOUDFLARE_API_TOKEN?")

    def test_a_provider_of_public_zones_does_not_keep_the_lan_view(self, workbench):
        faults, _ = _faults(workbench, "DNS_LAN_PROVIDER=cloudflare\nCLOUDFLARE_API_TOKEN=x\n")
        assert faults[".env line 1", "DNS_LAN_PROVIDER=cloudflare"] == "keeps zones that everybody sees, no others"

    def test_both_views_are_not_written_into_one_zone(self, workbench):
        faults, _ = _faults(workbench, "DNS_PROVIDER=memory\nDNS_LAN_PROVIDER=memory\n")
        assert "both would write the same names" in faults[".env line 2", "DNS_LAN_PROVIDER=memory"]
        both = "DNS_PROVIDER=route53\nDNS_LAN_PROVIDER=route53\n"
        assert workbench.settings(both).dns_providers == ("route53",)

    @pytest.mark.parametrize(
        ("line", "subject"),
        [
            (
                "DNS_RESOLVERS=https://me:canary@dns.example/dns-query",
                "DNS_RESOLVERS=https://***@dns.example/dns-query",
            ),
            ("DNS_ADDRESS_SOURCES=https://ip.example/?token=canary", None),
            ("CLOUDFLARE_BASE_URL=https://me:canary@api.example", "CLOUDFLARE_BASE_URL"),
        ],
    )
    def test_a_login_in_a_url_is_refused_for_settings_are_shown(self, workbench, line, subject):
        faults, _ = _faults(workbench, line)
        [(place, told)] = faults
        assert place == ".env line 1"
        assert told == (subject or line)
        assert "settings are shown" in faults[place, told]

    @pytest.mark.parametrize("value", ['x"y', "lets encrypt", "letsencrypt"])
    def test_an_authority_is_a_domain(self, workbench, value):
        faults, _ = _faults(workbench, f"DNS_CAA={value}")
        assert "must be domains of authorities" in next(iter(faults.values()))
        assert workbench.settings("DNS_CAA=letsencrypt.org\n").dns_caa == ("letsencrypt.org",)

    def test_a_domain_of_another_script_is_told_in_its_ascii_form(self, workbench):
        faults, _ = _faults(workbench, "BASE_DOMAIN=büro.test")
        assert next(iter(faults.values())) == "must be written in its ASCII form: xn--bro-hoa.test"

    def test_a_secret_of_a_provider_comes_from_a_file_and_is_never_shown(self, workbench, tmp_path):
        (tmp_path / "token").write_text("canary-token\n")
        found = workbench.settings("DNS_PROVIDER=cloudflare\nCLOUDFLARE_API_TOKEN_FILE=token\n")
        assert found.provider_secrets["CLOUDFLARE_API_TOKEN"].get_secret_value() == "canary-token"
        assert found.effective()["CLOUDFLARE_API_TOKEN"] == "(secret)"
        assert "canary" not in repr(found)

    def test_a_setting_that_ends_like_a_file_of_a_secret_is_itself(self, workbench):
        found = workbench.settings("GOOGLE_CREDENTIALS_FILE=/etc/key.json\n")
        assert found.provider_settings == {"GOOGLE_CREDENTIALS_FILE": "/etc/key.json"}

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("INGRESS_IPV6=192.0.2.1", "must be an IPv6 address, auto or none"),
            ("DNS_SSH_NAME=a.b", "must be one part of a name: lower-case letters, digits and hyphens"),
            ("DNS_WILDCARD=perhaps", "must be true or false"),
        ],
    )
    def test_dns_settings_say_what_they_take(self, workbench, line, message):
        faults, _ = _faults(workbench, line)
        assert faults == {(".env line 1", line): message}
