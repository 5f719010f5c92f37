"""``whenlens sweep``: probes at every site for every label, from a store or from a pair and its texts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from probes.commands.elsewhere import Cpus, Gpus, Ray, WithRay, runner_of
from probes.commands.settings import Settings
from probes.commands.terminal import Json, app, bar, say_json, stop


@app.command(
    cls=WithRay,
    epilog="Example: whenlens sweep organism:latent --texts runs/latent/rollouts/base_samples.parquet --out sweeps/one",
)
def sweep(
    source: Annotated[str, typer.Argument(help="An activation store; or a shipped organism or base checkpoint.")],
    out: Annotated[Path, typer.Option(help="Folder of the tables; the same call goes on with it.")],
    labels: Annotated[Path | None, typer.Option(help="Labels of rows: parquet or CSV. Default: strategies.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="A column of --labels; may be repeated.")] = None,
    texts: Annotated[
        Path | None, typer.Option("--texts", "--rollouts", help="Rollouts to capture, or those of the store.")
    ] = None,
    problems: Annotated[str | None, typer.Option(help="A pair without texts writes to these first.")] = None,
    n_problems: Annotated[int | None, typer.Option(help="Problems to draw.")] = None,
    samples: Annotated[int, typer.Option(help="Samples of each problem.")] = 8,
    temperature: Annotated[float, typer.Option(help="Of the samples; 0 is greedy.")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(help="Longest text, in tokens.")] = 256,
    batch_size: Annotated[int, typer.Option(help="Texts written at once.")] = 64,
    written_by: Annotated[str, typer.Option(help="Whose texts are read, of those written here: base or rl.")] = "base",
    rl: Annotated[str | None, typer.Option(help="Tuned checkpoint, or a LoRA folder.")] = None,
    annotator: Annotated[str, typer.Option(help="Strategy labels: auto, english, organism, or a file.")] = "auto",
    positions: Annotated[str, typer.Option(help="What to capture for --labels.")] = "generated",
    side: Annotated[str | None, typer.Option(help="Whose activations: base or rl; the base's by default.")] = None,
    sites: Annotated[str, typer.Option(help="Patterns, for instance resid_post.* or *.3")] = "resid_post.*",
    twin: Annotated[bool, typer.Option(help="Also probe a randomly initialised twin of the base.")] = True,
    twin_store: Annotated[Path | None, typer.Option(help="The store of a twin, beside a store.")] = None,
    probe: Annotated[str | None, typer.Option(help="logistic, ridge or mass_mean.")] = None,
    split: Annotated[str, typer.Option(help="Column of the rows that stays on one side of a fold.")] = "problem",
    folds: Annotated[int, typer.Option(help="Folds.")] = 5,
    strengths: Annotated[str | None, typer.Option("--C", help="Strengths to choose among, as 0.01,1,100.")] = None,
    n_boot: Annotated[int, typer.Option(help="Bootstrap draws over problems.")] = 1000,
    seed: Annotated[int, typer.Option(help="Names every random stream.")] = 0,
    dtype: Annotated[str, typer.Option(help="Precision of the weights.")] = "auto",
    device: Annotated[str, typer.Option(help="Device of both models.")] = "auto",
    fit_device: Annotated[str | None, typer.Option(help="Device of the fits; the CPU by default.")] = None,
    shard_tokens: Annotated[int | None, typer.Option(help="Tokens of one capture task.")] = None,
    ray: Ray = None,
    num_cpus: Cpus = 1.0,
    num_gpus: Gpus = 0.0,
    settings: Settings = None,
    json_: Json = False,
) -> None:
    """Probe every site for every label, beside baselines and controls; here or on a cluster."""
    if written_by not in ("base", "rl"):
        stop(f"--written-by is base or rl, not {written_by!r}.")
    options = _options(probe=probe, C=_numbers(strengths), split=split, folds=folds, n_boot=n_boot, seed=seed,
                       device=fit_device)  # fmt: skip
    from probes.cluster.pairs import PairName
    from probes.cluster.sweeping import SweepJob, run_sweep
    from probes.cluster.writing import Sampling

    store = Path(source) if (Path(source) / "manifest.json").is_file() else None
    if store is None and texts is None and problems is None:
        stop(f"{source} is no activation store; for a pair, give --texts FILE or --problems to write some.")
    job = SweepJob(
        out, None if store else PairName(source, rl, dtype, device), store, texts, problems, n_problems,
        Sampling(n=samples, temperature=temperature, max_new_tokens=max_new_tokens, seed=seed, batch_size=batch_size),
        "rl" if written_by == "rl" else "base", labels, tuple(label or ()), annotator, positions, side, sites, twin,
        twin_store, shard_tokens, options,
    )  # fmt: skip
    with runner_of(ray, num_cpus, num_gpus) as runner:
        made = run_sweep(job, bar=partial(bar, quiet=json_), runner=runner)
    _say(made, out, json_)


def _options(**given: Any) -> tuple[tuple[str, Any], ...]:
    """What was given; a sweep's own defaults stand for the rest."""
    return tuple((name, value) for name, value in given.items() if value is not None)


def _numbers(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        stop(f"--C is a list of numbers such as 0.01,1,100, not {text!r}.")
    if not all(number > 0 for number in found):
        stop(f"--C holds numbers above 0, not {text!r}.")
    return found


def _say(made: Any, out: Path, as_json: bool) -> None:
    import json

    if as_json:
        selected = json.loads(made.selected.to_json(orient="records", double_precision=15))
        say_json({"out": str(out), "headline": made.headline(), "selected": selected})
        return
    from probes.results import short_table

    columns = [
        name for name in ("label", "auroc", "low", "high", "q", "over_baseline", "sites") if name in made.selected
    ]
    typer.echo(f"{made}\n\nBy nested choice of site:\n{short_table(made.selected[columns])}\n\nTables: {out}")
