"""The command ``whenlens``: the main job and its stages, from a shell.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="whenlens",
    help="Did RL teach a language model how to reason, or only when? Evidence from two checkpoints.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
organisms_app = typer.Typer(help="Small base→RL pairs that ship with the package, with known answers.")
app.add_typer(organisms_app, name="organisms")
store_app = typer.Typer(help="Activation stores: what is in one, and whether it is whole.")
app.add_typer(store_app, name="store")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]


def say_json(value: object) -> None:
    """Print one JSON value on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


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


@app.command(epilog="Example: whenlens report runs/latent")
def report(folder: Annotated[Path, typer.Argument(help="Folder of a study.")]) -> None:
    """Write the page of a study again from its tables."""
    if not (folder / "study.json").is_file():
        stop(f"{folder} holds no study.json; run `whenlens study … --out {folder}` first.")
    from probes.report import write_report

    typer.echo(f"Report: {write_report(folder)}")


@app.command(epilog="Example: whenlens capture organism:latent runs/latent/rollouts/base_greedy.parquet --store acts")
def capture(
    pair: Annotated[str, typer.Argument(help="A shipped organism, or the base checkpoint.")],
    texts: Annotated[Path, typer.Argument(help="Rollouts: parquet, JSONL, inspect-ai or lm-eval samples.")],
    store: Annotated[Path, typer.Option(help="Folder of the activation store; the same call goes on with it.")],
    rl: Annotated[str | None, typer.Option(help="Tuned checkpoint, or a LoRA folder.")] = None,
    sites: Annotated[str, typer.Option(help="Sites, for instance resid_post.* or attn_out.3.")] = "resid_post.*",
    positions: Annotated[str, typer.Option(help="all, prompt, last_prompt, generated, completion, every:4, …")] = "all",
    reduce: Annotated[str | None, typer.Option(help="mean or last: one row a span.")] = None,
    shard: Annotated[str | None, typer.Option(help="i/n writes the i-th of n parts, for several processes.")] = None,
    dtype: Annotated[str, typer.Option(help="Precision of the weights.")] = "auto",
    device: Annotated[str, typer.Option(help="Device of both models.")] = "auto",
    json_: Json = False,
) -> None:
    """Write activations of both models over the same texts to disk."""
    from hooks import Pair
    from hooks.capture import capture as run

    both = Pair.load(pair, rl, dtype=dtype, device=device)
    part = None
    if shard is not None:
        numbers = shard.split("/")
        if len(numbers) != 2 or not all(number.isdigit() for number in numbers):
            stop(f"--shard is i/n, such as 1/4, not {shard!r}.")
        part = (int(numbers[0]), int(numbers[1]))
    how: Any = reduce
    if how not in (None, "mean", "last"):
        stop(f"--reduce is mean or last, not {how!r}.")
    with bar("tokens read", quiet=json_) as move:
        run(both, _texts(texts, both.base), sites=sites, positions=positions, reduce=how, store=store, shard=part,
            progress=move)  # fmt: skip
    _describe(store, json_)


