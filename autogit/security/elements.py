"""Elements of HTML that no reader sees: where they stand and what they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator

from autogit.security.regions import Part, same

_START_TAG = re.compile(r"<([A-Za-z][A-Za-z0-9-]{0,30})\b([^<>]{0,4000})>")
_ANY_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9-]{0,30})\b[^<>]{0,4000}>")
_RULE = re.compile(r"([.#][\w-]{1,60}(?:\s{0,4},\s{0,4}[.#][\w-]{1,60}){0,20})\s{0,8}\{([^{}]{0,2000})\}")
_NAMES = re.compile(r"""\b(?:class|id)\s{0,4}=\s{0,4}["']?([^"'<>]{1,200})""", re.IGNORECASE)
_STYLE = re.compile(r"""\bstyle\s{0,4}=\s{0,4}(?:"([^"]{0,4000})"|'([^']{0,4000})'|([^\s"'>]{1,400}))""", re.IGNORECASE)
_FONT = re.compile(r"""^font$""", re.IGNORECASE)
_FONT_COLOUR = re.compile(
    r"""\bcolor\s{0,4}=\s{0,4}["']?(?:white|#fff(?:fff)?|transparent)\b|\bsize\s{0,4}=\s{0,4}["']?0\b""", re.IGNORECASE
)
_FLAG = re.compile(r"""(?:^|\s)hidden(?:\s|/|$|=["']?(?:hidden|true|until-found|)["']?)""", re.IGNORECASE)
_GONE = re.compile(r"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)", re.IGNORECASE)
_FAINT = re.compile(
    r"font-size\s*:\s*(?:0|0?\.\d{1,4}|1)(?:px|pt|em|rem|%|\s|;|!|$)|opacity\s*:\s*(?:0(?:\.0\d{0,3})?)(?:\s|;|!|%|$)"
    r"|(?:left|top|right|margin-left|margin-top|text-indent)\s*:\s*-\d{3,6}(?:px|em|rem|%|vw|vh)"
    r"|clip\s*:\s*rect\(\s*[01](?:px)?[\s,]+[01](?:px)?|clip-path\s*:\s*inset\(\s*(?:50|100)%"
    r"|(?:max-)?(?:height|width|line-height)\s*:\s*[01](?:px)?\s*(?:;|!|$)|transform\s*:\s*scale\(\s*0"
    r"|(?:^|[;\s])color\s*:\s*(?:transparent|rgba\([^()]{0,40},\s*0(?:\.0\d{0,3})?\s*\))",
    re.IGNORECASE,
)
_COLOUR = re.compile(r"(?:^|[;\s])color\s*:\s*([^;!]{1,40})", re.IGNORECASE)
_BACKGROUND = re.compile(r"background(?:-color)?\s*:\s*([^;!]{1,40})", re.IGNORECASE)
_WHITE = frozenset(("white", "#fff", "#ffffff", "#fefefe", "rgb(255,255,255)", "snow", "ivory"))
_VOID = frozenset(("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"))
_MOST_ELEMENTS = 2000
"""How many hidden elements of one text are told apart; the rest stands in the text's own view all the same."""


def hidden_elements(text: str) -> Iterator[Part]:
    """Yield the text of elements that no reader sees: not shown, tiny, see-through, white on white, off screen."""
    for start, end, _ in find_hidden_elements(text):
        inner = text[start:end]
        open_end = inner.find(">") + 1
        close = inner.rfind("</")
        stop = close if close >= open_end else len(inner)
        yield Part(start + open_end, start + stop, inner[open_end:stop], same)


def find_hidden_elements(text: str) -> Iterator[tuple[int, int, bool]]:
    """Yield where hidden elements stand, tags and all, and whether they only look empty (rather than are not shown)."""
    rules = (
        {name.strip(): style for names, style in _RULE.findall(text) for name in names.split(",")}
        if "{" in text
        else {}
    )
    at = 0
    for _ in range(_MOST_ELEMENTS):
        found = next((one for one in _START_TAG.finditer(text, at) if _hides(one, rules)), None)
        if found is None:
            return
        end = _element_end(text, found.group(1).lower(), found.end())
        name, attributes = found.groups()
        gone = _GONE.search(_style(attributes, rules)) or _FLAG.search(attributes) or name.lower() == "template"
        yield found.start(), end, not gone
        at = end


def _style(attributes: str, rules: dict[str, str]) -> str:
    inline = _STYLE.search(attributes)
    own = next((one for one in inline.groups() if one is not None), "") if inline else ""
    names = [word for match in _NAMES.findall(attributes) for word in match.split()] if rules else []
    return ";".join([own, *(rules.get(mark + name, "") for name in names for mark in ".#")])


def _hides(tag: re.Match[str], rules: dict[str, str]) -> bool:
    name, attributes = tag.groups()
    if name.lower() in _VOID or attributes.endswith("/") or not attributes.strip():
        return name.lower() == "template"
    if _FLAG.search(attributes) or (_FONT.match(name) and _FONT_COLOUR.search(attributes)):
        return True
    style = _style(attributes, rules)
    return bool(_GONE.search(style) or _FAINT.search(style)) or _is_blended(style)


def _is_blended(style: str) -> bool:
    """Say whether letters have the colour of what is behind them, which is white unless it is said."""
    colour, behind = _COLOUR.search(style), _BACKGROUND.search(style)
    if not colour:
        return False
    shade = re.sub(r"\s", "", colour.group(1)).lower()
    ground = re.sub(r"\s", "", behind.group(1)).lower() if behind else "white"
    return shade == ground or (shade in _WHITE and ground in _WHITE)


def _element_end(text: str, name: str, at: int) -> int:
    """Return where the element ends that opened before `at`; at the text's end if it is never closed."""
    depth = 1
    for match in _ANY_TAG.finditer(text, at):
        if match.group(2).lower() == name:
            depth += -1 if match.group(1) else 1
        if depth == 0:
            return match.end()
    return len(text)
