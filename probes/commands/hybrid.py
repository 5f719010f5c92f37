"""``whenlens hybrid``: published runs of a base, a thinking and a hybrid model, graded again."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from probes.commands.terminal import Json, app, bar, say_json


@app.command(epilog="Example: whenlens hybrid ../shared/data/hybrid --out runs/hybrid")
def hybrid(
    paths: Annotated[list[Path], typer.Argument(help="JSON files of published runs, or their folder.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the tables and the figure.")] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap draws.")] = 0,
    json_: Json = False,
) -> None:
    """Grade published texts and compare accuracies and recovery with the published ones."""
    from hooks.rollouts import write_whole
    from probes.routing.published import check_published

    with bar("files graded", quiet=json_) as move:
        found = check_published(paths, seed=seed, progress=move)
    tables = {"accuracy": found.frame, "recovery": found.recovery}
    if out is not None:
        for name, table in tables.items():
            write_whole(out / f"{name}.parquet", partial(table.to_parquet, index=False))
        write_whole(out / "figure.html", lambda path: found.plot().write_html(path))
    if json_:
        say_json({name: json.loads(table.to_json(orient="records")) for name, table in tables.items()})
        return
    typer.echo(f"{found.headline()}\n")
    for row in found.frame.to_dict("records"):
        typer.echo(
            f"{row['file']} {row['arm']} (n {row['n']}): {row['accuracy']:.1%} "
            f"[{row['accuracy_low']:.1%}, {row['accuracy_high']:.1%}], plain {row['plain']:.1%}, "
            f"graders differ on {row['disagreement']:.1%}, published {row['published']:.1%}"
            + (f"\n    {row['why']}" if row["why"] else "")
        )
    typer.echo(f"\n{found.recovery.to_string(index=False, float_format='{:.3f}'.format)}")
    if out is not None:
        typer.echo(f"\nTables and figure: {out}")
