"""Progress on a terminal: what is done, how fast, how long it has taken and how long it will; silent elsewhere.

Bars are drawn on standard error, so that standard output holds results alone; where nobody watches (a pipe, a log, a
job on a cluster) nothing is written at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Move = Callable[..., object]
"""Moves a bar: (done, total), and a few words beside it if there are any."""
Tell = Callable[[str], Move]
"""Opens a bar with a title, and returns what moves it."""


@contextmanager
def bars(*, quiet: bool = False) -> Iterator[Tell]:
    """Progress bars with rate and time left on standard error, as many as are asked for.

    Args:
        quiet: draw nothing even on a terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as Remaining

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), Remaining(), TextColumn("left {task.fields[said]}"),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as drawn:

        def tell(title: str) -> Move:
            task = drawn.add_task(title, total=None, rate="", said="")
            # A task's own speed is known only after its first steps.
            shown = next(one for one in drawn.tasks if one.id == task)

            def move(done: int, total: int, said: str = "") -> None:
                speed = shown.finished_speed or shown.speed
                drawn.update(task, completed=done, total=total, rate=rate(speed), said=said)

            return move

        yield tell


def rate(speed: float | None) -> str:
    """Steps a second in three digits, or seconds a step where it is slow; empty where it is not known."""
    if not speed:
        return ""
    return f"{speed:,.1f}/s" if speed >= 1 else f"{1 / speed:.3g} s each"
