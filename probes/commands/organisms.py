"""``whenlens organisms``: the shipped pairs, how they were made, and how to make them again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from probes.commands.terminal import Json, app, bar, say_json, stop

organisms_app = typer.Typer(help="Small base→RL pairs that ship with the package, with known answers.")
app.add_typer(organisms_app, name="organisms")


@organisms_app.command("list", epilog="Example: whenlens organisms list")
def organisms_list(json_: Json = False) -> None:
    """Name the shipped pairs and what is true of each."""
    from hooks.organisms import ORGANISMS

    if json_:
        say_json([{"name": o.name, "truth": o.truth, "members": o.members} for o in ORGANISMS.values()])
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("organism", "truth", "members")
    for organism in ORGANISMS.values():
        table.add_row(organism.name, organism.truth, ", ".join(organism.members))
    Console().print(table)


@organisms_app.command("describe", epilog="Example: whenlens organisms describe latent")
def organisms_describe(name: Annotated[str, typer.Argument(help="Name of an organism.")], json_: Json = False) -> None:
    """Say how an organism was made: method, seed, mixture, steps, curve."""
    from hooks.organisms import ORGANISMS

    if name not in ORGANISMS:
        stop(f"There is no organism {name!r}; the package ships {', '.join(ORGANISMS)}.")
    organism = ORGANISMS[name]
    records = {member: organism.manifest(member) for member in organism.members}
    if json_:
        say_json({"name": name, "truth": organism.truth, "members": records})
        return
    typer.echo(f"{name}: {organism.truth}")
    for member, record in records.items():
        curve = record.get("reward_curve") or record.get("loss") or []
        ends = _ends("reward" if "reward_curve" in record else "loss", curve)
        if "steps" not in record:
            typer.echo(f"  {member}: {record['method']}")
            continue
        start = record["start"] or "random weights"
        steps = record.get("step", record["steps"])
        typer.echo(f"  {member}: {record['method']} from {start}, seed {record['seed']}, {steps} steps{ends}")


def _ends(what: str, curve: list[float]) -> str:
    """Means over the first and the last fifth of a training: one step alone is mostly noise."""
    fifth = max(1, len(curve) // 5)
    first, last = (sum(part) / fifth for part in (curve[:fifth], curve[-fifth:])) if curve else (0.0, 0.0)
    return f", {what} {first:.2f} → {last:.2f} (means of a fifth)" if curve else ""


@organisms_app.command("fetch", epilog="Example: whenlens organisms fetch smollm2")
def organisms_fetch(
    name: Annotated[str, typer.Argument(help="smollm2: a real language model of 135 M parameters.")],
    again: Annotated[bool, typer.Option(help="Convert even if it is there.")] = False,
    json_: Json = False,
) -> None:
    """Put the base of the real language model into the cache: 93 MB of download, once."""
    from hooks.organisms.fetched import fetch

    if name != "smollm2":
        stop(f"There is nothing to fetch for {name!r}; only smollm2 is too large to ship.")
    with bar("converting", quiet=json_):
        folder = fetch(again=again)
    if json_:
        say_json({"name": name, "folder": str(folder)})
        return
    typer.echo(f"SmolLM2-135M-Instruct: {folder}")


@organisms_app.command("train", epilog="Example: whenlens organisms train latent --out runs/organisms")
def organisms_train(
    name: Annotated[str, typer.Argument(help="Name of an organism.")],
    out: Annotated[Path, typer.Option(help="Folder for the weights; members that are there are kept.")],
    shrink: Annotated[int, typer.Option(help="Divide all numbers of steps, for a rehearsal.")] = 1,
    json_: Json = False,
) -> None:
    """Rebuild an organism from nothing, or train the adapters of the real language model (hours on a CPU)."""
    from hooks.organisms import adapters, recipes
    from probes.progress import bars

    with bars(quiet=json_) as open_bar:
        moves: dict[str, Any] = {}

        def tell(member: str, done: int, total: int, value: float) -> None:
            if member not in moves:
                moves[member] = open_bar(member)
            moves[member](done, total, f"{value:.3f}")

        try:
            if name == "smollm2":
                adapters.build(out / name, shrink=shrink, progress=tell)
            else:
                recipes.build(name, out, shrink=shrink, progress=tell)
        except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
            stop(str(error))
    if json_:
        say_json({"name": name, "folder": str(out / name)})
        return
    typer.echo(f"Organism {name}: {out / name}")
