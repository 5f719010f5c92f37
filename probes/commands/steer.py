"""``whenlens steer``: effect and damage of steering over layers and doses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probes.commands.settings import Settings, WithSettings
from probes.commands.terminal import Json, app, bar, load_pair, say_json, stop

if TYPE_CHECKING:
    from hooks.direction import Direction
    from hooks.pair import Pair
    from probes.latent.grid import SteeringGrid
    from probes.tasks import Problem

ALPHA = "Doses as start:stop:count, both ends included (-8:8:9 is -8, -6, … 8), or one number; 0 is always added."
LAYERS = "Layers as start:stop:step, both ends included (4:20:4 is 4, 8, … 20), or one number."


def doses(text: str) -> list[float]:
    """The doses that ``start:stop:count`` names, both ends included; a lone number is one dose.

    Raises:
        ValueError: for anything else.
    """
    parts = text.split(":")
    try:
        numbers = [float(part) for part in parts[:2]]
        count = int(parts[2]) if len(parts) == 3 else 1
    except ValueError:
        numbers, count = [], 0
    finite = all(abs(number) < float("inf") for number in numbers)
    if not finite or len(parts) not in (1, 3) or count < 1 or (len(parts) == 3 and count < 2):
        raise ValueError(f"--alpha is start:stop:count with a count of at least 2, such as -8:8:9, not {text!r}.")
    if len(parts) == 1:
        return numbers
    start, stop_ = numbers
    return [start + (stop_ - start) * at / (count - 1) for at in range(count)]


def layers_of(text: str) -> list[int]:
    """The layers that ``start:stop:step`` names, both ends included; a lone number is one layer.

    Raises:
        ValueError: for anything else.
    """
    parts = text.split(":")
    if len(parts) not in (1, 3) or not all(part.isdigit() for part in parts):
        raise ValueError(f"--layers is start:stop:step, such as 4:20:4, not {text!r}.")
    numbers = [int(part) for part in parts]
    if len(parts) == 1:
        return numbers
    start, stop_, step = numbers
    if step < 1 or stop_ < start:
        raise ValueError(f"--layers {text} names no layer; start may not lie beyond stop, and step is at least 1.")
    return list(range(start, stop_ + 1, step))


@app.command(
    cls=WithSettings,
    epilog="Example: whenlens steer organism:latent --label computation --alpha -2:2:5 --layers 1:3:1 --out sweep",
)
def steer(
    pair: Annotated[str, typer.Argument(help="A shipped organism, or the base checkpoint.")],
    out: Annotated[Path, typer.Option(help="Folder of table and plot; the same call goes on where it stopped.")],
    rl: Annotated[str | None, typer.Option(help="Tuned checkpoint, or a LoRA folder.")] = None,
    direction: Annotated[Path | None, typer.Option(help="A saved direction, put at every layer.")] = None,
    label: Annotated[str | None, typer.Option(help="A strategy; each layer gets its own vector from the base.")] = None,
    alpha: Annotated[str, typer.Option(help=ALPHA)] = "-8:8:9",
    layers: Annotated[str | None, typer.Option(help=LAYERS)] = None,
    relative: Annotated[bool, typer.Option(help="Doses in typical norms of the activation.")] = False,
    positions: Annotated[str, typer.Option(help="decisions, generated, last_prompt, first:8, …")] = "decisions",
    problems: Annotated[str | None, typer.Option(help="JSONL, reasoning_gym:TASK, or an organism's name.")] = None,
    n_problems: Annotated[int, typer.Option(help="Problems that are steered; as many others make the vectors.")] = 64,
    samples: Annotated[int, typer.Option(help="Texts of each problem that the vectors are made from.")] = 16,
    max_new_tokens: Annotated[int | None, typer.Option(help="Longest text; 96 for an organism, else 256.")] = None,
    batch_size: Annotated[int, typer.Option(help="Texts written at once.")] = 512,
    annotator: Annotated[str, typer.Option(help="Strategy labels: auto, english or organism.")] = "auto",
    n_boot: Annotated[int, typer.Option(help="Bootstrap draws.")] = 2000,
    seed: Annotated[int, typer.Option(help="Names every random stream.")] = 0,
    dtype: Annotated[str, typer.Option(help="Precision of the weights.")] = "auto",
    device: Annotated[str, typer.Option(help="Device of both models.")] = "auto",
    settings: Settings = None,
    json_: Json = False,
) -> None:
    """Steer the base at many doses and layers: accuracy, use of the strategy and damage in every cell, with intervals.

    All doses of a layer are one batch; a layer that is done is kept.  Doses are lengths of the vector, or, with
    --relative, typical norms of the activation.
    """
    if (direction is None) == (label is None):
        stop("Say what to steer along: --direction FILE or --label STRATEGY, one of the two.")
    try:
        wanted, at = doses(alpha), None if layers is None else layers_of(layers)
    except ValueError as error:
        stop(str(error))
    both = load_pair(pair, rl, dtype=dtype, device=device, quiet=json_)
    asked, others = _problems(pair, problems, n_problems, seed)
    length = max_new_tokens or (96 if pair.startswith("organism:") else 256)
    decoding = {"max_new_tokens": length, "batch_size": batch_size, "seed": seed}
    if direction is not None:
        vectors = _saved(direction, at, both)
    else:
        vectors = _made(both, others, str(label), at, samples, annotator, decoding, out, quiet=json_)
    from probes.latent.grid import steering_grid

    with bar("layers steered", quiet=json_) as move:
        grid = steering_grid(
            both, asked, vectors, alphas=wanted, relative=relative, annotator=annotator, n_boot=n_boot, seed=seed,
            positions=None if positions == "decisions" else positions, settings=decoding, out=out, progress=move,
        )  # fmt: skip
    _tell(grid, out, as_json=json_)


def _problems(pair: str, spec: str | None, count: int, seed: int) -> tuple[list[Problem], list[Problem]]:
    """Problems to steer on, and as many others to make vectors from."""
    from probes import tasks

    if spec is None and not pair.startswith("organism:"):
        stop("Say what to ask: --problems FILE.jsonl or --problems reasoning_gym:TASK.")
    if count < 2:
        stop(f"--n-problems is at least 2, not {count}.")
    found = tasks.load(spec or pair, n=2 * count, seed=seed)
    return found[::2], found[1::2]


def _saved(path: Path, layers: list[int] | None, both: Pair) -> list[Direction]:
    """A saved direction at each layer; its own place keeps its measured norm."""
    from hooks.direction import Direction

    one = Direction.load(path)
    outside = [layer for layer in layers or [] if layer >= both.base.n_layers]
    if outside:
        stop(f"{both.base.name} has layers 0 to {both.base.n_layers - 1}, and {outside[0]} was asked for.")
    wanted = [one.site.layer] if layers is None else layers
    return [one if layer == one.site.layer else one.at(f"{one.site.kind}.{layer}") for layer in wanted]


def _made(
    both: Pair,
    problems: list[Problem],
    label: str,
    layers: list[int] | None,
    samples: int,
    annotator: str,
    settings: dict[str, Any],
    out: Path,
    *,
    quiet: bool,
) -> list[Direction]:
    """Directions of a strategy from the base's own texts; every layer without a choice."""
    from hooks import generate
    from hooks.rollouts import Rollouts
    from probes.study.pointing import pointers

    kept = out / "rollouts" / f"base-{len(problems)}x{samples}.parquet"
    if kept.exists():
        texts = Rollouts.load(kept)
    else:
        with bar("texts of the base", quiet=quiet) as move:
            texts = generate(both.base, problems, n=samples, temperature=1.0, progress=move, **settings)
        kept.parent.mkdir(parents=True, exist_ok=True)
        texts.save(kept)
    wanted = list(range(both.base.n_layers)) if layers is None else layers
    vectors = pointers(both.base, texts, label, wanted, annotator=annotator, seed=settings["seed"])
    (out / "directions").mkdir(parents=True, exist_ok=True)
    for one in vectors:
        one.save(out / "directions" / f"{one.site}.safetensors")
    return vectors


def _tell(grid: SteeringGrid, out: Path, *, as_json: bool) -> None:
    """Write table and plot, and say where they are."""
    from hooks.rollouts import write_whole

    table, page = out / "steering.parquet", out / "steering.html"
    write_whole(table, lambda path: grid.frame.to_parquet(path, index=False))
    figure = grid.plot()
    write_whole(page, lambda path: figure.write_html(path, include_plotlyjs=True))
    written = [page, *_png(figure, out / "steering.png")]
    if as_json:
        plain = grid.frame.astype(object).where(grid.frame.notna(), None)
        say_json({"table": str(table), "plots": [str(path) for path in written], "rows": plain.to_dict("records")})
        return
    typer.echo(f"{grid}\nTable: {table}\nPlot: {', '.join(map(str, written))}")


def _png(figure: Any, path: Path) -> list[Path]:
    """The plot as a picture, where kaleido and its browser are there; the page is written either way."""
    from probes.report.export import NoPictures, write_pictures

    try:
        return write_pictures({path.stem: figure}, path.parent, ["png"])
    except NoPictures:
        return []
