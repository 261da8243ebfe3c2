"""How far an instruction reaches: from what a rule matched to the sentence, the line or the element that holds it."""

from __future__ import annotations

import re
from collections.abc import Sequence

_REACH = 800
"""How far a sentence is followed to either side."""
_MOST_FOLLOWING = 6
_MOST_WRAPPED = 3
_LONG_LINE = 50
_MARKS, _ALIKE = " \t#/*>|-", 4
_CODE = re.compile(r"[=<>{}$&\\]")
_COMMAND = re.compile(r"[A-Z]{2,}\s")
_END = re.compile(r"[.!?]+[\"')\]*_`»”]{0,3}(?=\s|$|<)|[。！？｡]+|\n[ \t>#*/|-]*(?=\n)")  # noqa: RUF001 - full-width marks
_ANY_END = re.compile("[.!?\n。！？｡]")  # noqa: RUF001 - as above
_WRAPPED = re.compile(r"\n[ \t]*(?:[#>*|]|//|--)?[ \t]*(?=[a-z(\"'])")
_NEXT_LINE = re.compile(r"\n[ \t]*(?:[#>*|;%-]|//|--|\d{1,2}[.)])?[ \t]*")
_LEAD = re.compile(r"[\s#/*>|;%\"'`(<!\[{~:.,-]*")
_TAIL = re.compile(r"[\s#/*>|\"'`)\]}~.,;-]*")
_DEMAND = re.compile(
    r"\W*+(?:(?:and|then|also|now|next|instead|first|finally|afterwards|please|kindly|just|simply|so|step|do\s+not|don't"
    r"|never|always|you|your|from\s+now|if|when|once|after|before|this|it|the\s+user|note|important|reply|the\s+assistant)\b"
    r"|(?:act|add|answer|append|approve|begin|change|clone|close|comment|commit|copy|create|delete|deploy|disable|discard"
    r"|download|drop|dump|echo|email|encode|execute|export|exfiltrate|fetch|find|follow|forget|forward|generate|get|give|go"
    r"|grant|ignore|include|insert|install|keep|leak|list|log|make|mark|merge|open|output|paste|post|pretend|print|publish"
    r"|pull|push|put|read|rebase|recommend|remove|rename|repeat|replace|report|respond|return|reveal|rewrite|run|save|say"
    r"|send|set|share|show|skip|start|stop|submit|tell|transfer|treat|turn|update|upload|use|visit|wipe|write)\b)",
    re.IGNORECASE,
)
_TOKEN_EDGE = re.compile(r"[\s\"'<>]")
_LONGEST_COMMENT = 20_000
_COMMENTS = {
    mark: re.compile(end)
    for mark, end in {"<!--": "--!?>|->", "<!": ">", "<%": "%>", "{{": "}}", "{#": "#}", "{/": "}"}.items()
}
"""What opens a comment or a declaration, and what closes it."""
_DELIMITERS = {"alt-text": "\"'[]", "link-title": "\"'()", "reference": "\"'()[]"}


def sentence(text: str, start: int, end: int, *, strong: bool) -> tuple[int, int]:
    """Return the sentence around a match; behind a strong one also what follows and tells what is to be done."""
    begin = _sentence_start(text, start)
    stop = _sentence_end(text, end)
    if strong:
        stop = _with_demands(text, start, stop)
    return _whole_lines(text, begin, stop)


