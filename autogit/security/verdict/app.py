"""The verdict service's HTTP side: a bare ASGI application, because each text waits for it.

`POST /v1/verdict` takes a body as it came and answers 204 with the decision in headers; 503 where it cannot judge now.
`GET /healthz` and `GET /metrics` are for those who watch over it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from autogit.security.verdict.judge import Action, Decision, Judge, Question
from autogit.security.verdict.metrics import CONTENT_TYPE, Metrics

_LOG = logging.getLogger(__name__)
_INLINE_BYTES = 8192
"""Up to here a text is judged at once: handing it to a thread would take longer."""
_BYTES_A_SECOND = 2 << 20
"""What a worker judges at least, on a slow machine: more than that in its time would only wait to be given up."""
_LONGEST_LABEL = 64
_MODES = frozenset({"monitor", "quarantine", "block"})

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class VerdictApp:
    """The application. A text is judged within `timeout` seconds or given up.

    At most `waiting` texts are taken on at once, and no more bytes than can be judged in time: whoever is told so at
    once may come again, who waits in vain has kept others waiting too.
    """

    def __init__(self, judge: Judge, metrics: Metrics, *, max_body_bytes: int, waiting: int, timeout: float) -> None:
        self._judge = judge
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._waiting = waiting
        self._timeout = timeout
        self._taken = 0
        self._taken_bytes = 0
        self._most_bytes = int(_BYTES_A_SECOND * timeout)
        # One: further threads of a process would only take turns with it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judge")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        match scope["method"], scope["path"]:
            case "POST", "/v1/verdict":
                await self._verdict(scope["headers"], receive, send)
            case "GET", "/healthz" | "/readyz":
                await _answer(send, 200, body=b"ok\n")
            case "GET", "/metrics":
                text = await asyncio.to_thread(self._metrics.text)
                await _answer(send, 200, [(b"content-type", CONTENT_TYPE.encode())], text)
            case _:
                await _answer(send, 404)

    async def _verdict(self, headers: Iterable[tuple[bytes, bytes]], receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        given = _by_name(headers)
        size = self._size(given)
        if self._taken and (self._taken >= self._waiting or self._taken_bytes + size > self._most_bytes):
            await self._fail(send, "busy")
            return
        self._take(1, size)
        try:
            body = await _body(receive, self._max_body_bytes)
            question = _question(body, given)
            decision = await asyncio.wait_for(self._decide(question), self._timeout)
        except TimeoutError:
            await self._fail(send, "timeout")
        except ConnectionError:
            return  # whoever asked has gone
        except Exception:  # noqa: BLE001 - the boundary: the ingress must not take silence for a verdict
            _LOG.exception("a text could not be judged")
            await self._fail(send, "error")
        else:
            self._note(question, decision, time.perf_counter() - began)
            self._note_unjudged(given.get("x-autogit-unjudged", ""))
            await _answer(send, 204, _said(decision))
        finally:
            self._take(-1, -size)

    def _size(self, given: dict[str, str]) -> int:
        """Return how much there may be to judge: what is compressed may be as large as a text may be."""
        length = given.get("content-length", "")
        known = length.isascii() and length.isdigit() and not given.get("content-encoding")
        return min(int(length), self._max_body_bytes) if known else self._max_body_bytes

    def _take(self, number: int, size: int) -> None:
        self._taken += number
        self._taken_bytes += size
        self._metrics.waiting.set(self._taken)

    async def _decide(self, question: Question) -> Decision:
        if len(question.body) > self._max_body_bytes:
            monitored = question.mode == "monitor"
            return Decision(Action.PASS if monitored else Action.TOO_LARGE, verdict=str(Action.TOO_LARGE))
        if len(question.body) <= _INLINE_BYTES and not question.content_encoding:
            return self._judge.decide(question)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._judge.decide, question)

    async def _fail(self, send: Send, reason: str) -> None:
        self._metrics.failures.labels(reason).inc()
        await _answer(send, 503, [(b"retry-after", b"1")])

    def _note(self, question: Question, decision: Decision, seconds: float) -> None:
        metrics = self._metrics
        metrics.requests.labels(question.service, question.mode).inc()
        metrics.verdicts.labels(question.service, decision.verdict, str(decision.action)).inc()
        metrics.seconds.observe(seconds)
        metrics.bytes.observe(len(question.body))

    def _note_unjudged(self, told: str) -> None:
        """Count what the ingress could ask nobody about: `passed,refused`. It tells until it has an answer."""
        passed, _, refused = told.partition(",")
        for outcome, number in (("passed", passed), ("refused", refused)):
            if number.isascii() and number.isdigit() and len(number) < 10:  # noqa: PLR2004 - no honest number is longer
                self._metrics.unjudged.labels(outcome).inc(int(number))


def _by_name(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _question(body: bytes, given: dict[str, str]) -> Question:
    mode = given.get("x-autogit-mode", "")
    return Question(
        body=body,
        content_type=given.get("content-type", ""),
        content_encoding=given.get("content-encoding", ""),
        service=given.get("x-autogit-service", "other")[:_LONGEST_LABEL],
        mode=mode if mode in _MODES else "block",
        request_id=given.get("x-request-id", "")[:128],
    )


def _said(decision: Decision) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-autogit-action", str(decision.action).encode()),
        (b"x-autogit-risk", decision.risk.encode()),
        (b"x-autogit-verdict", decision.verdict.encode()),
        (b"x-autogit-quarantine", decision.quarantine_id.encode()),
    ]


async def _body(receive: Receive, limit: int) -> bytes:
    """Return the body, or a little more than `limit` of it. Raises ConnectionError where the asker has gone."""
    found: list[bytes] = []
    size = 0
    while size <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        found.append(message.get("body", b""))
        size += len(found[-1])
        if not message.get("more_body"):
            break
    return b"".join(found)


async def _answer(send: Send, status: int, headers: Iterable[tuple[bytes, bytes]] = (), body: bytes = b"") -> None:
    length = [] if status == 204 else [(b"content-length", str(len(body)).encode())]  # noqa: PLR2004
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})
