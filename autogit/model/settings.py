"""The settings of `.env`: every key typed, described and with its unit; the reference pages are generated from here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from autogit.model.acme import DIRECTORIES
from autogit.model.security_settings import SecuritySettings
from autogit.model.service import Tier
from autogit.model.setting_values import (
    HIGHEST_PORT,
    caa_issuers,
    commands,
    domain_name,
    email_address,
    env_text,
    in_group,
    ip_address_text,
    ipv4_subnet,
    ipv6_or_word,
    name_list,
    pool_of_ports,
    url_list,
)

DEFAULT_SERVICES = ("gitlab", "grafana", "loki", "tempo", "prometheus", "meilisearch", "api")
MASK = "(secret)"
LOCAL_ISSUER = "local"
LOCAL_DAYS = 90
"""How long the local authority's certificates are valid."""
LONGEST_PASSWORD_BYTES = 72
"""bcrypt ignores or refuses what is longer (OpenBSD crypt(3), bcrypt)."""


def _issuer(value: Any) -> str:
    """Return an authority's name or URL; one that is known by name is called by it: it has rules of its own."""
    text = str(value)
    known = {url: name for name, url in DIRECTORIES.items()}
    if text in (LOCAL_ISSUER, *DIRECTORIES) or text.rstrip("/") in known:
        return known.get(text.rstrip("/"), text)
    if not re.fullmatch(r"https://[^\s/@?#]+(/[^\s@?#]*)?", text):
        raise ValueError("must be local, letsencrypt, letsencrypt-staging, or the https URL of an ACME directory")
    return text


def _fallback(value: Any) -> str:
    return _issuer(value) if value else ""


Port = Annotated[int, Field(ge=1, le=HIGHEST_PORT)]
IpAddress = Annotated[str, BeforeValidator(ip_address_text)]


