"""``whenlens claims``: the twelve claims held against a study, or against a pair that is studied first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from probes.commands.terminal import Json, app, say_json, stop


@app.command(epilog="Example: whenlens claims runs/latent --json")
def claims(
    pair_or_study: Annotated[str, typer.Argument(help="Folder of a study, or a shipped organism to study first.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the study of an organism; runs/NAME by default.")] = None,
    every_row: Annotated[bool, typer.Option(help="Also published rows that were measured otherwise.")] = False,
    json_: Json = False,
) -> None:
    """Print each claim's verdict, this pair's figure with its interval, and the published figures."""
    folder = _study(pair_or_study, out, quiet=json_)
    from probes.claims import judge
    from probes.study.folder import StudyFolder
    from probes.study.noted import noted

    judged = judge(noted(StudyFolder(folder)))
    if json_:
        say_json([claim.as_dict(every_row=every_row) for claim in judged])
        return
    _show([claim.as_dict(every_row=every_row) for claim in judged])


def _study(name: str, out: Path | None, *, quiet: bool) -> Path:
    """The folder that holds the evidence; an organism is studied first."""
    folder = Path(name)
    if (folder / "study.json").is_file():
        return folder
    from hooks.organisms import PREFIX

    if not name.startswith(PREFIX):
        stop(f"{name} is neither the folder of a study nor an organism; run `whenlens study … --out {name}` first.")
    from probes.study import StudyConfig, run

    return run(
        StudyConfig(base=name, out=out or Path("runs") / name.removeprefix(PREFIX)),  # type: ignore[call-arg]
        quiet=quiet,
    ).folder


def _show(judged: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    colors = {"supported": "green", "contradicted": "red", "mixed": "yellow", "not identified": "cyan"}
    table = Table("claim", "verdict", "this pair", "published", show_lines=True)
    for claim in judged:
        color = colors.get(claim["verdict"], "dim")
        figure = f"{claim['figure']:.3g}" if claim["figure"] is not None else ""
        if claim["interval"] is not None and None not in claim["interval"]:
            figure += " [{:.3g}, {:.3g}]".format(*claim["interval"])
        beside = "\n".join(f"{row['value']:.3g} ({row['paper']}, {row['metric']})" for row in claim["published"][:4])
        table.add_row(
            escape(claim["claim"]),
            f"[{color}]{claim['verdict']}[/{color}]",
            escape(figure or claim["needs"]),
            escape(beside),
        )
    Console().print(table)
