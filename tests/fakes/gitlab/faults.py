"""Faults that tests order: answers that fail, connections cut, delays, throttles, a full disk, a slow boot."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from email.utils import formatdate

from tests.fakes.gitlab.web import Reply

_HEALTH = ("/-/health", "/-/readiness", "/-/liveness", "/users/sign_in")
_MINUTE = 60


class ConnectionCutError(Exception):
    """Ends a request without the rest of its answer."""


@dataclass
class Fault:
    """Something that happens to the next requests of a path."""

    prefix: str
    times: int
    method: str = ""
    reply: Reply | None = None
    cut_after_bytes: int | None = None
    is_cut_in_request: bool = False
    delay_seconds: float = 0

    def meets(self, method, path):
        return self.times > 0 and path.startswith(self.prefix) and self.method in {"", method}


@dataclass(frozen=True)
class Throttle:
    """How many requests in how long."""

    requests: int
    period_seconds: int


class Faults:
    """What is to go wrong; safe to change while requests are under way."""

    def __init__(self):
        self._lock = threading.Lock()
        self._orders: list[Fault] = []
        self._throttles: dict[str, Throttle] = {}
        self._seen: defaultdict[str, deque] = defaultdict(deque)
        self._boot: deque[int] = deque()
        self.disk_full = False
        """Every push fails as git fails on a full disk."""

    def fail(self, prefix, *, status=503, times=1, body=None, headers=None, method=""):
        """Answer the next requests below a path with this status; a body that is a dict becomes JSON."""
        self._order(Fault(prefix, times, method, reply=Reply(status, body, headers or {})))

    def throttle_next(self, prefix, *, retry_after=1, times=1, method=""):
        """Answer the next requests below a path with 429, as Rack::Attack does."""
        reply = throttled("throttle_authenticated_api", Throttle(60, _MINUTE), 61, retry_after)
        self._order(Fault(prefix, times, method, reply=reply))

    def cut(self, prefix, *, after_bytes=100, times=1, method=""):
        """Drop the connection once this much of the answer's body was sent."""
        self._order(Fault(prefix, times, method, cut_after_bytes=after_bytes))

    def cut_request(self, prefix, *, after_bytes=100, times=1, method=""):
        """Drop the connection once this much of the request's body was read."""
        self._order(Fault(prefix, times, method, cut_after_bytes=after_bytes, is_cut_in_request=True))

    def delay(self, prefix, seconds, *, times=1, method=""):
        """Answer late."""
        self._order(Fault(prefix, times, method, delay_seconds=seconds))

    def limit_token(self, token_name, requests, period_seconds=_MINUTE):
        """Throttle the requests to the API of the token of that name."""
        with self._lock:
            self._throttles[token_name] = Throttle(requests, period_seconds)

    def boot(self, *, bad_gateway=0, not_ready=0):
        """Be booting: so many polls see nginx alone (502, and so does all else meanwhile), then so many see 503."""
        with self._lock:
            self._boot = deque([502] * bad_gateway + [503] * not_ready)

    def clear(self):
        """Let everything work again."""
        with self._lock:
            self._orders.clear()
            self._throttles.clear()
            self._seen.clear()
            self._boot.clear()
            self.disk_full = False

    def _order(self, fault):
        with self._lock:
            self._orders.append(fault)

    def take(self, method, path):
        """The fault that this request meets, used up once; None if it meets none."""
        with self._lock:
            for fault in self._orders:
                if fault.meets(method, path):
                    fault.times -= 1
                    self._orders = [one for one in self._orders if one.times > 0]
                    return fault
        return None

    def booting(self, path):
        """The answer of a GitLab that is not up yet, or None."""
        with self._lock:
            if not self._boot:
                return None
            status = self._boot.popleft() if path.startswith(_HEALTH) else self._boot[0]
        if status == 502:
            return Reply(
                502, "<html><head><title>GitLab is not responding</title></head>Waiting for GitLab to boot</html>"
            )
        if path.startswith("/-/readiness"):
            return Reply(503, {"status": "failed", "master_check": [{"status": "failed", "message": "unexpected"}]})
        return None

    def throttle(self, token_name):
        """The 429 that this token has earned, or None."""
        with self._lock:
            limit = self._throttles.get(token_name)
            if limit is None:
                return None
            now, seen = time.monotonic(), self._seen[token_name]
            while seen and seen[0] <= now - limit.period_seconds:
                seen.popleft()
            if len(seen) < limit.requests:
                seen.append(now)
                return None
            wait = max(1, math.ceil(seen[0] + limit.period_seconds - now)) if seen else limit.period_seconds
            return throttled("throttle_authenticated_api", limit, len(seen) + 1, wait)


def throttled(name, limit, observed, retry_after):
    """429 with the headers and the text of Rack::Attack in GitLab."""
    reset = time.time() + retry_after
    headers = {
        "Content-Type": "text/plain",
        "RateLimit-Name": name,
        "RateLimit-Limit": str(math.ceil(limit.requests * _MINUTE / limit.period_seconds)),
        "RateLimit-Observed": str(observed),
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": str(int(reset)),
        "RateLimit-ResetTime": formatdate(reset, usegmt=True),
        "Retry-After": str(retry_after),
    }
    return Reply(429, "Retry later\n", headers)
