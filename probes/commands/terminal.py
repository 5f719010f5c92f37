"""What every command shares: the application, one JSON value, one clear sentence, one progress bar."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

app = typer.Typer(
    name="whenlens",
    help="Did RL teach a language model how to reason, or only when? Evidence from two checkpoints.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]


def say_json(value: object) -> None:
    """Print one JSON value on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def read_texts(path: Path, model: Any) -> Any:
    """Rollouts from a file, with ids where it has none."""
    from hooks.rollouts import Rollouts

    found = Rollouts.read(path)
    # A text may be empty, a prompt may not: a sample without ids has none for its prompt.
    return found if found.frame["prompt_ids"].map(len).all() else found.with_ids(model)


@contextmanager
def bar(title: str, *, quiet: bool) -> Iterator[Any]:
    """One progress bar with rate and time left on standard error; silent where nobody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TaskProgressColumn(show_speed=True))
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=quiet or not console.is_terminal) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def stop(sentence: str, code: int = 2) -> NoReturn:
    """End with one sentence on standard error; 2 says that the call has to change."""
    typer.secho(sentence, err=True, fg=typer.colors.RED)
    raise typer.Exit(code)
