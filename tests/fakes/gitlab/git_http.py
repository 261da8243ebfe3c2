"""Git over HTTP: who may, then git's own `http-backend`, its input and output passed through as they come."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from dataclasses import dataclass
from urllib.parse import parse_qs

from tests.fakes.gitlab.authentication import GitUser, basic_credentials, git_user
from tests.fakes.gitlab.faults import ConnectionCutError
from tests.fakes.gitlab.state import DEVELOPER, REPORTER
from tests.fakes.gitlab.web import ApiError, Reply

GIT_PATH = re.compile(
    r"/(?P<path>[^?]+?)(?P<wiki>\.wiki)?\.git/"
    r"(?P<rest>info/refs|git-upload-pack|git-receive-pack|info/lfs/.*|gitlab-lfs/objects/.*)\Z"
)
_WITHOUT_GIT = re.compile(r"/(?P<path>[\w.-]+(/[\w.-]+)+)/info/refs\Z")
_CHUNK_BYTES = 1 << 16
_NOT_FOUND = "The project you were looking for could not be found or you don't have permission to view it."
_WIKI_NOT_FOUND = "The wiki you were looking for could not be found."


class DeniedError(Exception):
    """A git client is turned away with a status and a sentence it shows."""

    def __init__(self, status, text, headers=None):
        super().__init__(text)
        self.reply = Reply(status, text, headers or {})


@dataclass(frozen=True)
class Visit:
    """A git request that may go on."""

    project: object
    is_wiki: bool
    who: GitUser


def identify(core, exchange, path, *, may_be_anonymous):
    """Who comes; DeniedError with the challenge that makes git ask for credentials."""
    credentials = basic_credentials(exchange.headers)
    if credentials is not None:
        who = git_user(core.state, credentials)
        if who is not None:
            exchange.token = who.token_name
            return who
    elif may_be_anonymous:
        project = core.state.find_project(path) or core.state.find_moved(path)
        if project is not None and project.visibility == "public":
            return GitUser()
    page = f"{core.url}/help/topics/git/troubleshooting_git.md#error-on-git-fetch-http-basic-access-denied"
    text = (
        "HTTP Basic: Access denied. If a password was provided for Git authentication, the password was incorrect or "
        "you're required to use a token instead of a password. If a token was provided, it was either incorrect, "
        f"expired, or improperly scoped. See {page}"
    )
    raise DeniedError(401, text, {"WWW-Authenticate": 'Basic realm="GitLab"'})


def admit(core, exchange, path, *, is_wiki, service):
    """Check a visit as GitLab's git access does, in its order."""
    if service not in {"git-upload-pack", "git-receive-pack"}:
        raise DeniedError(403, "The command you're trying to execute is not allowed.")
    is_push = service == "git-receive-pack"
    who = identify(core, exchange, path, may_be_anonymous=not is_push)
    if ("push_code" if is_push else "download_code") not in who.abilities:
        raise DeniedError(403, f"You are not allowed to {'upload' if is_push else 'download'} code.")
    state = core.state
    project = state.find_project(path)
    if project is None and (project := state.find_moved(path)) is not None and is_push:
        new = state.project_path(project)
        project.messages[who.user.id] = (
            f"\nProject '{path}' was moved to '{new}'.\n\nPlease update your Git remote:\n\n"
            f"  git remote set-url origin {core.url}/{new}.git\n"
        )
    if project is None and is_push and not is_wiki:
        project = _create_on_push(core, path, who.user)
    is_admin = who.user is not None and who.user.admin
    if project is None or not state.can_read(who.user, project, is_admin=is_admin):
        raise DeniedError(404, _WIKI_NOT_FOUND if is_wiki else _NOT_FOUND)
    if not core.repositories.path(project, wiki=is_wiki).exists():
        raise DeniedError(404, f"A repository for this {'wiki' if is_wiki else 'project'} does not exist yet.")
    (_check_push if is_push else _check_download)(core, project, who.user, is_wiki=is_wiki)
    return Visit(project, is_wiki, who)


def _create_on_push(core, path, user):
    """GitLab makes a private project of a push to a path that nobody has, where the user may create projects."""
    parent, _, name = path.rpartition("/")
    namespace = core.state.find_namespace(parent)
    if namespace is None:
        return None
    try:
        project = core.create_on_push(user, namespace, name)
    except ApiError as refusal:
        messages = refusal.body["message"]
        texts = (f"{key.capitalize()} {text}" for key, some in messages.items() for text in some)
        raise DeniedError(422, f"Could not create project: {', '.join(texts)}") from refusal
    if project is not None:
        project.messages[user.id] = f"\nThe private project {path} was successfully created.\n"
    return project


