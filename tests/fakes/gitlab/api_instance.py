"""The instance: version, settings, and OAuth applications."""

from __future__ import annotations

import secrets

from tests.fakes.gitlab import declarations as takes
from tests.fakes.gitlab.settings import PROTECTION, SECRET, SETTINGS, protection_defaults
from tests.fakes.gitlab.state import SCOPES
from tests.fakes.gitlab.views import moment
from tests.fakes.gitlab.web import ApiError, Reply, Route, invalid, not_found

_OIDC_SCOPES = ("openid", "profile", "email")


def get_version(call):
    return Reply(200, {"version": call.core.version, "revision": "0a1b2c3d4e5"})


def get_metadata(call):
    kas = {"enabled": False, "externalUrl": None, "externalK8sProxyUrl": None, "version": None}
    return Reply(200, {"version": call.core.version, "revision": "0a1b2c3d4e5", "kas": kas, "enterprise": False})


def get_settings(call):
    shown = {name: value for name, value in call.state.settings.items() if name not in SECRET}
    started = moment(call.core.started_at)
    return Reply(200, {"id": 1, "created_at": started, "updated_at": started} | shown)


def edit_settings(call):
    changes = dict(call.values)
    if (level := changes.get("default_branch_protection")) is not None:
        if level not in PROTECTION:
            raise ApiError(400, {"error": "default_branch_protection does not have a valid value"})
        changes.setdefault("default_branch_protection_defaults", protection_defaults(level))
    if "signin_enabled" in changes:
        changes["password_authentication_enabled_for_web"] = changes["signin_enabled"]
    _check_settings(call.state.settings | changes)
    call.state.settings.update(changes)
    return get_settings(call)


def _check_settings(settings):
    for kind in ("project", "group"):
        name = f"default_{kind}_visibility"
        if settings[name] in (settings["restricted_visibility_levels"] or []):
            raise invalid(**{name: "cannot be set to a restricted visibility level"})
    if not 8 <= settings["minimum_password_length"] <= 128:
        raise invalid(minimum_password_length="must be greater than or equal to 8")
    if not 1 <= settings["deletion_adjourned_period"] <= 90:
        raise invalid(deletion_adjourned_period="must be between 1 and 90")


def _application(entry, *, with_secret=False):
    hidden = () if with_secret else ("secret",)
    return {name: value for name, value in entry.items() if name not in hidden}


def create_application(call):
    wanted = call.get("scopes").split()
    faults = {}
    if not call.get("name").strip():
        faults["name"] = "can't be blank"
    if not call.get("redirect_uri").strip():
        faults["redirect_uri"] = "can't be blank"
    elif any(":" not in uri for uri in call.get("redirect_uri").split()):
        faults["redirect_uri"] = "must be an absolute URI."
    if not wanted:
        raise ApiError(400, {"error": "scopes is empty"})
    if not set(wanted) <= {*SCOPES, *_OIDC_SCOPES}:
        faults["scopes"] = "doesn't match configured on the server."
    if faults:
        raise invalid(**faults)
    entry = {
        "id": call.state.next_id("application"),
        "application_id": secrets.token_hex(32),
        "application_name": call.get("name"),
        "callback_url": call.get("redirect_uri"),
        "confidential": call.get("confidential", True),
        "scopes": wanted,
        "secret": f"gloas-{secrets.token_hex(32)}",
    }
    call.state.applications[entry["id"]] = entry
    return Reply(201, _application(entry, with_secret=True))


def list_applications(call):
    return Reply(200, [_application(entry) for entry in call.state.applications.values()])


def _find_application(call):
    number = call.ids["id"]
    if not number.isdigit():
        raise ApiError(400, {"error": "id is invalid"})
    entry = call.state.applications.get(int(number))
    if entry is None:
        raise not_found("Application")
    return entry


def delete_application(call):
    del call.state.applications[_find_application(call)["id"]]
    return Reply(204)


def renew_secret(call):
    entry = _find_application(call)
    entry["secret"] = f"gloas-{secrets.token_hex(32)}"
    return Reply(201, _application(entry, with_secret=True))


ROUTES = (
    Route("GET", "/version", get_version, scopes=("read_user",)),
    Route("GET", "/metadata", get_metadata, scopes=("read_user",)),
    Route("GET", "/application/settings", get_settings, access="admin"),
    Route("PUT", "/application/settings", edit_settings, SETTINGS, access="admin"),
    Route("GET", "/applications", list_applications, access="admin"),
    Route("POST", "/applications", create_application, takes.APPLICATION, access="admin"),
    Route("DELETE", "/applications/:id", delete_application, access="admin"),
    Route("POST", "/applications/:id/renew-secret", renew_secret, access="admin"),
)
