"""Generic packages: files that a project keeps, which is where assets of releases go."""

from __future__ import annotations

import hashlib
import re
import secrets

from starlette.concurrency import run_in_threadpool

from tests.fakes.gitlab import declarations as takes
from tests.fakes.gitlab.find import find_project, has_role, require_numbered
from tests.fakes.gitlab.paging import paginate
from tests.fakes.gitlab.state import DEVELOPER, MAINTAINER, REPORTER, now
from tests.fakes.gitlab.views import moment
from tests.fakes.gitlab.web import ApiError, Reply, Route, forbidden, not_found

_PATH = "/projects/:id/packages/generic/:package_name/:package_version/:file_name"
GENERIC = re.compile(r"/api/v4/projects/[^/]+/packages/generic/[^/]+/[^/]+/[^/]+/?\Z")
_NAMES = {
    "package_name": re.compile(r"[A-Za-z0-9._+~-]+\Z"),
    "package_version": re.compile(r"(\.?[\w+-]+\.?)+\Z"),
    "file_name": re.compile(r"(?![.~@])[\w.+~@-]+(?<![~@])\Z"),
}
_CHUNK_BYTES = 1 << 18


class Files:
    """The files of packages on disk, named by number."""

    def __init__(self, root):
        self._folder = root / "packages"
        self._folder.mkdir(parents=True, exist_ok=True)

    def path(self, number):
        return self._folder / str(number)

    def scratch(self):
        return self._folder / f"incoming-{secrets.token_hex(8)}"


def _check_names(call):
    for name, expression in _NAMES.items():
        if not expression.match(call.ids[name]) or len(call.ids[name]) > 255:
            raise ApiError(400, {"error": f"{name} is invalid"})


def admit_upload(call):
    """The project, if the caller may put a package there."""
    _check_names(call)
    project = find_project(call, DEVELOPER)
    if not project.feature("package_registry"):
        raise forbidden()
    return project


def find_file(call):
    """The newest file of that name; not-found where there is none, or where the caller may not read it."""
    _check_names(call)
    project = _readable(call)
    for package in project.packages:
        if (package["name"], package["version"]) == (call.ids["package_name"], call.ids["package_version"]):
            for file in reversed(package["files"]):
                if file["file_name"] == call.ids["file_name"]:
                    return file
    raise not_found()


def _readable(call):
    project = find_project(call)
    if project.visibility == "private" and not has_role(call, project, REPORTER):
        raise forbidden()
    return project


def _keep(call, project, received):
    """Put a received file into its package."""
    name, version = call.ids["package_name"], call.ids["package_version"]
    same = [one for one in project.packages if (one["name"], one["version"]) == (name, version)]
    if not same:
        made = {"id": call.state.next_id("package"), "name": name, "version": version, "created_at": moment(now())}
        project.packages.append(made | {"files": []})
        same = project.packages[-1:]
    number = call.state.next_id("package_file")
    file = {"id": number, "package_id": same[0]["id"], "created_at": moment(now()), "file_name": call.ids["file_name"]}
    same[0]["files"].append(file | received)
    return same[0]["files"][-1]


async def receive(core, exchange, admit):
    """Store an upload; `admit` authenticates and finds the project, in the order the API does."""
    call, project = await run_in_threadpool(admit)
    scratch, digests, size = core.packages.scratch(), _Digests(), 0
    try:
        with scratch.open("wb") as stream:
            async for chunk in exchange.chunks():
                stream.write(chunk)
                digests.update(chunk)
                size += len(chunk)
        with core.state.lock:
            file = _keep(call, project, {"size": size} | digests.read())
            scratch.replace(core.packages.path(file["id"]))
    finally:
        scratch.unlink(missing_ok=True)
    wants_file = call.given.get("select") == "package_file"
    await exchange.reply(Reply(201, file if wants_file else {"message": "201 Created"}))


async def send(core, exchange, find):
    """Send a file."""
    file = await run_in_threadpool(find)
    size = str(file["size"])
    disposition = f'attachment; filename="{file["file_name"]}"'
    headers = {"Content-Type": "application/octet-stream", "Content-Length": size, "Content-Disposition": disposition}
    await exchange.start(200, headers)
    if exchange.method != "HEAD":
        with core.packages.path(file["id"]).open("rb") as stream:
            while data := stream.read(_CHUNK_BYTES):
                await exchange.chunk(data)
    await exchange.end()


class _Digests:
    def __init__(self):
        self._all = {name: hashlib.new(name, usedforsecurity=False) for name in ("md5", "sha1", "sha256")}

    def update(self, data):
        for digest in self._all.values():
            digest.update(data)

    def read(self):
        return {f"file_{name}": digest.hexdigest() for name, digest in self._all.items()}


# Lists


def _package(call, project, package):
    path = f"/{call.state.project_path(project)}/-/packages/{package['id']}"
    shown = {name: package[name] for name in ("id", "name", "version", "created_at")}
    links = {
        "web_path": path,
        "delete_api_path": f"{call.core.url}/api/v4/projects/{project.id}/packages/{package['id']}",
    }
    return shown | {"package_type": "generic", "status": "default", "_links": links, "tags": [], "pipelines": []}


def list_packages(call):
    project = _readable(call)
    wanted = call.get("package_name") or ""
    found = [one for one in project.packages if wanted.lower() in one["name"].lower()]
    found = [one for one in found if call.get("package_version") in {None, one["version"]}]
    if call.get("package_type") not in {None, "generic"}:
        found = []
    return paginate(call, found, lambda one: _package(call, project, one))


def _find(call, project):
    return require_numbered(project.packages, call.ids["package_id"], "Package")


def get_package(call):
    project = _readable(call)
    return Reply(200, _package(call, project, _find(call, project)))


def delete_package(call):
    project = find_project(call, MAINTAINER)
    project.packages.remove(_find(call, project))
    return Reply(204)


def list_files(call):
    package = _find(call, _readable(call))
    return paginate(call, package["files"], lambda file: file)


def _streamed(call):
    raise AssertionError(f"{call.raw_path} is streamed")


UPLOAD = Route("PUT", _PATH, _streamed, takes.GENERIC)
DOWNLOAD = Route("GET", _PATH, _streamed, access="optional")
_PACKAGES = "/projects/:id/packages"
ROUTES = (
    UPLOAD,
    DOWNLOAD,
    Route("GET", _PACKAGES, list_packages, takes.PACKAGE_LIST, access="optional"),
    Route("GET", f"{_PACKAGES}/:package_id", get_package, access="optional"),
    Route("DELETE", f"{_PACKAGES}/:package_id", delete_package),
    Route("GET", f"{_PACKAGES}/:package_id/package_files", list_files, takes.PAGE, access="optional"),
)
