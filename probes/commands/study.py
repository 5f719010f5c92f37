"""``whenlens study`` and ``whenlens report``: the main job, and its page written again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from probes.commands.settings import Settings, WithSettings, given
from probes.commands.terminal import Json, app, bar, say_json, stop


class WithPair(WithSettings):
    """A command whose pair on the line stands in for the checkpoints of the settings file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Leave out base and tuned model of the file where the line names a pair."""
        left = super().parse_args(ctx, args)
        if given(ctx, "pair"):
            ctx.params.update({name: None for name in ("base", "rl") if not given(ctx, name)})
        return left


@app.command(cls=WithPair, epilog="Example: whenlens study organism:latent --out runs/latent")
def study(
    pair: Annotated[str | None, typer.Argument(help="A shipped organism; or give --base and --rl.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the study; the same folder goes on where it stopped.")] = Path(
        "runs/study"
    ),
    base: Annotated[str | None, typer.Option(help="Base checkpoint: a folder or hub id.")] = None,
    rl: Annotated[str | None, typer.Option(help="Tuned checkpoint, or a LoRA folder.")] = None,
    problems: Annotated[str | None, typer.Option(help="JSONL of problems, or reasoning_gym:TASK.")] = None,
    n_problems: Annotated[int | None, typer.Option(help="Problems to draw.", show_default="200")] = None,
    samples: Annotated[
        int | None,
        typer.Option(help="Samples of each problem from each model.", show_default="32; 128 for an organism"),
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Temperature of the samples.", show_default="1.0")] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus of the samples.", show_default="1.0")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Longest text, in tokens.", show_default="256; 96 for an organism")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Names every random stream.", show_default="0")] = None,
    dtype: Annotated[str | None, typer.Option(help="Precision of the weights.", show_default="auto")] = None,
    device: Annotated[str | None, typer.Option(help="Device of both models.", show_default="auto")] = None,
    template: Annotated[
        str | None, typer.Option(help="Prompt template: auto, none or chat.", show_default="auto")
    ] = None,
    templates: Annotated[bool, typer.Option(help="Run the 2 x 2 of prompt templates and models.")] = False,
    annotator: Annotated[
        str | None, typer.Option(help="Strategy labels: auto, english, organism, or a file.", show_default="auto")
    ] = None,
    series: Annotated[
        list[str] | None, typer.Option(help="A checkpoint between base and tuned model; give it for each, in order.")
    ] = None,
    compute: Annotated[
        list[float] | None, typer.Option(help="Compute spent at each --series and, last, at the tuned model.")
    ] = None,
    contrast: Annotated[
        list[str] | None,
        typer.Option(
            help="ROLE=CHECKPOINT, another training of the same base: random (reward), sft, medium, hard, binary or "
            "brier; none for none."
        ),
    ] = None,
    order: Annotated[
        list[str] | None,
        typer.Option(help="ORDER=CHECKPOINT, a run on domains: a (alone), a,b (a, then b), a+b (together)."),
    ] = None,
    thresholds: Annotated[
        list[float] | None,
        typer.Option(help="A JS gate of the router; give it for each.", show_default="0.02, 0.05, 0.1, 0.2, 0.4"),
    ] = None,
    alphas: Annotated[
        list[float] | None,
        typer.Option(
            help="A dose of steering, in typical norms; give it for each.", show_default="0.25, 0.5, 1.0, 2.0"
        ),
    ] = None,
    random_vectors: Annotated[
        int | None, typer.Option(help="Random vectors beside every steering result.", show_default="20")
    ] = None,
    probe_samples: Annotated[
        int | None, typer.Option(help="Samples of each problem that the probes read.", show_default="16")
    ] = None,
    n_boot: Annotated[int | None, typer.Option(help="Bootstrap replicates over problems.", show_default="2000")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Texts written at once.", show_default="64; 512 for an organism")
    ] = None,
    settings: Settings = None,
    json_: Json = False,
) -> None:
    """Run the whole main job on one pair and write a report."""
    told: dict[str, Any] = {
        "base": base or pair,
        "rl": rl,
        "problems": problems,
        "out": out,
        "n_problems": n_problems,
        "samples": samples,
        "temperature": temperature,
        "top_p": top_p,
        "max_new_tokens": max_new_tokens,
        "seed": seed,
        "dtype": dtype,
        "device": device,
        "template": template,
        "templates": templates or None,
        "annotator": annotator,
        "series": tuple(series) if series else None,
        "compute": tuple(compute) if compute else None,
        "contrast": contrast or None,
        "order": order or None,
        "thresholds": tuple(thresholds) if thresholds else None,
        "alphas": tuple(alphas) if alphas else None,
        "random_vectors": random_vectors,
        "probe_samples": probe_samples,
        "n_boot": n_boot,
        "batch_size": batch_size,
    }
    if told["base"] is None:
        stop("Name a shipped organism (whenlens organisms list), or give --base and --rl.")
    from pydantic import ValidationError

    from probes.study import StudyConfig, run

    try:
        config = StudyConfig(**{name: value for name, value in told.items() if value is not None})
    except ValidationError as error:
        stop("; ".join(str(item["msg"]).removeprefix("Value error, ") for item in error.errors()))
    finished = run(config, quiet=json_)
    if json_:
        say_json({"report": str(finished.report), "headline": finished.headline})


@app.command(epilog="Example: whenlens report runs/latent runs/newskill --out runs/both.html")
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folder of a study; several are set side by side.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Page of several studies, runs/beside.html by default; or folder of one study's figures."),
    ] = None,
    figures: Annotated[
        str | None, typer.Option(help="Also write one study's figures as files: html,json,svg,png,pdf.")
    ] = None,
    figure: Annotated[list[str] | None, typer.Option(help="Only this figure of --figures; may be repeated.")] = None,
    json_: Json = False,
) -> None:
    """Write the page of a study again from its tables, or one page over several studies."""
    for folder in folders:
        if not (folder / "study.json").is_file():
            stop(f"{folder} holds no study.json; run `whenlens study … --out {folder}` first.")
    if figures is None and len(folders) == 1 and out is not None:
        stop("--out names the page of several studies, or with --figures a folder; one study's page is in its folder.")
    if figures is not None and len(folders) > 1:
        stop("--figures writes the figures of one study; name one folder.")
    from probes.report import NoPictures, write_beside, write_figures, write_report

    page = write_report(folders[0]) if len(folders) == 1 else write_beside(folders, out or Path("runs/beside.html"))
    written: list[Path] = []
    if figures is not None:
        formats = [one.strip() for one in figures.split(",") if one.strip()]
        try:
            with bar("figures drawn", quiet=json_):
                written = write_figures(folders[0], formats=formats, names=figure, out=out)
        except NoPictures as error:
            stop(str(error), code=1)
    if json_:
        say_json({"report": str(page), "figures": [str(path) for path in written]})
        return
    typer.echo(f"Report: {page}")
    if written:
        typer.echo(f"Figures: {len(written)} files in {written[0].parent}")
