"""Lists by page: the headers of GitLab's offset pagination, and its keyset pagination where projects have it."""

from __future__ import annotations

import math
from urllib.parse import parse_qsl, urlencode

from tests.fakes.gitlab.web import ApiError, Reply

DEFAULT, LARGEST = 20, 100
COUNTED = 10_000
"""Above this many, GitLab does not count: no X-Total, no X-Total-Pages, no rel="last"."""


def _link(call, relation, **changes):
    pairs = [(name, value) for name, value in parse_qsl(call.query, keep_blank_values=True) if name not in changes]
    query = urlencode([*pairs, *changes.items()])
    return f'<{call.url}?{query}>; rel="{relation}"'


def _size(call):
    size = call.get("per_page", DEFAULT)
    if size is None or size < 1:
        raise ApiError(400, {"error": "per_page does not have a valid value"})
    return min(size, LARGEST)


def paginate(call, items, show):
    """The page of a list that was asked for."""
    page, size = call.get("page", 1), _size(call)
    if page is None or page < 1:
        raise ApiError(400, {"error": "page does not have a valid value"})
    shown = [show(item) for item in items[(page - 1) * size : page * size]]
    return Reply(200, shown, _headers(call, page, size, len(items)))


def _headers(call, page, size, total):
    pages = max(1, math.ceil(total / size))
    is_counted = total <= COUNTED
    targets = {"prev": page - 1 if page > 1 else 0, "next": page + 1 if page < pages else 0, "first": 1}
    targets |= {"last": pages} if is_counted else {}
    links = [_link(call, name, page=number, per_page=size) for name, number in targets.items() if number]
    headers = {
        "X-Next-Page": str(targets["next"] or ""),
        "X-Page": str(page),
        "X-Per-Page": str(size),
        "X-Prev-Page": str(targets["prev"] or ""),
        "Link": ", ".join(links),
    }
    return headers | ({"X-Total": str(total), "X-Total-Pages": str(pages)} if is_counted else {})


def paginate_by_id(call, items, show):
    """Keyset pagination: ordered by id, and the next page begins behind the last one shown."""
    if call.get("order_by") != "id":
        raise ApiError(405, "Keyset pagination is not yet available for this type of request")
    size, rest = _size(call), items
    shown = rest[:size]
    if len(rest) <= size:
        return Reply(200, [show(item) for item in shown])
    behind = "id_before" if call.get("sort", "desc") == "desc" else "id_after"
    return Reply(200, [show(item) for item in shown], {"Link": _link(call, "next", **{behind: shown[-1].id})})