def _check_download(core, project, user, *, is_wiki):
    is_member = user is not None and (user.admin or core.state.role(user, project) >= REPORTER)
    is_on = project.feature("wiki") if is_wiki else project.feature("repository")
    if not is_on or (project.visibility == "private" and not is_member):
        what = "files from this wiki" if is_wiki else "code from this project"
        raise DeniedError(403, f"You are not allowed to download {what}.")


def _check_push(core, project, user, *, is_wiki):
    if project.archived or core.state.is_going(project):
        raise DeniedError(403, "You can't push code to an archived project.")
    may = user.admin or core.state.role(user, project) >= DEVELOPER
    if is_wiki and not (may and project.feature("wiki")):
        raise DeniedError(403, "You are not allowed to write to this project's wiki.")
    if not may:
        raise DeniedError(403, "You are not allowed to push code to this project.")


async def serve_git(core, exchange, match):
    """Answer `info/refs`, `git-upload-pack` or `git-receive-pack`."""
    rest = match["rest"]
    service = rest
    if rest == "info/refs":
        service = parse_qs(exchange.query).get("service", [""])[0]
    if exchange.method != ("GET" if rest == "info/refs" else "POST"):
        await exchange.reply(Reply(403 if exchange.method == "HEAD" else 404))
        return
    try:
        with core.state.lock:
            visit = admit(core, exchange, match["path"], is_wiki=bool(match["wiki"]), service=service)
    except DeniedError as denied:
        await exchange.reply(denied.reply)
        return
    await _run(exchange, _environment(core, exchange, visit, rest))


async def redirect_to_git(core, exchange):
    """`group/project/info/refs` leads to `group/project.git/info/refs`, whether there is such a project or not."""
    match = _WITHOUT_GIT.match(exchange.path)
    if match is None or exchange.method not in {"GET", "HEAD"}:
        return False
    query = f"?{exchange.query}" if exchange.query else ""
    target = f"{core.url}/{match['path'].removesuffix('.git')}.git/info/refs{query}"
    await exchange.reply(
        Reply(301, f'<html><body>You are being <a href="{target}">redirected</a>.</body></html>', {"Location": target})
    )
    return True


def _environment(core, exchange, visit, rest):
    """What CGI and git need, and what the hooks are to know."""
    name = core.repositories.name(visit.project, wiki=visit.is_wiki)
    environment = core.repositories.environment() | {
        "GIT_PROJECT_ROOT": str(core.repositories.folder),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_HTTP_MAX_REQUEST_BUFFER": "100M",
        "PATH_INFO": f"/{name}/{rest}",
        "REQUEST_METHOD": exchange.method,
        "QUERY_STRING": exchange.query,
        "CONTENT_TYPE": exchange.headers.get("content-type", ""),
        "REMOTE_ADDR": "127.0.0.1",
        "FAKE_GITLAB_PORT": str(core.port),
        "FAKE_GITLAB_KEY": core.key,
        "FAKE_GITLAB_PROJECT": str(visit.project.id),
        "FAKE_GITLAB_WIKI": "1" if visit.is_wiki else "0",
        "FAKE_GITLAB_USER": str(visit.who.user.id) if visit.who.user else "0",
    }
    passed = {
        "content-length": "CONTENT_LENGTH",
        "content-encoding": "HTTP_CONTENT_ENCODING",
        "git-protocol": "GIT_PROTOCOL",
    }
    environment |= {variable: exchange.headers[name] for name, variable in passed.items() if name in exchange.headers}
    if visit.who.user is not None:
        environment["REMOTE_USER"] = visit.who.user.username
    return environment


async def _run(exchange, environment):
    process = await asyncio.create_subprocess_exec(
        "git",
        "http-backend",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    feeding = asyncio.create_task(_feed(exchange, process))
    try:
        await _relay(exchange, process)
    finally:
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeding
        _kill(process)
        # Pipes are read to their end, or the transport would be left open.
        await process.communicate()


def _kill(process):
    """End the backend and all that it started; one that has ended is left alone."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def _feed(exchange, process):
    """Pass the request's body on; a client that goes away takes the process with it."""
    try:
        async for chunk in exchange.chunks():
            process.stdin.write(chunk)
            await process.stdin.drain()
    except ConnectionCutError:
        _kill(process)
    except (BrokenPipeError, ConnectionResetError):
        return  # it has read enough
    finally:
        process.stdin.close()


async def _relay(exchange, process):
    status, headers = 200, {}
    while (line := (await process.stdout.readline()).decode("latin-1").strip()) != "":
        name, _, value = line.partition(":")
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            headers[name] = value.strip()
    if exchange.is_cut:
        raise ConnectionCutError
    if not headers:
        status, headers = 500, {"Content-Type": "text/plain"}
    await exchange.start(status, headers)
    while data := await process.stdout.read(_CHUNK_BYTES):
        await exchange.chunk(data)
    await process.wait()
    await exchange.end()
