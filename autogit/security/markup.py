"""Decoders of markup: what a rendered page does not show, or shows without the tags that stand between letters."""

from __future__ import annotations

import re
from collections.abc import Iterator

from autogit.security import hints
from autogit.security.regions import Part, matches, same, substituted

_COMMENT_START = re.compile(r"<!-{1,3}|<%--|\{\{!--|\{\{/\*|\{#-?|\{/\*")
_COMMENT_ENDS = {
    "<!": re.compile(r"--!?>|-{1,3}>"),
    "<%": re.compile("--%>"),
    "{{": re.compile(r"--\}\}|\*/[ -]{0,2}\}\}"),
    "{#": re.compile(r"-?#\}"),
    "{/": re.compile(r"\*/\}"),
}
_LINK_TITLE = re.compile(
    r"""\]\([^()\s]{0,500}[ \t\n]{1,8}(?:"([^"\n]{3,2000})"|'([^'\n]{3,2000})'|\(([^()\n]{3,2000})\))\s{0,8}\)"""
)
_REFERENCE = re.compile(
    r"^[ \t>]{0,8}\[[^\]\n^]{1,2000}\]:[ \t]{0,8}(?:<[^<>\n]{0,500}>|[^\s\"'(]{1,500})?[ \t]{0,8}\n?[ \t]{0,8}"
    r"[\"'(]([^\n]{3,4000})[\"')][ \t]{0,8}$",
    re.MULTILINE,
)
_REFERENCE_NAME = re.compile(r"^[ \t>]{0,8}\[([^\]\n^]{12,2000})\]:", re.MULTILINE)
_ALT = re.compile(r"!\[([^\[\]\n]{8,2000})\]")
_ATTRIBUTE = re.compile(
    r"""\b(?:alt|title|aria-label|aria-description|placeholder|content|summary|data-[a-z-]{1,30})\s{0,4}=\s{0,4}"""
    r"""(?:"([^"]{8,4000})"|'([^']{8,4000})')""",
    re.IGNORECASE,
)
_LONGEST = 4000
_MARK = re.compile(
    r"<!--[^<>]{0,2000}-->|</?[A-Za-z][^<>]{0,1000}>|\*\*|~~|(?<=\w)[*`]|[*`](?=\w)|(?<=[a-z])-\n[ \t>]{0,8}(?=[a-z])"
)


def comments(text: str) -> Iterator[Part]:
    """Yield what comments of HTML and of templates hold; one of HTML that is never closed reaches to the end."""
    at, open_kinds = 0, set(_COMMENT_ENDS)
    while start := _COMMENT_START.search(text, at):
        kind = start.group()[:2]
        at = start.end()
        end = _COMMENT_ENDS[kind].search(text, at) if kind in open_kinds else None
        if end:
            yield Part(at, end.start(), text[at : end.start()], same)
            at = end.end()
        elif kind == "<!":
            yield Part(at, len(text), text[at:], same)
            return
        else:
            # Nothing closes one of this kind from here on: not to be looked for again.
            open_kinds.discard(kind)


def _groups(pattern: re.Pattern[str], text: str, hint: str) -> Iterator[Part]:
    for match in matches(text, pattern, hint, _LONGEST):
        number = match.lastindex or 0
        yield Part(*match.span(number), match.group(number), same)


def link_titles(text: str) -> Iterator[Part]:
    """Yield the titles of Markdown's links and pictures."""
    return _groups(_LINK_TITLE, text, hints.LINK_TITLE)


def references(text: str) -> Iterator[Part]:
    """Yield names and titles of Markdown's reference definitions, which no reader sees."""
    yield from _groups(_REFERENCE, text, hints.REFERENCE)
    yield from _groups(_REFERENCE_NAME, text, hints.REFERENCE)


def alternatives(text: str) -> Iterator[Part]:
    """Yield what stands in for pictures, in Markdown and in HTML, and other attributes with text."""
    yield from _groups(_ALT, text, hints.ALTERNATIVE)
    yield from _groups(_ATTRIBUTE, text, hints.ALTERNATIVE)


def rendered_lines(text: str) -> Iterator[Part]:
    """Yield the lines with markup inside words, as they look when it is rendered."""
    return substituted(text, _MARK, lambda _found: "", hints.RENDERED)
