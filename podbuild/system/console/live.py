"""What is under way, live on a terminal. The only module that knows rich."""

from __future__ import annotations

from collections.abc import Iterable

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from podbuild.system.console.screen import Activity, ActivityKind, Streams, StreamScreen
from podbuild.system.console.text import duration, size, speed

REFRESHES = 5  # per second
MOST_ROWS = 14  # more would push the log out of sight


class LiveScreen(StreamScreen):
    """Shows what runs below the lines that were printed, with seconds and bytes."""

    is_live = True

    def __init__(self, streams: Streams, *, colours: bool) -> None:
        super().__init__(streams)
        self._console = Console(
            file=streams.err, force_terminal=True, no_color=not colours, highlight=False
        )
        self._activities: dict[int, Activity] = {}
        self._live: Live | None = None
        self._spinner = Spinner("dots" if _is_unicode(streams) else "line")

    def say(self, lines: Iterable[str]) -> None:
        """Print lines above what is shown."""
        with self._lock:
            if self._live is None:
                super().say(lines)
                return
            text = Text.from_ansi("\n".join(lines))
            try:
                self._console.print(text, soft_wrap=True)
            except OSError:
                self._stop()
            except RuntimeError:  # a signal handler speaks in the middle of a write
                return

    def answer(self, text: str) -> None:
        """Print an answer; stdout may be the same terminal, so nothing else moves on it."""
        with self._lock:
            self._stop()
            super().answer(text)
            self._start()

    def show(self, activity: Activity) -> None:
        """Begin to show something under way."""
        with self._lock:
            self._activities[id(activity)] = activity
            self._start()
            self._refresh()

    def hide(self, activity: Activity) -> None:
        """Stop to show it."""
        with self._lock:
            self._activities.pop(id(activity), None)
            if not self._activities:
                self._stop()

    def _start(self) -> None:
        if self._live is None and self._activities:
            self._live = Live(
                console=self._console,
                get_renderable=self._picture,
                refresh_per_second=REFRESHES,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def _refresh(self) -> None:
        if self._live is not None:
            try:
                self._live.refresh()
            except OSError:
                self._stop()

    def _stop(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            try:
                live.stop()
            except OSError:
                return

    def _picture(self) -> RenderableType:
        activities = tuple(self._activities.values())
        rows = tuple(found for found in activities if found.kind is not ActivityKind.STEP)
        titles = [
            Text(f"{found.title}  {duration(found.seconds)}", style="bold", overflow="ellipsis")
            for found in activities
            if found.kind is ActivityKind.STEP
        ]
        more = len(rows) - MOST_ROWS
        rest = [Text(f"  and {more} more", style="dim")] if more > 0 else []
        return Group(*titles[-1:], self._rows(rows[:MOST_ROWS]), *rest)

    def _rows(self, activities: Iterable[Activity]) -> Table:
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(width=2, justify="right")
        grid.add_column(no_wrap=True, max_width=40, overflow="ellipsis")
        grid.add_column(justify="right", no_wrap=True)
        grid.add_column(justify="right", no_wrap=True)
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")  # takes what is left
        for activity in activities:
            grid.add_row(self._spinner, Text(activity.title), *_amounts(activity))
        return grid


def _amounts(activity: Activity) -> tuple[str, str, RenderableType]:
    """Give the time, the bytes, and what is going on."""
    elapsed = duration(activity.seconds)
    if activity.kind is not ActivityKind.TRANSFER:
        return elapsed, "", Text(activity.doing, style="dim")
    moved, total = max(0, activity.moved), activity.total
    if not total:
        return elapsed, size(moved), ""
    bar = ProgressBar(total=total, completed=min(moved, total), width=20)
    rate = Text(f" {speed(moved, activity.busy)}", style="dim")
    return elapsed, f"{size(moved)}/{size(total)}", Columns((bar, rate))


def _is_unicode(streams: Streams) -> bool:
    return (streams.err.encoding or "").lower().replace("-", "") == "utf8"