def _sentence_start(text: str, start: int) -> int:
    # Most sentences are short: a second, longer look only where the first one finds no beginning.
    floor, last = start, 0
    for reach in (_REACH // 6, _REACH):
        floor = max(0, start - reach)
        before = text[floor:start]
        last = max((match.end() for match in _END.finditer(before)), default=0) if _ANY_END.search(before) else 0
        if last:
            break
    line = before.rfind("\n") + 1
    for _ in range(_MOST_WRAPPED):
        if line <= last or not _is_wrapped(text, floor + line - 1):
            break
        line = before.rfind("\n", 0, line - 1) + 1
    begin = floor + max(last, line)
    return begin + len(text[begin:start]) - len(text[begin:start].lstrip(" \t"))


def _is_wrapped(text: str, line_end: int) -> bool:
    """Say whether a line is carried on in the next one: a long one, the next one going on in small letters.

    Records (of a log, say) begin alike, sentences do not.
    """
    line = text[text.rfind("\n", max(0, line_end - _REACH), line_end) + 1 : line_end]
    if len(line) < _LONG_LINE or line.rstrip().endswith(":") or not _WRAPPED.match(text, line_end):
        return False
    following = text[line_end + 1 : line_end + _REACH]
    return line.lstrip(_MARKS)[:_ALIKE] != following.lstrip(_MARKS)[:_ALIKE]


def _sentence_end(text: str, end: int) -> int:
    """Return where a sentence ends: at its mark, or at the end of a line that is not carried on in the next one."""
    at, limit, wrapped = max(end - 1, 0), min(len(text), end + _REACH), 0
    while at < limit:
        mark = _END.search(text, at, limit + 1)
        line = text.find("\n", max(at, end - 1), limit)
        if mark and (line < 0 or mark.start() <= line) and mark.end() >= end:
            return mark.end()
        if line < 0:
            return limit
        carried_on = wrapped < _MOST_WRAPPED and (_is_wrapped(text, line) or text[max(end, line - 1) : line] == ":")
        if line >= end and not carried_on:
            return line
        wrapped += line >= end
        at = line + 1
    return limit


def _with_demands(text: str, start: int, stop: int) -> int:
    """Return where the last of the sentences ends that follow and carry the demand: on one line the first one does."""
    for number in range(_MOST_FOLLOWING):
        rest = _NEXT_LINE.match(text, stop)
        after = rest.end() if rest else stop
        colon = text[max(start, stop - 1) : stop] == ":"
        blank = text[after : after + 1] == "\n"
        if after >= len(text) or (blank and not colon):
            return stop
        if blank:
            after += len(text[after:]) - len(text[after : after + _REACH].lstrip()) - len(text[after + _REACH :])
        same_line = rest is None and number == 0
        if not (colon or same_line or _is_demand(text, after)):
            return stop
        stop = max(stop + 1, _sentence_end(text, after + 1))
    return stop


def _is_demand(text: str, start: int) -> bool:
    """Say whether a sentence that begins here tells somebody to do something, in prose rather than in code."""
    line = text[start : start + _REACH].partition("\n")[0]
    code = _CODE.search(line) and "://" not in line
    return bool(_DEMAND.match(line)) and not code and not _COMMAND.match(line)


def _whole_lines(text: str, begin: int, stop: int) -> tuple[int, int]:
    """Return a stretch with the line's marks on both sides, where nothing else would be left of the line."""
    floor, limit = max(0, begin - _REACH), min(len(text), stop + _REACH)
    line, after = text.rfind("\n", floor, begin) + 1, text.find("\n", stop, limit)
    after = len(text) if after < 0 and limit == len(text) else after
    if (line == 0 and floor) or after < 0:
        return begin, stop
    if _LEAD.fullmatch(text, line, begin) and _TAIL.fullmatch(text, stop, after):
        return line, min(after + 1, len(text))
    return begin, stop


def token(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the run without blanks or quotes around a match."""
    before = _TOKEN_EDGE.split(text[max(0, start - _REACH) : start])[-1]
    after = _TOKEN_EDGE.split(text[end : end + _REACH])[0]
    return start - len(before), end + len(after)


def construct(text: str, span: tuple[int, int], view: str, elements: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return what holds a match that is not shown: the whole comment, the whole element, the whole title."""
    start, end = span
    if view == "html-comment":
        return _comment(text, start, end)
    if view == "hidden-element":
        return next((one for one in elements if one[0] <= start and end <= one[1]), span)
    marks = _DELIMITERS[view]
    floor, limit = max(0, start - 4 * _REACH), min(len(text), end + 4 * _REACH)
    begin = max(text.rfind(mark, floor, start) for mark in marks + "\n") + 1
    stops = [at for mark in marks + "\n" if (at := text.find(mark, end, limit)) >= 0]
    return max(begin, floor), min(stops, default=limit)


def _comment(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the whole comment: from the nearest mark that opens one to the next that closes it, or to the end."""
    floor = max(0, start - _LONGEST_COMMENT)
    opener, _, mark = max((text.rfind(mark, floor, start), len(mark), mark) for mark in _COMMENTS)
    if opener < 0:
        return start, end
    close = _COMMENTS[mark].search(text, end)
    return opener, close.end() if close else len(text)