@app.command(
    epilog="Example: whenlens score organism:latent runs/latent/rollouts/rl_greedy.parquet --out tokens.parquet"
)
def score(
    pair: Annotated[str, typer.Argument(help="A shipped organism, or the base checkpoint.")],
    texts: Annotated[Path, typer.Argument(help="Rollouts: parquet, JSONL, inspect-ai or lm-eval samples.")],
    out: Annotated[Path, typer.Option(help="Parquet file of the token table.")],
    rl: Annotated[str | None, typer.Option(help="Tuned checkpoint, or a LoRA folder.")] = None,
    top_p: Annotated[float, typer.Option(help="Truncate the distributions that divergences are taken of.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="First choices that the overlap compares.")] = 10,
    dtype: Annotated[str, typer.Option(help="Precision of the weights.")] = "auto",
    device: Annotated[str, typer.Option(help="Device of both models.")] = "auto",
    json_: Json = False,
) -> None:
    """Let both models read the same texts and compare them at every token."""
    from hooks import Pair
    from hooks.score import score as run
    from hooks.summaries import near_zero_share, shift_classes, top_entropy_overlap

    both = Pair.load(pair, rl, dtype=dtype, device=device)
    with bar("tokens read", quiet=json_) as move:
        table = run(both, _texts(texts, both.base), top_p=top_p, top_k=top_k, progress=move)
    table.save(out)
    found = {
        name: measure(table).to_dict("records")[0]
        for name, measure in (
            ("shift", shift_classes), ("near_zero_js", near_zero_share), ("top_entropy", top_entropy_overlap)
        )
    }  # fmt: skip
    if json_:
        say_json({"out": str(out), "tokens": len(table), **found})
        return
    typer.echo(f"{table}\nOne run: {found}\nToken table: {out}")


@store_app.command("describe", epilog="Example: whenlens store describe acts")
def store_describe(path: Annotated[Path, typer.Argument(help="Folder of a store.")], json_: Json = False) -> None:
    """Say what an activation store holds."""
    _describe(path, json_)


@store_app.command("verify", epilog="Example: whenlens store verify acts")
def store_verify(path: Annotated[Path, typer.Argument(help="Folder of a store.")], json_: Json = False) -> None:
    """Read every shard and compare it with its hash; exit code 1 where one is damaged."""
    from hooks.store import ActivationStore

    damaged = ActivationStore.open(path).verify()
    if json_:
        say_json({"damaged": damaged.to_dict("records")})
    else:
        typer.echo("\n".join(damaged["what"]) or f"{path}: every shard is whole.")
    if len(damaged):
        raise typer.Exit(1)


def _describe(path: Path, as_json: bool) -> None:
    from hooks.store import ActivationStore

    told = ActivationStore.open(path).describe()
    if as_json:
        say_json(told.to_dict("records"))
        return
    typer.echo(told.to_string(index=False))


def _texts(path: Path, model: Any) -> Any:
    """Rollouts from a file, with ids where it has none."""
    from hooks.rollouts import Rollouts

    found = Rollouts.read(path)
    return found if found.frame["ids"].notna().all() else found.with_ids(model)


@contextmanager
def bar(title: str, *, quiet: bool) -> Iterator[Any]:
    """One progress bar with rate and time left on standard error; silent where nobody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TaskProgressColumn(show_speed=True))
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=quiet or not console.is_terminal) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


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
        ends = f", {'reward' if 'reward_curve' in record else 'loss'} {curve[0]:.2f} → {curve[-1]:.2f}" if curve else ""
        start = record["start"] or "random weights"
        steps = record.get("step", record["steps"])
        typer.echo(f"  {member}: {record['method']} from {start}, seed {record['seed']}, {steps} steps{ends}")


@organisms_app.command("train", epilog="Example: whenlens organisms train latent --out runs/organisms")
def organisms_train(
    name: Annotated[str, typer.Argument(help="Name of an organism.")],
    out: Annotated[Path, typer.Option(help="Folder for the weights; members that are there are kept.")],
    shrink: Annotated[int, typer.Option(help="Divide all numbers of steps, for a rehearsal.")] = 1,
) -> None:
    """Rebuild an organism from nothing."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from hooks.organisms.recipes import build

    columns = (
        "{task.description}",
        BarColumn(),
        "{task.completed}/{task.total}",
        TextColumn("{task.fields[value]:.3f}"),
    )
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as bars:
        tasks: dict[str, Any] = {}

        def tell(member: str, done: int, total: int, value: float) -> None:
            if member not in tasks:
                tasks[member] = bars.add_task(member, total=total, value=value)
            bars.update(tasks[member], completed=done, value=value)

        try:
            build(name, out, shrink=shrink, progress=tell)
        except (ValueError, ModuleNotFoundError) as error:
            stop(str(error))
    typer.echo(f"Organism {name}: {out / name}")


def stop(sentence: str, code: int = 2) -> None:
    """End with one sentence on standard error; 2 says that the call has to change."""
    typer.secho(sentence, err=True, fg=typer.colors.RED)
    raise typer.Exit(code)


def main() -> None:
    """Entry point: known errors end in one sentence, Ctrl-C leaves a study that goes on."""
    try:
        app()
    except KeyboardInterrupt:
        typer.secho("Stopped. The same command goes on where it stopped.", err=True)
        raise SystemExit(130) from None
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
        typer.secho(str(error), err=True, fg=typer.colors.RED)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
