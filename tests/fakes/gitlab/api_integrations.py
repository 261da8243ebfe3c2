"""Push mirrors, deploy keys and hooks: kept and shown, nothing is pushed or called."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from tests.fakes.gitlab import declarations as takes
from tests.fakes.gitlab.find import find_project, require_numbered
from tests.fakes.gitlab.paging import paginate
from tests.fakes.gitlab.state import MAINTAINER, now
from tests.fakes.gitlab.views import moment
from tests.fakes.gitlab.web import ApiError, Reply, Route, invalid

_SECRET_OF_HOOKS = ("token", "signing_token")
_MIRROR = {"enabled": False, "only_protected_branches": False, "keep_divergent_refs": False, "auth_method": "password"}
_KEY = re.compile(r"(ssh-(rsa|ed25519|dss)|ecdsa-sha2-nistp\d+|sk-[\w@.-]+) [A-Za-z0-9+/]{40,}={0,3}( .*)?\Z")


def _scrub(url):
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return parts._replace(netloc=f"*****:*****@{parts.netloc.rpartition('@')[2]}").geturl()


def _mirror(mirror):
    return mirror | {"url": _scrub(mirror["url"])}


def list_mirrors(call):
    return paginate(call, find_project(call, MAINTAINER).mirrors, _mirror)


def _find_mirror(call):
    return require_numbered(find_project(call, MAINTAINER).mirrors, call.ids["mirror_id"])


def get_mirror(call):
    return Reply(200, _mirror(_find_mirror(call)))


def create_mirror(call):
    project = find_project(call, MAINTAINER)
    if urlsplit(call.get("url")).scheme not in {"http", "https", "ssh", "git"}:
        raise invalid(url="is blocked: Only allowed schemes are http, https, ssh, git")
    state = {
        "last_error": None,
        "last_successful_update_at": None,
        "last_update_at": None,
        "last_update_started_at": None,
    }
    mirror = {"id": call.state.next_id("mirror"), "update_status": "none", "host_keys": []} | state | _MIRROR
    mirror |= call.values
    project.mirrors.append(mirror)
    return Reply(201, _mirror(mirror))


def edit_mirror(call):
    mirror = _find_mirror(call)
    mirror.update(call.values)
    return Reply(200, _mirror(mirror))


def delete_mirror(call):
    mirror = _find_mirror(call)
    find_project(call).mirrors.remove(mirror)
    return Reply(204)


def sync_mirror(call):
    mirror = _find_mirror(call)
    if not mirror["enabled"]:
        raise ApiError(
            400, "400 Bad request - Cannot proceed with the push mirroring. Please verify your mirror configuration."
        )
    mirror["update_status"] = "scheduled"
    return Reply(204)


# Deploy keys


def _key(key):
    return {name: value for name, value in key.items() if name != "body"}


def list_keys(call):
    return paginate(call, find_project(call, MAINTAINER).keys, _key)


def _find_key(call):
    return require_numbered(find_project(call, MAINTAINER).keys, call.ids["key_id"], "Deploy Key")


def get_key(call):
    return Reply(200, _key(_find_key(call)))


def create_key(call):
    project = find_project(call, MAINTAINER)
    text = call.get("key").strip()
    if not _KEY.match(text):
        raise invalid(**{"deploy_key.key": "is invalid"})
    body = text.split()[1]
    if any(one["body"] == body for one in project.keys):
        raise invalid(**{"deploy_key.fingerprint_sha256": "has already been taken"})
    key = {
        "id": call.state.next_id("key"),
        "title": call.get("title"),
        "key": text,
        "created_at": moment(now()),
        "expires_at": call.get("expires_at"),
        "can_push": bool(call.get("can_push")),
        "body": body,
    }
    project.keys.append(key)
    return Reply(201, _key(key))


def edit_key(call):
    key = _find_key(call)
    key.update(call.values)
    return Reply(200, _key(key))


def delete_key(call):
    key = _find_key(call)
    find_project(call).keys.remove(key)
    return Reply(204)


# Hooks


def _hook(hook):
    return {name: value for name, value in hook.items() if name not in _SECRET_OF_HOOKS}


def list_hooks(call):
    return paginate(call, find_project(call, MAINTAINER).hooks, _hook)


def _find_hook(call):
    return require_numbered(find_project(call, MAINTAINER).hooks, call.ids["hook_id"])


def get_hook(call):
    return Reply(200, _hook(_find_hook(call)))


def _check_hook(call):
    """Invalid addresses, and those of this machine unless the settings allow them."""
    parts = urlsplit(call.get("url") or "http://ok.example")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ApiError(422, "Invalid url given")
    settings = call.state.settings
    is_local = parts.hostname in {"localhost", "127.0.0.1", "::1"} or parts.hostname.startswith(("10.", "192.168."))
    listed = settings["outbound_local_requests_whitelist"] or []
    is_listed = parts.hostname in listed or parts.netloc in listed
    if is_local and not is_listed and not settings["allow_local_requests_from_web_hooks_and_services"]:
        raise ApiError(422, "Invalid url given")


def create_hook(call):
    project = find_project(call, MAINTAINER)
    _check_hook(call)
    events = {word.partition(":")[0]: False for word in takes.EVENTS.split()}
    hook = {
        "id": call.state.next_id("hook"),
        "name": None,
        "description": None,
        "project_id": project.id,
        "created_at": moment(now()),
        "enable_ssl_verification": True,
        "alert_status": "executable",
        "disabled_until": None,
        "url_variables": [],
        "custom_headers": [],
        "push_events_branch_filter": "",
        "branch_filter_strategy": "wildcard",
        "custom_webhook_template": None,
        "repository_update_events": False,
        **events,
        "push_events": True,
    }
    hook |= call.values
    project.hooks.append(hook)
    return Reply(201, _hook(hook))


def edit_hook(call):
    hook = _find_hook(call)
    _check_hook(call)
    hook.update(call.values)
    return Reply(200, _hook(hook))


def delete_hook(call):
    hook = _find_hook(call)
    find_project(call).hooks.remove(hook)
    return Reply(204)


_MIRRORS, _KEYS, _HOOKS = (f"/projects/:id/{kind}" for kind in ("remote_mirrors", "deploy_keys", "hooks"))
ROUTES = (
    Route("GET", _MIRRORS, list_mirrors, takes.PAGE),
    Route("POST", _MIRRORS, create_mirror, takes.MIRROR_CREATE),
    Route("GET", f"{_MIRRORS}/:mirror_id", get_mirror),
    Route("PUT", f"{_MIRRORS}/:mirror_id", edit_mirror, takes.MIRROR_EDIT),
    Route("DELETE", f"{_MIRRORS}/:mirror_id", delete_mirror),
    Route("POST", f"{_MIRRORS}/:mirror_id/sync", sync_mirror),
    Route("GET", _KEYS, list_keys, takes.PAGE),
    Route("POST", _KEYS, create_key, takes.KEY_CREATE),
    Route("GET", f"{_KEYS}/:key_id", get_key),
    Route("PUT", f"{_KEYS}/:key_id", edit_key, takes.KEY_EDIT),
    Route("DELETE", f"{_KEYS}/:key_id", delete_key),
    Route("GET", _HOOKS, list_hooks, takes.PAGE),
    Route("POST", _HOOKS, create_hook, takes.HOOK_CREATE),
    Route("GET", f"{_HOOKS}/:hook_id", get_hook),
    Route("PUT", f"{_HOOKS}/:hook_id", edit_hook, takes.HOOK_EDIT),
    Route("DELETE", f"{_HOOKS}/:hook_id", delete_hook),
)
