"""Users and their tokens."""

from __future__ import annotations

from datetime import timedelta

from tests.fakes.gitlab import declarations as takes
from tests.fakes.gitlab.naming import namespace_path_faults
from tests.fakes.gitlab.paging import paginate
from tests.fakes.gitlab.state import LIFETIME_DAYS, SCOPES, now
from tests.fakes.gitlab.web import ApiError, Reply, Route, invalid, not_found, unauthorized

_OWN_FIELDS = ("email", "name", "username", "admin", "external", "password")


def current_user(call):
    return Reply(200, call.core.views.user(call.user, is_admin=call.is_admin, is_self=True))


def _show(call):
    return lambda user: call.core.views.user(user, is_admin=call.is_admin)


def list_users(call):
    users = [user for user in call.state.users.values() if _is_wanted(call, user)]
    key = call.get("order_by", "id")
    users.sort(key=lambda user: getattr(user, key, user.id), reverse=call.get("sort", "desc") == "desc")
    return paginate(call, users, _show(call) if call.is_admin else call.core.views.user_basic)


def _is_wanted(call, user):
    search, name = (call.get("search") or "").lower(), call.get("username")
    if name is not None and user.username.lower() != name.lower():
        return False
    if search and not any(search in text.lower() for text in (user.username, user.name)) and search != user.email:
        return False
    wanted = {"active": user.state == "active", "blocked": user.state == "blocked", "external": user.external}
    wanted["admins"] = user.admin or not call.is_admin
    return all(holds for flag, holds in wanted.items() if call.get(flag))


def _find_user(call):
    number = call.ids["id"]
    user = call.state.users.get(int(number)) if number.isdigit() else None
    if user is None:
        raise not_found("User")
    return user


def get_user(call):
    return Reply(200, _show(call)(_find_user(call)))


def _check_user(call, ignored=None):
    for other in call.state.users.values():
        if other is ignored:
            continue
        if call.get("email") and other.email.lower() == call.get("email").lower():
            raise ApiError(409, "Email has already been taken")
        if call.get("username") and other.username.lower() == call.get("username").lower():
            raise ApiError(409, "Username has already been taken")
    faults = {}
    if "@" not in call.get("email", "@"):
        faults["email"] = ["is invalid"]
    if call.get("username") is not None and (bad := namespace_path_faults(call.get("username"))):
        faults["username"] = bad
    password = call.get("password")
    shortest = call.state.settings["minimum_password_length"]
    if password is not None and len(password) < shortest:
        faults["password"] = [f"is too short (minimum is {shortest} characters)"]
    if faults:
        raise invalid(**faults)
    name = call.state.find_namespace(call.get("username", ""))
    if name is not None and (ignored is None or name.owner_id != ignored.id):
        raise ApiError(409, "Username has already been taken")


def create_user(call):
    _check_user(call)
    kept = {name: value for name, value in call.values.items() if name not in _OWN_FIELDS}
    is_admin = bool(call.get("admin"))
    user = call.state.add_user(call.get("username"), call.get("name"), call.get("email"), admin=is_admin, **kept)
    user.external = bool(call.get("external"))
    return Reply(201, _show(call)(user))


def edit_user(call):
    user = _find_user(call)
    _check_user(call, ignored=user)
    for name, value in call.values.items():
        if name == "password":
            continue
        if name in _OWN_FIELDS:
            setattr(user, name, value)
        else:
            user.attributes[name] = value
    home = call.state.home(user)
    home.path, home.name = user.username, user.name
    return Reply(200, _show(call)(user))


def delete_user(call):
    user = _find_user(call)
    home = call.state.home(user)
    if call.state.projects_below(home):
        raise ApiError(409, "User cannot be removed while it owns projects")
    del call.state.namespaces[home.id], call.state.users[user.id]
    for token in [one for one in call.state.tokens.values() if one.user_id == user.id]:
        token.revoked = True
    return Reply(204)


def block_user(call):
    _find_user(call).state = "blocked" if call.raw_path.endswith("/block") else "active"
    return Reply(201, body=True)


# Tokens


def token_faults(settings, scopes, expires_at):
    """What the model says of a new token: {attribute: [messages]}."""
    faults = {}
    if not scopes:
        faults["scopes"] = ["can't be blank"]
    elif not set(scopes) <= set(SCOPES):
        faults["scopes"] = ["can only contain available scopes"]
    last = now().date() + timedelta(days=LIFETIME_DAYS)
    if expires_at is None and settings["require_personal_access_token_expiry"]:
        faults["expires_at"] = ["can't be blank"]
    elif expires_at is not None and expires_at > last:
        faults["expires_at"] = [f"must be before {(last + timedelta(days=1)).isoformat()}"]
    elif expires_at is not None and expires_at < now().date():
        faults["expires_at"] = ["can't be in the past"]
    return faults


def _sentence(faults):
    names = {"expires_at": "Expiration date", "scopes": "Scopes"}
    return " and ".join(f"{names[name]} {text}" for name, texts in faults.items() for text in texts)


