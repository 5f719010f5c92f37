"""``whenlens route``: two models write one text, the second where a gate opens, beside matched controls."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probes.commands.settings import Settings, WithSettings
from probes.commands.terminal import Json, app, bar, load_pair, say_json, stop

if TYPE_CHECKING:
    from probes.routing import RouteResult

COLUMNS = ("arm", "kind", "accuracy", "recovery", "low", "high", "routed", "effective")
ALL = "random,random_changed,first_k,entropy,backward"


@app.command(
    cls=WithSettings, epilog="Example: whenlens route organism:latent --gates js,entropy,probe,random --out runs/route"
)
def route(
    pair: Annotated[str, typer.Argument(help="A shipped organism, or the base checkpoint.")],
    out: Annotated[Path, typer.Option(help="Folder of texts, tables and pages; the same call goes on with it.")],
    rl: Annotated[str | None, typer.Option(help="Tuned checkpoint, or a LoRA folder.")] = None,
    gates: Annotated[
        str,
        typer.Option(
            help="js, kl, disagreement, entropy, margin, probe, learned, random, first_k, every_n; with thresholds "
            "js:0.05/0.1/0.3 or a budget entropy:5%. Bare names open as often as js > 0.1 does on RL text."
        ),
    ] = "js:0.02/0.05/0.1/0.2/0.4,entropy,probe,random",
    controls: Annotated[str, typer.Option(help=f"{ALL}, resample, rank, steered; or none.")] = ALL,
    steered: Annotated[
        str, typer.Option(help="strategies (vectors, six controls), a strategy's name, or a saved direction.")
    ] = "",
    dose: Annotated[float, typer.Option(help="Of one direction, in typical norms of the activation.")] = 1.0,
    problems: Annotated[str | None, typer.Option(help="JSONL of problems, or reasoning_gym:TASK.")] = None,
    n_problems: Annotated[int, typer.Option(help="Problems to measure on.")] = 200,
    n_training: Annotated[int, typer.Option(help="Further problems, for budgets, probes, routers, vectors.")] = 200,
    samples: Annotated[int, typer.Option(help="Samples of each problem.")] = 1,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    max_new_tokens: Annotated[int, typer.Option(help="Longest text, in tokens.")] = 256,
    annotator: Annotated[str, typer.Option(help="Strategy labels: auto, english, organism, or a file.")] = "auto",
    template: Annotated[str, typer.Option(help="Prompt template: auto, none or chat.")] = "auto",
    seed: Annotated[int, typer.Option(help="Names every random stream.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Texts written at once.")] = 64,
    dtype: Annotated[str, typer.Option(help="Precision of the weights.")] = "auto",
    device: Annotated[str, typer.Option(help="Device of both models.")] = "auto",
    settings: Settings = None,
    json_: Json = False,
) -> None:
    """Measure how much of the gain comes back when the tuned model writes only where a gate opens."""
    from probes.routing.matched import KNOWN
    from probes.routing.specs import parse_gates
    from probes.study.routed import Fitting, Routed, problems_for

    wanted: Any = [] if controls == "none" else [name.strip() for name in controls.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in KNOWN]
    if unknown:
        stop(f"There is no control {unknown[0]!r}; there are {', '.join(KNOWN)}, or none.")
    specs = parse_gates(gates)
    if problems is None and not pair.startswith("organism:"):
        stop("Say what to ask: --problems FILE.jsonl or --problems reasoning_gym:TASK.")
    asked, training = problems_for(problems or pair, n_problems, n_training, seed)
    both = load_pair(pair, rl, dtype=dtype, device=device, quiet=json_)
    with bar("mixed texts", quiet=json_) as move:
        held = Routed(
            both, asked, training, folder=out,
            decoding={
                "n": samples, "temperature": temperature, "max_new_tokens": max_new_tokens, "seed": seed,
                "batch_size": batch_size, "template": template,
            },
            fitting=Fitting(annotator=annotator, dose=dose), progress=lambda _, done, total: move(done, total),
        )  # fmt: skip
        pushes = [name.strip() for name in steered.split(",") if name.strip()]
        result = held.run(specs, controls=wanted, steered=pushes)
    pages = _write(result, held, pair, out)
    _tell(result, pages, as_json=json_)


def _write(result: RouteResult, held: Any, pair: str, out: Path) -> dict[str, str]:
    """Tables, curves and the token view; returns the pages by name."""
    from hooks.rollouts import write_whole
    from probes.report.router_page import curves_page, tokens_page
    from probes.study.router import token_view

    curves = _curves(result)
    tables = {"arms": result.frame, "contrasts": result.contrasts} | ({"curves": _summary(curves)} if curves else {})
    for name, table in tables.items():
        write_whole(out / f"{name}.parquet", partial(table.to_parquet, index=False))
    figures = {"All arms": result.plot()} | {f"{name} over its thresholds": one.plot() for name, one in curves.items()}
    gap = next(iter(result.recoveries.values())).gap
    notes = [f"Accuracy gap, tuned model minus base: {gap:.3f}, {gap.n} problems."]
    shown = str(result.frame["arm"].iloc[0])
    pages = {
        "curves": curves_page(f"Router on {pair}", result, tables, figures, notes),
        "tokens": tokens_page(f"Texts of {shown} on {pair}", token_view(held.pair.base.tokenizer, _shown(result))),
    }
    for name, page in pages.items():
        write_whole(out / f"{name}.html", partial(_text, page))
    return {name: str(out / f"{name}.html") for name in pages}


def _text(page: str, path: Path) -> None:
    path.write_text(page, encoding="utf-8")


def _shown(result: RouteResult) -> Any:
    """The texts of the first gate: the token view."""
    return result.rollouts[str(result.frame["arm"].iloc[0])]


def _curves(result: RouteResult) -> dict[str, Any]:
    """A curve for each gate with several thresholds, where there is a gain."""
    gates = result.frame[result.frame["kind"] == "gate"]
    several = [name for name, rows in gates.groupby("gate", sort=False) if len(rows) > 1]
    if gates["recovery"].isna().all():
        return {}
    return {str(name): result.curve(str(name)) for name in several}


def _summary(curves: dict[str, Any]) -> Any:
    """Area and shares needed, a row a gate."""
    import pandas as pd

    rows = []
    for name, one in curves.items():
        row: dict[str, Any] = {"gate": name, "area": one.area.value, "low": one.area.low, "high": one.area.high}
        for target, needed in one.needed.items():
            ends = (None, None, None) if needed is None else (needed.value, needed.low, needed.high)
            label = f"share_for_{target:.0%}".removesuffix("%")
            row |= dict(zip((label, f"{label}_low", f"{label}_high"), ends, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def _tell(result: RouteResult, pages: dict[str, str], *, as_json: bool) -> None:
    import json

    frame = result.frame
    identified = bool(frame["recovery"].notna().any())
    if as_json:
        # Through pandas, which writes what is missing as null.
        say_json(
            {
                "headline": result.headline(), "identified": identified,
                "arms": json.loads(frame.to_json(orient="records")),
                "contrasts": json.loads(result.contrasts.to_json(orient="records")), "pages": pages,
            }
        )  # fmt: skip
        return
    shown = [name for name in COLUMNS if identified or name not in ("recovery", "low", "high")]
    lines = frame[shown].to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="")
    typer.echo(f"{result.headline()}\n{lines}\nCurves and tables: {pages['curves']}\nTexts: {pages['tokens']}")