class Settings(SecuritySettings):
    """Every setting of a project. Only `.env` counts: environment variables never override it (decision 0001)."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base_domain: Annotated[str, BeforeValidator(domain_name)] = Field(
        "autogit.localhost",
        description="Domain that every service is a name under. The default resolves to this machine without any DNS",
        json_schema_extra=in_group("Platform", "example.org"),
    )
    project_name: str = Field(
        "autogit",
        pattern=r"^[a-z][a-z0-9-]{0,30}$",
        description="Name of this installation: lower-case letters, digits, hyphens",
        json_schema_extra=in_group("Platform"),
    )
    runtime: Literal["docker", "embedded", "swarm"] = Field(
        "embedded",
        description="What services run in: containers of a Docker Engine, or supervised processes of this host",
        json_schema_extra=in_group("Platform"),
    )
    services_enabled: Annotated[tuple[str, ...], BeforeValidator(name_list)] = Field(
        DEFAULT_SERVICES,
        description="Services wanted, separated by commas; what they need comes along",
        json_schema_extra=in_group("Services"),
    )
    size: Tier = Field(
        "homelab",
        description="Tier that decides each service's CPU cores and memory",
        json_schema_extra=in_group("Services"),
    )
    ingress: Literal["traefik", "nginx"] = Field(
        "traefik", description="What routes requests to services", json_schema_extra=in_group("Services")
    )
    log_collector: Literal["alloy", "promtail"] = Field(
        "alloy",
        description="What collects logs; promtail is at its end of life",
        json_schema_extra=in_group("Services"),
    )
    docker_host: str | None = Field(
        None,
        description="Docker Engine to talk to: unix://, tcp:// or ssh://",
        json_schema_extra=in_group("Platform", "unix:///var/run/docker.sock"),
    )
    docker_cert_path: str | None = Field(
        None,
        description="Folder with ca.pem, cert.pem and key.pem for a Docker Engine on tcp://",
        json_schema_extra=in_group("Platform", "/etc/autogit/docker"),
    )
    port_allocation: Literal["dynamic", "explicit"] = Field(
        "dynamic",
        description="dynamic: a busy preferred port is replaced by one of the pool; explicit: it is a fault",
        json_schema_extra=in_group("Ports"),
    )
    port_pool: Annotated[str, BeforeValidator(pool_of_ports)] = Field(
        "20080-20999", description="Host ports to choose from, low-high", json_schema_extra=in_group("Ports")
    )
    http_port: Port | None = Field(
        None,
        description="Host port of plain HTTP (redirects to HTTPS). Unset: 80, in the embedded runtime 8080",
        json_schema_extra=in_group("Ports", "8080"),
    )
    https_port: Port | None = Field(
        None,
        description="Host port of HTTPS. Unset: 443, in the embedded runtime 8443",
        json_schema_extra=in_group("Ports", "8443"),
    )
    bind_address: IpAddress = Field(
        "127.0.0.1",
        description="Address that the published ports listen on; 0.0.0.0 opens them to the network",
        json_schema_extra=in_group("Ports"),
    )
    cert_issuer: Annotated[str, BeforeValidator(_issuer)] = Field(
        LOCAL_ISSUER,
        description="Who signs certificates: local (AutoGit's own authority), letsencrypt, letsencrypt-staging, or the "
        "https URL of an ACME directory",
        json_schema_extra=in_group("TLS"),
    )
    cert_manager: Literal["autogit", "traefik"] = Field(
        "autogit",
        description="Who orders certificates of an ACME authority: autogit, or traefik, which keeps them to itself",
        json_schema_extra=in_group("TLS"),
    )
    cert_challenge: Literal["dns-01", "http-01"] = Field(
        "dns-01",
        description="How names are proven to an ACME authority (local asks for no proof): dns-01 (a TXT record; the "
        "wildcard) or http-01 (a page on port 80 of each service's name; no wildcard, no DNS provider)",
        json_schema_extra=in_group("TLS"),
    )
    cert_fallback_issuer: Annotated[str, BeforeValidator(_fallback)] = Field(
        "",
        description="Who signs where the ACME authority of CERT_ISSUER cannot and the certificate is missing, expired "
        "or nearly so: letsencrypt, the https URL of an ACME directory, or local. Empty: nobody",
        json_schema_extra=in_group("TLS", "https://acme.example.org/directory"),
    )
    cert_deploy_hooks: Annotated[tuple[tuple[str, ...], ...], BeforeValidator(commands)] = Field(
        (),
        description="Commands that take a new certificate to others once it is served: a JSON list of lists of words, "
        "run without a shell. They are shown in plans: no secrets",
        json_schema_extra=in_group("TLS", """'[["systemctl", "reload", "postfix"]]'"""),
    )
    cert_key_type: Literal["P-256", "P-384", "RSA-2048"] = Field(
        "P-256",
        description="Type of the key in certificates of an ACME authority; the local one has P-256, whatever is set",
        json_schema_extra=in_group("TLS"),
    )
    cert_preferred_chain: str = Field(
        "",
        description="Common name of the top issuer of the chain to take, where an ACME authority offers several",
        json_schema_extra=in_group("TLS"),
    )
    acme_profile: str = Field(
        "",
        description="Profile to ask an ACME authority for, as in tlsserver or shortlived. Empty: its own default",
        json_schema_extra=in_group("TLS"),
    )
    acme_eab_key_id: str = Field(
        "",
        description="Key id of the external account binding of CERT_ISSUER, where an ACME authority wants one",
        json_schema_extra=in_group("TLS"),
    )
    acme_eab_hmac_key: SecretStr | None = Field(
        None,
        description="HMAC key of the external account binding of CERT_ISSUER, base64url",
        json_schema_extra=in_group("TLS"),
    )
    acme_fallback_eab_key_id: str = Field(
        "",
        description="Key id of the external account binding of CERT_FALLBACK_ISSUER",
        json_schema_extra=in_group("TLS"),
    )
    acme_fallback_eab_hmac_key: SecretStr | None = Field(
        None,
        description="HMAC key of the external account binding of CERT_FALLBACK_ISSUER, base64url",
        json_schema_extra=in_group("TLS"),
    )
    acme_ca_file: str | None = Field(
        None,
        description="PEM file of the authority that signed the ACME server's own certificate, where no system knows it",
        json_schema_extra=in_group("TLS", "/etc/autogit/acme-ca.pem"),
    )
    acme_subnet: Annotated[str, BeforeValidator(ipv4_subnet)] = Field(
        "172.30.251.0/28",
        description="Subnet of Traefik's outer network in Docker where CERT_CHALLENGE=http-01: it passes challenges on "
        "to the first address, which is this host's",
        json_schema_extra=in_group("TLS"),
    )
    acme_email: Annotated[str, BeforeValidator(email_address)] | None = Field(
        None,
        description="Address that a public authority may write to",
        json_schema_extra=in_group("TLS", "admin@example.org"),
    )
    dns_provider: str = Field(
        "none",
        description="Where DNS records are kept that everybody sees: a provider's name, or none",
        json_schema_extra=in_group("DNS"),
    )
    dns_lan_provider: str = Field(
        "none",
        description="Where the same names are kept for the own network (split horizon): a provider, or none",
        json_schema_extra=in_group("DNS"),
    )
    dns_ttl: int = Field(
        300, ge=1, le=86400, description="Time to live of DNS records, in seconds", json_schema_extra=in_group("DNS")
    )
    ingress_ip: IpAddress | None = Field(
        None,
        description="Address that DNS names point to. Unset: detected",
        json_schema_extra=in_group("DNS", "192.168.1.170"),
    )
    ingress_ipv6: Annotated[str, BeforeValidator(ipv6_or_word)] = Field(
        "none",
        description="IPv6 address that DNS names point to as well; auto: detected; none: names have none",
        json_schema_extra=in_group("DNS"),
    )
    ingress_lan_ip: IpAddress | None = Field(
        None,
        description="Address that names point to in DNS_LAN_PROVIDER. Unset: this host's on its network",
        json_schema_extra=in_group("DNS", "192.168.1.170"),
    )
    ingress_lan_ipv6: Annotated[str, BeforeValidator(ipv6_or_word)] = Field(
        "none",
        description="IPv6 address that names point to in DNS_LAN_PROVIDER; auto: detected; none: names have none",
        json_schema_extra=in_group("DNS"),
    )
    dns_wildcard: bool = Field(
        True,
        description="Whether one wildcard and the domain itself lead here; false: one record for each service",
        json_schema_extra=in_group("DNS"),
    )
    dns_ssh_name: str = Field(
        "ssh",
        pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$",
        description="Name, below the domain, of what is reached by SSH; it is never proxied. Empty: none",
        json_schema_extra=in_group("DNS"),
    )
    dns_caa: Annotated[tuple[str, ...], BeforeValidator(caa_issuers)] = Field(
        (),
        description="Authorities that may sign for the domain (CAA), separated by commas. Empty: no such record",
        json_schema_extra=in_group("DNS", "letsencrypt.org"),
    )
    dns_proxied: bool = Field(
        False,
        description="Whether names lead to the provider's proxy, where it has one, instead of here",
        json_schema_extra=in_group("DNS"),
    )
    dns_allow_private: bool = Field(
        False,
        description="Whether addresses of a private network may stand in a zone that everybody sees",
        json_schema_extra=in_group("DNS"),
    )
    dns_resolvers: Annotated[tuple[str, ...], BeforeValidator(url_list)] = Field(
        (),
        description="Who is asked about public names: addresses or https URLs, separated by commas. Empty: well-known",
        json_schema_extra=in_group("DNS", "1.1.1.1,https://dns.google/dns-query"),
    )
    dns_address_sources: Annotated[tuple[str, ...], BeforeValidator(url_list)] = Field(
        (),
        description="Who is asked for this network's public address, separated by commas. Empty: those built in",
        json_schema_extra=in_group("DNS", "https://ip.example.org"),
    )
    port_overrides: Mapping[str, Port] = Field(default_factory=dict)
    image_overrides: Mapping[str, str] = Field(default_factory=dict)
    service_settings: Mapping[str, str] = Field(default_factory=dict)
    service_secrets: Mapping[str, SecretStr] = Field(default_factory=dict)
    provider_settings: Mapping[str, str] = Field(default_factory=dict)
    provider_secrets: Mapping[str, SecretStr] = Field(default_factory=dict)
    sources: Mapping[str, str] = Field(default_factory=dict, repr=False)
    secret_files: tuple[str, ...] = ()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing but what `load_settings` passes in."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @field_validator("services_enabled")
    @classmethod
    def _some_service(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("names no service")
        return value

    @property
    def port_range(self) -> tuple[int, int]:
        """The pool's lowest and highest port."""
        low, _, high = self.port_pool.partition("-")
        return int(low), int(high)

    @property
    def dns_providers(self) -> tuple[str, ...]:
        """The providers that records are kept in, that of the public view first."""
        return tuple(dict.fromkeys(name for name in (self.dns_provider, self.dns_lan_provider) if name != "none"))

    def source_of(self, key: str) -> str:
        """Return where a key was set: `.env line 5`, or `.env (default)`."""
        return self.sources.get(key, ".env (default)")

    def effective(self) -> dict[str, str]:
        """Return every setting in `.env` form, defaults included, sorted; a given secret reads `(secret)`."""
        plain = {
            name.upper(): env_text(getattr(self, name))
            for name, field in type(self).model_fields.items()
            if field.json_schema_extra
        }
        plain |= {key: str(port) for key, port in self.port_overrides.items()}
        plain |= {f"IMAGE_{s.upper().replace('-', '_')}": image for s, image in self.image_overrides.items()}
        plain |= self.service_settings
        plain |= self.provider_settings
        plain |= dict.fromkeys((*self.service_secrets, *self.provider_secrets), MASK)
        return dict(sorted(plain.items()))
