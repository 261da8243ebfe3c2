"""Git LFS: the batch API, and the objects, kept once a project has sent them whole."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets

from tests.fakes.gitlab.git_http import DeniedError, identify
from tests.fakes.gitlab.state import DEVELOPER, REPORTER
from tests.fakes.gitlab.web import Reply

_TYPE = {"Content-Type": "application/vnd.git-lfs+json"}
_OBJECT = re.compile(r"gitlab-lfs/objects/(?P<oid>[0-9a-f]{64})(?:/(?P<size>\d+))?\Z")
_CHUNK_BYTES = 1 << 18


def _answer(core, status, text):
    return Reply(status, {"message": text, "documentation_url": f"{core.url}/help"}, _TYPE)


class Store:
    """LFS objects on disk, by hash; which project has which is known to the project."""

    def __init__(self, root):
        self._folder = root / "lfs"
        self._folder.mkdir(parents=True, exist_ok=True)

    def path(self, oid):
        return self._folder / oid

    def scratch(self):
        return self._folder / f"incoming-{secrets.token_hex(8)}"


class RefusalError(Exception):
    """An LFS request ends with this reply."""

    def __init__(self, reply):
        super().__init__(reply.status)
        self.reply = reply


def _admit(core, exchange, path, *, is_upload):
    """The project and its visitor; DeniedError or RefusalError as GitLab's LFS controllers have them."""
    who = identify(core, exchange, path, may_be_anonymous=not is_upload)
    state = core.state
    project = state.find_project(path) or state.find_moved(path)
    is_admin = who.user is not None and who.user.admin
    if project is None or not state.can_read(who.user, project, is_admin=is_admin):
        raise RefusalError(_answer(core, 404, "Not found."))
    role = state.role(who.user, project)
    if is_upload:
        may = "push_code" in who.abilities and (is_admin or role >= DEVELOPER) and not project.archived
    else:
        may = "download_code" in who.abilities and (project.visibility != "private" or is_admin or role >= REPORTER)
    if not (may and project.lfs_enabled):
        raise RefusalError(_answer(core, 403, "Access forbidden. Check your access level."))
    return project, who


async def serve_lfs(core, exchange, match):
    """Answer a request below `info/lfs` or `gitlab-lfs`."""
    try:
        await _serve(core, exchange, match["path"] + (match["wiki"] or ""), match["rest"])
    except (DeniedError, RefusalError) as end:
        await exchange.reply(end.reply)


async def _serve(core, exchange, path, rest):
    object_match = _OBJECT.match(rest)
    if rest == "info/lfs/objects/batch" and exchange.method == "POST":
        await exchange.reply(_batch(core, exchange, path, await exchange.body()))
    elif object_match and object_match["size"] and exchange.method == "PUT":
        await _receive(core, exchange, path, object_match["oid"], int(object_match["size"]))
    elif object_match and not object_match["size"] and exchange.method == "GET":
        await _send(core, exchange, path, object_match["oid"])
    elif rest.startswith("info/lfs/locks"):
        await exchange.reply(_locks(core, exchange, path, rest))
    elif rest.startswith("info/lfs/objects"):
        text = "Server supports batch API only, please update your Git LFS client to version 1.0.1 and up."
        await exchange.reply(_answer(core, 501, text))
    else:
        await exchange.reply(_answer(core, 404, "Not found."))


def _locks(core, exchange, path, rest):
    """Nobody ever holds a lock here."""
    with core.state.lock:
        _admit(core, exchange, path, is_upload=exchange.method == "POST")
    if rest == "info/lfs/locks/verify" and exchange.method == "POST":
        return Reply(200, {"ours": [], "theirs": []}, _TYPE)
    if rest == "info/lfs/locks" and exchange.method == "GET":
        return Reply(200, {"locks": []}, _TYPE)
    return _answer(core, 404, "Not found.")


def _batch(core, exchange, path, body):
    try:
        given = json.loads(body)
        operation, objects = given.get("operation"), given.get("objects") or []
    except (ValueError, AttributeError):
        operation, objects = None, []
    with core.state.lock:
        project, who = _admit(core, exchange, path, is_upload=operation == "upload")
        if not objects or operation not in {"upload", "download"}:
            return _answer(core, 404, "Not found.")
        header = _authorization(core, exchange, who)
        make = _upload if operation == "upload" else _download
        answers = [make(core, project, one, header) for one in objects]
    return Reply(200, {"objects": answers}, _TYPE)


def _authorization(core, exchange, who):
    """What the transfer shall send: a short-lived token of its own for users, nothing for the public."""
    if who.user is None:
        return {}
    if "push_code" not in who.abilities:
        return {"Authorization": exchange.headers["authorization"]}
    value = next((key for key, number in core.state.lfs_tokens.items() if number == who.user.id), "")
    if not value:
        value = f"lfs-{secrets.token_urlsafe(24)}"
        core.state.lfs_tokens[value] = who.user.id
    encoded = base64.b64encode(f"{who.user.username}:{value}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


def _href(core, project, oid):
    return f"{core.url}/{core.state.project_path(project)}.git/gitlab-lfs/objects/{oid}"


def _upload(core, project, wanted, header):
    answer = {"oid": wanted["oid"], "size": wanted["size"]}
    if wanted["oid"] in project.lfs:
        return answer
    headers = header | {"Content-Type": "application/octet-stream", "Transfer-Encoding": "chunked"}
    href = f"{_href(core, project, wanted['oid'])}/{wanted['size']}"
    return answer | {"actions": {"upload": {"href": href, "header": headers}}}


def _download(core, project, wanted, header):
    answer = {"oid": wanted["oid"], "size": wanted["size"]}
    if wanted["oid"] not in project.lfs:
        text = "Object does not exist on the server or you don't have permissions to access it"
        return answer | {"error": {"code": 404, "message": text}}
    if project.visibility == "public":
        answer["authenticated"] = True
    return answer | {"actions": {"download": {"href": _href(core, project, wanted["oid"]), "header": header}}}


async def _receive(core, exchange, path, oid, size):
    with core.state.lock:
        project, _ = _admit(core, exchange, path, is_upload=True)
    scratch, digest, received = core.lfs.scratch(), hashlib.sha256(), 0
    try:
        with scratch.open("wb") as file:
            async for chunk in exchange.chunks():
                file.write(chunk)
                digest.update(chunk)
                received += len(chunk)
        if core.faults.disk_full:
            raise RefusalError(Reply(500, {"message": "500 Internal Server Error"}))
        if received != size or digest.hexdigest() != oid:
            raise RefusalError(Reply(400, "SHA256 or size mismatch"))
        scratch.replace(core.lfs.path(oid))
    finally:
        scratch.unlink(missing_ok=True)
    with core.state.lock:
        project.lfs.add(oid)
    await exchange.reply(Reply(200, None, _TYPE))


async def _send(core, exchange, path, oid):
    with core.state.lock:
        project, _ = _admit(core, exchange, path, is_upload=False)
    file = core.lfs.path(oid)
    if oid not in project.lfs or not file.is_file():
        raise RefusalError(_answer(core, 404, "Not found."))
    await exchange.start(200, {"Content-Type": "application/octet-stream", "Content-Length": str(file.stat().st_size)})
    with file.open("rb") as stream:
        while data := stream.read(_CHUNK_BYTES):
            await exchange.chunk(data)
    await exchange.end()
