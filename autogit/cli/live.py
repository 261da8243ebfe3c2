"""What a long command waits for, redrawn in place at the foot of a terminal; elsewhere lines are written instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text


class WaitingRegion:
    """One line for each thing that is being waited for. What is written to stderr meanwhile scrolls above it."""

    def __init__(self, *, color: bool) -> None:
        self._color = color
        self._lines: dict[str, str] = {}
        self._live: Live | None = None

    def show(self, address: str, text: str) -> None:
        """Show or renew the line of one thing."""
        self._lines[address] = text
        self._draw()

    def done(self, address: str) -> None:
        """Take the line of one thing away; harmless where there is none."""
        if self._lines.pop(address, None) is not None:
            self._draw()

    def close(self) -> None:
        """Take the whole region away; it comes back with the next `show`."""
        self._lines.clear()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self) -> None:
        if not self._lines:
            self.close()
            return
        if self._live is None:
            from rich.console import Console  # what a command that waits for nothing saves
            from rich.live import Live

            console = Console(stderr=True, no_color=not self._color, highlight=False, markup=False)
            self._live = Live(console=console, transient=True, refresh_per_second=8, redirect_stdout=False)
            self._live.start()
        self._live.update(self._text(), refresh=True)

    def _text(self) -> Text:
        from rich.text import Text

        width = max(len(address) for address in self._lines)
        lines = (f"  {address.ljust(width)}  {text}" for address, text in self._lines.items())
        return Text("\n".join(lines), style="dim", no_wrap=True, overflow="ellipsis")
