"""``whenlens weights``: what moved between a base and its RL checkpoints, read from their files."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from probes.commands.settings import Settings, WithSettings
from probes.commands.terminal import Json, app, bar, say_json, stop


@app.command(
    cls=WithSettings,
    epilog="Example: whenlens weights organism:latent:base organism:latent:rl --also organism:latent:rl-seed1 --out w",
)
def weights(
    base: Annotated[str, typer.Argument(help="Base checkpoint (folder, file or hub name), or a shipped organism.")],
    rl: Annotated[str | None, typer.Argument(help="Tuned checkpoint; not needed for an organism.")] = None,
    also: Annotated[list[str] | None, typer.Option(help="A further RL run from this base; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for tables (parquet), totals (JSON) and figures.")] = None,
    ranks: Annotated[bool, typer.Option(help="Decompose every update; without it only counts and norms.")] = True,
    null: Annotated[bool, typer.Option(help="Decompose a random update beside every matrix.")] = True,
    geometry: Annotated[bool, typer.Option(help="Place the update in the base's singular vectors.")] = True,
    tolerance: Annotated[float, typer.Option(help="|change| in bfloat16 that counts as none, for one share.")] = 1e-5,
    eta: Annotated[float, typer.Option(help="Relative change that counts as none, for one share.")] = 1e-3,
    k: Annotated[int | None, typer.Option(help="Rank of the principal part; a tenth of the short side.")] = None,
    top: Annotated[float, typer.Option(help="Share of entries that are principal weights.")] = 0.1,
    device: Annotated[str, typer.Option(help="Device of the decompositions.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Names every random stream.")] = 0,
    settings: Settings = None,
    json_: Json = False,
) -> None:
    """Compare checkpoints on disk: shares unchanged, norms, ranks, geometry, and what several runs have in common."""
    from probes.weights import compare, overlap
    from probes.weights import geometry as place
    from probes.weights.sources import runs_of

    single = base.startswith("organism:") and base.count(":") == 1
    if rl is None and not single:
        stop(f"A comparison needs two checkpoints; give the tuned one beside {base!r}: whenlens weights BASE RL.")
    runs = [*([] if rl is None else [rl]), *(also or [])]
    if also:
        runs_of(base, runs)  # a run that is not there must not cost the comparison of the first
    with bar("tensors compared", quiet=json_) as move:
        delta = compare(base, rl, ranks=ranks, null=null, tolerance=tolerance, eta=eta, device=device, seed=seed,
                        progress=move)  # fmt: skip
    found: dict[str, Any] = {"weights": delta}
    if geometry:
        with bar("matrices placed", quiet=json_) as move:
            found["geometry"] = place(base, rl, k=k, top=top, null=null, device=device, seed=seed, progress=move)
    if also:
        with bar("tensors of all runs", quiet=json_) as move:
            found["overlap"] = overlap(base, runs, progress=move)
    told = _told(found)
    if out is not None:
        _write(out, found, told)
    if json_:
        say_json(told)
        return
    typer.echo("\n\n".join(_shown(name, result) for name, result in found.items()))
    if out is not None:
        typer.echo(f"\nTables and figures: {out}")


SHOWN = {
    "weights": "module size unchanged_exact one_ulp relative_norm rank_share stable_rank stable_rank_null",
    "geometry": "module overlap overlap_null overlap_sizes drift drift_null angle_left angle_left_null",
    "overlap": "run_1 run_2 share_1 share_2 o1 o2 jaccard jaccard_null jaccard_sizes jaccard_stripes same_sign cosine",
}
"""Columns on the screen; the files have all."""


def _shown(name: str, result: Any) -> str:
    """The headline and a table that fits a screen: by module, or by pair of runs."""
    from probes.results import short_table

    table = result.frame if name == "overlap" else result.by("module")
    chosen = table[SHOWN[name].split()].dropna(axis="columns", how="all")
    return f"{result.headline()}\n{short_table(chosen, rows=30)}"


def _told(found: dict[str, Any]) -> dict[str, Any]:
    """What the JSON says of each result: its headline and its totals; missing numbers are null."""
    told: dict[str, Any] = {}
    for name, result in found.items():
        own: dict[str, Any] = {
            "headline": result.headline(),
            "notes": {what: list(of) for what, of in result.notes.items()},
        }
        if name == "overlap":
            own |= {"pairs": _rows(result.frame), "consensus": _rows(result.consensus)}
        else:
            own["totals"] = {what: None if value != value else value for what, value in result.totals.items()}
        if name == "weights":
            own["reading"] = result.reading
        told[name] = own
    return told


def _rows(frame: Any) -> Any:
    return json.loads(frame.to_json(orient="records"))


def _write(out: Path, found: dict[str, Any], told: dict[str, Any]) -> None:
    from hooks.rollouts import write_whole

    tables = {"weights": found["weights"].frame, "weights_modules": found["weights"].by("module")}
    if "geometry" in found:
        tables["geometry"] = found["geometry"].frame
    if "overlap" in found:
        result = found["overlap"]
        tables |= {
            "overlap": result.frame, "overlap_tensors": result.tensors, "overlap_consensus": result.consensus,
            "overlap_stripes": result.stripes,
        }  # fmt: skip
    for name, table in tables.items():
        write_whole(out / f"{name}.parquet", partial(table.to_parquet, index=False))
    for name, result in found.items():
        write_whole(out / f"{name}.html", partial(result.plot().write_html))
    text = json.dumps(told, indent=1, ensure_ascii=False) + "\n"
    write_whole(out / "weights.json", lambda path: path.write_text(text, encoding="utf-8"))