def create_token_for_user(call):
    user = _find_user(call)
    expires_at = call.get("expires_at") or now().date() + timedelta(days=LIFETIME_DAYS)
    faults = token_faults(call.state.settings, call.get("scopes"), expires_at)
    if faults:
        raise ApiError(422, _sentence(faults))
    described = call.get("description") or ""
    token = call.state.add_token(user, call.get("name"), call.get("scopes"), expires_at, description=described)
    return Reply(201, call.core.views.token(token, with_value=True))


def list_tokens(call):
    wanted = call.get("user_id")
    if not call.is_admin and wanted not in {None, call.user.id}:
        raise unauthorized()
    if call.is_admin and wanted is not None and wanted not in call.state.users:
        raise not_found()
    owner = wanted if call.is_admin else call.user.id
    tokens = [one for one in call.state.tokens.values() if owner in {None, one.user_id} and _is_token_wanted(call, one)]
    return paginate(call, tokens, call.core.views.token)


def _is_token_wanted(call, token):
    if call.get("revoked") is not None and token.revoked != call.get("revoked"):
        return False
    if call.get("state") and token.active != (call.get("state") == "active"):
        return False
    after, before = call.get("expires_after"), call.get("expires_before")
    if (after or before) and token.expires_at is None:
        return False
    if (after and token.expires_at < after) or (before and token.expires_at > before):
        return False
    return (call.get("search") or "").lower() in token.name.lower()


def _find_own_token(call):
    """A token by number; only an administrator learns that there is none."""
    number = call.ids["id"]
    token = call.state.tokens.get(int(number)) if number.isdigit() else None
    if token is None:
        raise not_found() if call.is_admin else unauthorized()
    if not call.is_admin and token.user_id != call.user.id:
        raise unauthorized()
    return token


def get_token(call):
    return Reply(200, call.core.views.token(_find_own_token(call)))


def get_own_token(call):
    return Reply(200, call.core.views.token(call.token))


def _rotate(call, token):
    if token.revoked:
        call.state.revoke_family(token)
        raise ApiError(400, "400 Bad request - token already revoked")
    # The page: one week where a token must expire, else the longest time allowed.
    days = 7 if call.state.settings["require_personal_access_token_expiry"] else LIFETIME_DAYS
    expires_at = call.get("expires_at") or now().date() + timedelta(days=days)
    faults = token_faults(call.state.settings, token.scopes, expires_at)
    if faults:
        raise ApiError(400, f"400 Bad request - {_sentence(faults)}")
    token.revoked = True
    owner = call.state.users[token.user_id]
    made = call.state.add_token(
        owner, token.name, token.scopes, expires_at, description=token.description, family=token.family
    )
    return Reply(200, call.core.views.token(made, with_value=True))


def rotate_token(call):
    return _rotate(call, _find_own_token(call))


def rotate_own_token(call):
    return _rotate(call, call.token)


def revoke_token(call):
    number = call.ids["id"]
    token = call.state.tokens.get(int(number)) if number.isdigit() else None
    if token is None:
        raise not_found()
    if token.revoked or (not call.is_admin and token.user_id != call.user.id):
        raise ApiError(400, "400 Bad request")
    token.revoked = True
    return Reply(204)


def revoke_own_token(call):
    call.token.revoked = True
    return Reply(204)


def create_own_token(call):
    """`POST /user/personal_access_tokens`: by the page, only the scopes k8s_proxy and self_rotate."""
    if not set(call.get("scopes")) <= {"k8s_proxy", "self_rotate"}:
        raise ApiError(400, {"error": "scopes does not have a valid value"})
    call.ids["id"] = str(call.user.id)
    return create_token_for_user(call)


ROUTES = (
    Route("GET", "/user", current_user, scopes=("read_user",)),
    Route("POST", "/user/personal_access_tokens", create_own_token, takes.TOKEN_CREATE),
    Route("GET", "/users", list_users, takes.USER_LIST, scopes=("read_user",)),
    Route("POST", "/users", create_user, takes.USER_CREATE, access="admin"),
    Route("GET", "/users/:id", get_user, scopes=("read_user",)),
    Route("PUT", "/users/:id", edit_user, takes.USER_EDIT, access="admin"),
    Route("DELETE", "/users/:id", delete_user, access="admin"),
    Route("POST", "/users/:id/block", block_user, access="admin"),
    Route("POST", "/users/:id/unblock", block_user, access="admin"),
    Route("POST", "/users/:id/personal_access_tokens", create_token_for_user, takes.TOKEN_CREATE, access="admin"),
    Route("GET", "/personal_access_tokens", list_tokens, takes.TOKEN_LIST),
    Route("GET", "/personal_access_tokens/self", get_own_token, scopes=("*",)),
    Route("DELETE", "/personal_access_tokens/self", revoke_own_token, scopes=("*",)),
    Route("POST", "/personal_access_tokens/self/rotate", rotate_own_token, takes.TOKEN_ROTATE, scopes=("self_rotate",)),
    Route("GET", "/personal_access_tokens/:id", get_token),
    Route("POST", "/personal_access_tokens/:id/rotate", rotate_token, takes.TOKEN_ROTATE),
    Route("DELETE", "/personal_access_tokens/:id", revoke_token),
)
