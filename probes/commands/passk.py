"""``whenlens passk``: pass@k of two sets of samples, the crossing, and which problems each solves."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probes.commands.settings import Settings, WithSettings
from probes.commands.terminal import Json, app, bar, say_json, stop

if TYPE_CHECKING:
    from probes.samples import PassK
    from probes.stats import Estimate

SAMPLES = "Graded rollouts (parquet, inspect-ai, lm-eval), or JSONL of counts with id, c, n."


@app.command(
    cls=WithSettings,
    epilog="Example: whenlens passk runs/latent/rollouts/base_samples.parquet rl_counts.jsonl --out runs/passk",
)
def passk(
    base: Annotated[Path, typer.Argument(help=f"Samples of the base. {SAMPLES}")],
    rl: Annotated[Path, typer.Argument(help="Samples of the RL model on the same problems, in any of these forms.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the tables and the plots.")] = None,
    k: Annotated[str | None, typer.Option("--k", help="Values of k, such as 1,8,64; by default powers of two.")] = None,
    contrast: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FILE: the same base after another training (random reward, SFT); may be repeated."),
    ] = None,
    n_boot: Annotated[int, typer.Option(help="Bootstrap draws over problems.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap draws.")] = 0,
    settings: Settings = None,
    json_: Json = False,
) -> None:
    """Does the base solve as much as the RL model if both may try k times?"""
    ks = None if k is None else _whole(k)
    others = dict(_named(one) for one in contrast or ())
    from probes.samples import passk as run

    try:
        with bar("samples resampled", quiet=json_):
            found = run(base, rl, ks=ks, contrast=others, n_boot=n_boot, seed=seed)
    except (ValueError, FileNotFoundError) as error:
        stop(str(error))
    tables = {
        "passk": found.frame, "solvable": found.solvable, "accuracy": found.histogram, "unmatched": found.unmatched,
        "contrasts": found.contrasts,
    }  # fmt: skip
    if out is not None:
        _write(found, tables, out)
    if json_:
        numbers = {name: _numbers(one) for name, one in _figures(found).items()}
        told = {"headline": found.headline(), "problems": found.n_problems, "out": None if out is None else str(out)}
        rows = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
        say_json({**told, **numbers, "crossing_note": found.crossing_note, **rows})
        return
    _tell(found, tables, out)


def _whole(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        stop(f"--k is a list of whole numbers such as 1,8,64, not {text!r}.")
    return [int(part) for part in parts]


def _named(text: str) -> tuple[str, Path]:
    name, sign, path = text.partition("=")
    if not (name and sign and path):
        stop(f"--contrast is NAME=FILE, such as random=random_samples.parquet, not {text!r}.")
    return name, Path(path)


def _figures(found: PassK) -> dict[str, Estimate | None]:
    return {"crossing": found.crossing, "delta_se": found.delta_se, "jaccard": found.jaccard}


def _numbers(one: Estimate | None) -> dict[str, float | None] | None:
    if one is None:
        return None
    ends = {"value": one.value, "low": one.low, "high": one.high}
    return {name: number if abs(number) < float("inf") else None for name, number in ends.items()}


def _write(found: PassK, tables: dict[str, Any], out: Path) -> None:
    """Every table as parquet and both plots as pages."""
    from hooks.rollouts import write_whole

    for name, table in tables.items():
        write_whole(out / f"{name}.parquet", partial(table.to_parquet, index=False))
    for name, figure in (("passk", found.plot()), ("accuracy", found.plot_accuracy())):
        write_whole(out / f"{name}.html", partial(figure.write_html, include_plotlyjs=True))


def _tell(found: PassK, tables: dict[str, Any], out: Path | None) -> None:
    from probes.results import short_table

    typer.echo(f"{found.headline()}\n")
    shown = found.frame.drop(columns=["band_low", "band_high"])
    typer.echo(f"{short_table(shown, rows=len(shown))}\n")
    typer.echo(f"Within k = {found.largest}, Jaccard {found.jaccard:.3f}; base at k = {found.largest} minus RL at 1: "
               f"{found.delta_se:.3f}\n{short_table(found.solvable)}")  # fmt: skip
    if len(found.contrasts):
        typer.echo(f"\nBeside the contrasts (difference: this pair minus the contrast)\n{short_table(found.contrasts)}")
    if found.left_out:
        for side, rows in found.unmatched.groupby("only_in"):
            names = list(rows["problem"])
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            typer.echo(f"Only in {side}, left out: {', '.join(names[:5])}{more}")
    if out is not None:
        typer.echo(f"Tables and plots ({', '.join(tables)}): {out}")
