"""The ASGI application: faults first, then the API, git, packages, pages; and what the fake's own programs ask."""

from __future__ import annotations

import asyncio
import json
import secrets
import traceback
from dataclasses import dataclass
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool

from tests.fakes.gitlab import (
    api_groups,
    api_instance,
    api_integrations,
    api_issues,
    api_packages,
    api_projects,
    api_releases,
    api_repository,
    api_users,
    lfs,
)
from tests.fakes.gitlab.access import post_receive, pre_receive
from tests.fakes.gitlab.authentication import authenticate, check_scopes, sudo, token_value
from tests.fakes.gitlab.exchange import Exchange
from tests.fakes.gitlab.faults import ConnectionCutError
from tests.fakes.gitlab.git_http import GIT_PATH, redirect_to_git, serve_git
from tests.fakes.gitlab.pages import find_page
from tests.fakes.gitlab.rails import run_script
from tests.fakes.gitlab.state import now
from tests.fakes.gitlab.web import ApiError, Call, Reply, Router, read_parameters, unauthorized

API = "/api/v4"
_CONTROL = "/__fake__/"
_MODULES = (
    *(api_users, api_instance, api_groups, api_projects, api_repository, api_releases, api_issues, api_integrations),
    api_packages,
)
ROUTES = tuple(route for module in _MODULES for route in module.ROUTES)


class Request(NamedTuple):
    """A line of the log."""

    method: str
    path: str
    status: int
    token: str


@dataclass(frozen=True)
class Unknown:
    """A parameter that GitLab CE does not declare for an endpoint, and drops."""

    method: str
    endpoint: str
    name: str


class App:
    """Answers requests for a fake GitLab."""

    def __init__(self, core):
        self._core = core
        self._router = Router(ROUTES)

    async def __call__(self, scope, receive, send):
        exchange = Exchange(scope, receive, send, self._log)
        if exchange.raw_path.startswith(_CONTROL):
            await self._control(exchange)
            return
        try:
            await self._answer(exchange)
        except ConnectionCutError:
            # An answer that is begun and not ended makes uvicorn close the connection; a client that left has none.
            if not exchange.status:
                await exchange.start(200, {"Content-Length": "1"})
        except Exception:  # noqa: BLE001 # any fault of the fake is kept for the test to see
            self._core.crashes.append(traceback.format_exc())
            if not exchange.status:
                await exchange.reply(Reply(500, {"message": "500 Internal Server Error"}))
        finally:
            if not exchange.status:
                self._log(exchange)

    def _log(self, exchange):
        if not exchange.raw_path.startswith(_CONTROL):
            self._core.requests.append(Request(exchange.method, exchange.raw_path, exchange.status, exchange.token))

    async def _answer(self, exchange):
        if (booting := self._core.faults.booting(exchange.path)) is not None:
            await exchange.reply(booting)
            return
        fault = self._core.faults.take(exchange.method, exchange.path)
        if fault is not None:
            await asyncio.sleep(fault.delay_seconds)
            if fault.is_cut_in_request:
                exchange.request_cut_after_bytes = fault.cut_after_bytes
            else:
                exchange.cut_after_bytes = fault.cut_after_bytes
            if fault.reply is not None:
                await exchange.reply(fault.reply)
                return
        await self._dispatch(exchange)

    async def _dispatch(self, exchange):
        if api_packages.GENERIC.match(exchange.raw_path):
            await self._stream_package(exchange)
        elif exchange.raw_path.startswith(f"{API}/"):
            body = await exchange.body()
            await exchange.reply(await run_in_threadpool(self._answer_api, exchange, body))
        elif match := GIT_PATH.match(exchange.path):
            is_lfs = match["rest"].startswith(("info/lfs", "gitlab-lfs"))
            await (lfs.serve_lfs if is_lfs else serve_git)(self._core, exchange, match)
        elif (page := find_page(self._core, exchange)) is not None:
            await exchange.reply(page)
        elif not await redirect_to_git(self._core, exchange):
            await exchange.reply(
                Reply(404, "<html><head><title>The page could not be found (404)</title></head></html>")
            )

    def _answer_api(self, exchange, body):
        try:
            with self._core.state.lock:
                return self._call_api(exchange, body)
        except ApiError as error:
            return error.reply()

    def _call_api(self, exchange, body):
        call = self._admit(exchange, body)
        return call.route.handler(call)

    def _admit(self, exchange, body=b""):
        """A call whose caller is known and whose parameters are read."""
        raw_path = exchange.raw_path.removeprefix(API)
        route, ids = self._router.find(exchange.method, raw_path)
        given = read_parameters(exchange.query, exchange.headers.get("content-type", ""), body)
        call = Call(self._core, route, ids, given, raw_path, exchange.query)
        self._authenticate(call, exchange)
        self._read(call)
        return call

    async def _stream_package(self, exchange):
        def admit():
            with self._core.state.lock:
                call = self._admit(exchange)
                return call, api_packages.admit_upload(call)

        def find():
            with self._core.state.lock:
                return api_packages.find_file(self._admit(exchange))

        try:
            if exchange.method == "PUT":
                await api_packages.receive(self._core, exchange, admit)
            else:
                await api_packages.send(self._core, exchange, find)
        except ApiError as error:
            await exchange.reply(error.reply())

    def _authenticate(self, call, exchange):
        """Find out who calls, and whether this endpoint is for them."""
        value = token_value(exchange.headers, call.given)
        if not value:
            if call.route.access in {"user", "admin"}:
                raise unauthorized()
            return
        call.token, call.user = authenticate(self._core.state, value)
        exchange.token = call.token.name
        if (throttled := self._core.faults.throttle(call.token.name)) is not None:
            raise ApiError(429, throttled.body, throttled.headers)
        check_scopes(call.token, call.route)
        call.token.last_used_at = now()
        if (wanted := exchange.headers.get("sudo") or call.given.get("sudo")) is not None:
            call.user = sudo(self._core.state, call.token, call.user, wanted)
        needs_mode = self._core.state.settings["admin_mode"]
        call.is_admin = call.user.admin and (not needs_mode or "admin_mode" in call.token.scopes)
        if call.route.access == "admin" and not call.is_admin:
            raise ApiError(403, "403 Forbidden")

    def _read(self, call):
        for name in call.route.parameters.unknown(call.given):
            one = Unknown(call.route.method, call.route.pattern, name)
            if one not in self._core.unknown_parameters:
                self._core.unknown_parameters.append(one)
        call.values, fault = call.route.parameters.read(call.given)
        if fault:
            raise ApiError(400, {"error": fault})

    async def _control(self, exchange):
        """What the hooks and the stand-in for rails ask; for nobody else."""
        body = await exchange.body()
        if not secrets.compare_digest(exchange.headers.get("x-key", ""), self._core.key):
            await exchange.reply(Reply(403, {"message": "403 Forbidden"}))
            return
        try:
            answer = await run_in_threadpool(self._run_control, exchange.raw_path, json.loads(body))
        except Exception:  # noqa: BLE001 # any fault of the fake is kept for the test to see
            self._core.crashes.append(traceback.format_exc())
            answer = [True, "the fake GitLab failed"]
        await exchange.reply(Reply(200, answer))

    def _run_control(self, path, given):
        if path == "/__fake__/rails":
            return run_script(self._core, given["script"])
        hooks = {"pre-receive": pre_receive, "post-receive": post_receive}
        return list(hooks[given["hook"]](self._core, given))
