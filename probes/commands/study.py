"""``whenlens study`` and ``whenlens report``: the main job, and its page written again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from probes.commands.terminal import Json, app, say_json, stop


@app.command(epilog="Example: whenlens study organism:latent --out runs/latent")
def study(
    pair: Annotated[str | None, typer.Argument(help="A shipped organism; or give --base and --rl.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the study; the same folder goes on where it stopped.")] = Path(
        "runs/study"
    ),
    base: Annotated[str | None, typer.Option(help="Base checkpoint: a folder or hub id.")] = None,
    rl: Annotated[str | None, typer.Option(help="Tuned checkpoint, or a LoRA folder.")] = None,
    problems: Annotated[str | None, typer.Option(help="JSONL of problems, or reasoning_gym:TASK.")] = None,
    n_problems: Annotated[int | None, typer.Option(help="Problems to draw.")] = None,
    samples: Annotated[int | None, typer.Option(help="Samples of each problem from each model.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Temperature of the samples.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Longest text, in tokens.")] = None,
    seed: Annotated[int | None, typer.Option(help="Names every random stream.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Precision of the weights.")] = None,
    device: Annotated[str | None, typer.Option(help="Device of both models.")] = None,
    template: Annotated[str | None, typer.Option(help="Prompt template: auto, none or chat.")] = None,
    templates: Annotated[bool, typer.Option(help="Run the 2 x 2 of prompt templates and models.")] = False,
    annotator: Annotated[str | None, typer.Option(help="Strategy labels: auto, english, organism, or a file.")] = None,
    series: Annotated[
        list[str] | None, typer.Option(help="A checkpoint between base and tuned model; give it for each, in order.")
    ] = None,
    compute: Annotated[
        list[float] | None, typer.Option(help="Compute spent at each --series and, last, at the tuned model.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Texts written at once.")] = None,
    json_: Json = False,
) -> None:
    """Run the whole main job on one pair and write a report."""
    given: dict[str, Any] = {
        "base": base or pair,
        "rl": rl,
        "problems": problems,
        "out": out,
        "n_problems": n_problems,
        "samples": samples,
        "temperature": temperature,
        "max_new_tokens": max_new_tokens,
        "seed": seed,
        "dtype": dtype,
        "device": device,
        "template": template,
        "templates": templates or None,
        "annotator": annotator,
        "series": tuple(series) if series else None,
        "compute": tuple(compute) if compute else None,
        "batch_size": batch_size,
    }
    if given["base"] is None:
        stop("Name a shipped organism (whenlens organisms list), or give --base and --rl.")
    from pydantic import ValidationError

    from probes.study import StudyConfig, run

    try:
        config = StudyConfig(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        stop("; ".join(str(item["msg"]).removeprefix("Value error, ") for item in error.errors()))
    finished = run(config, quiet=json_)
    if json_:
        say_json({"report": str(finished.report), "headline": finished.headline})


@app.command(epilog="Example: whenlens report runs/latent runs/newskill --out runs/both.html")
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folder of a study; several are set side by side.")],
    out: Annotated[Path, typer.Option(help="Page of several studies.")] = Path("runs/beside.html"),
    json_: Json = False,
) -> None:
    """Write the page of a study again from its tables, or one page over several studies."""
    for folder in folders:
        if not (folder / "study.json").is_file():
            stop(f"{folder} holds no study.json; run `whenlens study … --out {folder}` first.")
    from probes.report import write_beside, write_report

    page = write_report(folders[0]) if len(folders) == 1 else write_beside(folders, out)
    if json_:
        say_json({"report": str(page)})
        return
    typer.echo(f"Report: {page}")
