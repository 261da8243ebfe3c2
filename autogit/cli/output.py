"""The only place that prints: data to stdout, everything else to stderr; plain text works everywhere."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from autogit.cli.live import WaitingRegion
from autogit.model.text import printable

if TYPE_CHECKING:
    from pydantic import BaseModel

    from autogit.errors import AutogitError
    from autogit.operations.platform import Event

_RED, _GREEN, _YELLOW, _BOLD, _RESET = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[1m", "\x1b[0m"


class Output:
    """Where one command's words go. With `json`, stdout carries one JSON document and nothing else."""

    def __init__(self, *, json: bool = False, verbose: bool = False, quiet: bool = False, color: bool = True) -> None:
        self.json = json
        self.verbose = verbose
        self.quiet = quiet
        self.color = color
        self._waiting = WaitingRegion(color=color)

    def close(self) -> None:
        """Leave the terminal as a shell expects it; called once, when the command ends."""
        self._waiting.close()

    def data(self, view: BaseModel | Sequence[BaseModel] | dict[str, Any], lines: Iterable[str]) -> None:
        """Write a result: the view as JSON, or the lines a person reads."""
        if self.json:
            sys.stdout.write(_json(_plain(view), indent=2) + "\n")
        else:
            for line in lines:
                sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def record(self, document: dict[str, Any], text: str) -> None:
        """Write one of many: a JSON document on a line of its own, or the line that a person reads."""
        sys.stdout.write((_json(document) if self.json else text) + "\n")
        sys.stdout.flush()

    def progress(self, text: str) -> None:
        """Say on stderr what goes on."""
        if not self.quiet:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def event(self, event: Event) -> None:
        """Say on stderr what landed or failed, or what goes on."""
        if event.kind == "outcome":
            self._waiting.done(event.address)
            width = len(str(event.total))
            mark = self.paint("" if event.ok else "FAILED  ", _RED)
            self.progress(f"[{event.done:>{width}}/{event.total}] {event.address}  {mark}{printable(event.text)}")
        else:
            self.waiting(event.address, event.text)

    def waiting(self, address: str, text: str) -> None:
        """Say on stderr what something waits for: in place on a terminal, as a line elsewhere."""
        if self.quiet or not sys.stderr.isatty():
            self.progress(f"{address}  {text}")
        else:
            self._waiting.show(address, text)

    def warning(self, text: str) -> None:
        """Say on stderr what a reader must not miss."""
        sys.stderr.write(self.paint("warning: ", _YELLOW) + printable(text) + "\n")

    def error(self, error: AutogitError) -> None:
        """Say on stderr what is wrong, where, and the way out."""
        if self.json:
            body = {
                "code": error.code,
                "detail": error.message,
                "hint": error.hint,
                "faults": [{"place": f.place, "subject": f.subject, "message": f.message} for f in error.faults],
                "context": list(error.context),
            }
            sys.stderr.write(_json(body, indent=2) + "\n")
            return
        lines = [self.paint(f"error[{error.code}]", _RED) + f": {printable(error.message)}"]
        rows = [(f.place, printable(f.subject), printable(f.message)) for f in error.faults]
        lines += [f"  {line}" for line in columns(rows)]
        if error.context:
            lines += ["  last log lines:", *(f"    {line}" for line in error.context)]
        if error.hint:
            lines += ["", self.paint("hint", _BOLD) + f": {printable(error.hint)}"]
        sys.stderr.write("\n".join(lines) + "\n")

    def paint(self, text: str, color: str, stream: TextIO | None = None) -> str:
        """Return the text in a colour where the stream is a terminal and colour is wanted."""
        return f"{color}{text}{_RESET}" if text and self.color and (stream or sys.stderr).isatty() else text

    def paint_state(self, state: str) -> str:
        """Return a status word in its colour."""
        color = {"healthy": _GREEN, "ok": _GREEN, "degraded": _YELLOW, "warning": _YELLOW}.get(state, _RED)
        return self.paint(state, color, sys.stdout)


def columns(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> list[str]:
    """Return rows as aligned lines; the last column is not padded."""
    table = [list(header), *map(list, rows)] if header else [list(row) for row in rows]
    if not table:
        return []
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def _plain(view: Any) -> Any:
    if hasattr(view, "model_dump"):
        return view.model_dump(mode="json")
    if isinstance(view, list | tuple):
        return [_plain(item) for item in view]
    return view


def _json(value: object, indent: int | None = None) -> str:
    """Return JSON in which nothing that a terminal would obey stands as it is (RFC 8259, section 7).

    What cannot be written as UTF-8 (a lone surrogate) is escaped by the same rule.
    """
    text = jsonlib.dumps(value, indent=indent, ensure_ascii=False)
    return text if text.isprintable() else "".join(c if c == "\n" or c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return jsonlib.dumps(character)[1:-1]
