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
    epilog="Exit codes: 0 done; 1 it failed on the way, or a check did not pass; 2 the call, or a file that it names, "
    "has to change; 130 stopped by Ctrl-C. Results go to standard output, progress and errors to standard error.",
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
    from probes.progress import bars

    with bars(quiet=quiet) as tell:
        yield tell(title)


def load_pair(base: str, rl: str | None, *, dtype: str, device: str, quiet: bool) -> Any:
    """Both models, with a sign of life while they are read."""
    from hooks.pair import Pair

    with bar("loading both models", quiet=quiet):
        return Pair.load(base, rl, dtype=dtype, device=device)


def stop(sentence: str, code: int = 2) -> NoReturn:
    """End with one sentence on standard error; 2 says that the call has to change, 1 that something failed."""
    typer.secho(sentence, err=True, fg=typer.colors.RED)
    raise typer.Exit(code)
