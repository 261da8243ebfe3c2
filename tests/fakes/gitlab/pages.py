"""What is no API: health checks, the sign-in page, and the description of GitLab as OpenID provider."""

from __future__ import annotations

from urllib.parse import parse_qs

from tests.fakes.gitlab.state import SCOPES
from tests.fakes.gitlab.web import Reply

_CHECKS = ("db", "cache", "queues", "shared_state", "trace_chunks", "gitaly")
_SIGN_IN = "<!DOCTYPE html><html><head><title>Sign in · GitLab</title></head><body></body></html>"
_OPENID = ("openid", "profile", "email")
_CLAIMS = ("iss", "sub", "aud", "exp", "iat", "sub_legacy", "name", "nickname", "preferred_username", "email")


def find_page(core, exchange):
    """The reply for a path of the web interface, or None."""
    pages = {
        "/": lambda: Reply(302, "<html><body></body></html>", {"Location": f"{core.url}/users/sign_in"}),
        "/-/health": lambda: Reply(200, "GitLab OK"),
        "/-/liveness": lambda: Reply(200, {"status": "ok"}),
        "/-/readiness": lambda: Reply(200, _readiness(exchange)),
        "/users/sign_in": lambda: Reply(200, _SIGN_IN),
        "/.well-known/openid-configuration": lambda: Reply(200, _openid(core)),
    }
    make = pages.get(exchange.path.rstrip("/") or "/")
    return make() if make and exchange.method in {"GET", "HEAD"} else None


def _readiness(exchange):
    ready = {"status": "ok", "master_check": [{"status": "ok"}]}
    if parse_qs(exchange.query).get("all") == ["1"]:
        ready |= {f"{name}_check": [{"status": "ok"}] for name in _CHECKS}
    return ready


def _openid(core):
    url = core.url
    endpoints = {
        "authorization": "authorize",
        "token": "token",
        "revocation": "revoke",
        "introspection": "introspect",
        "userinfo": "userinfo",
        "device_authorization": "authorize_device",
    }
    return {
        "issuer": url,
        **{f"{name}_endpoint": f"{url}/oauth/{path}" for name, path in endpoints.items()},
        "jwks_uri": f"{url}/oauth/discovery/keys",
        "scopes_supported": [*SCOPES, *_OPENID],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "grant_types_supported": [
            *("authorization_code", "password", "client_credentials"),
            *("urn:ietf:params:oauth:grant-type:device_code", "refresh_token"),
        ],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "claim_types_supported": ["normal"],
        "claims_supported": [*_CLAIMS, "email_verified", "website", "profile", "picture", "groups", "groups_direct"],
        "code_challenge_methods_supported": ["plain", "S256"],
    }
