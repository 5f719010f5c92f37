"""``whenlens graft``: parts of what RL changed, put on the base, and how much of the gain each brings."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from probes.commands.settings import Settings, WithSettings
from probes.commands.terminal import Json, app, bar, load_pair, say_json


@app.command(
    cls=WithSettings,
    epilog="Example: whenlens graft organism:latent --parts layers,modules,largest:0.01:0.1,random:0.1 --out graft",
)
def graft(
    pair: Annotated[str, typer.Argument(help="A shipped organism, or the base checkpoint.")],
    out: Annotated[Path, typer.Option(help="Folder of texts, table and figure; the same call goes on with it.")],
    rl: Annotated[str | None, typer.Option(help="Tuned checkpoint, or a LoRA folder.")] = None,
    parts: Annotated[
        str,
        typer.Option(
            help="layers, cumulative, modules, whole, nothing, outside, largest:X, random:X, rows:X, rank:K, "
            "without:…, or a site of the RL model's activations such as resid_post.2@generated."
        ),
    ] = "layers,modules,largest:0.01:0.1,random:0.01:0.1",
    problems: Annotated[str | None, typer.Option(help="JSONL of problems, or reasoning_gym:TASK.")] = None,
    n_problems: Annotated[int, typer.Option(help="Problems to draw.")] = 200,
    samples: Annotated[int, typer.Option(help="Samples of each problem.")] = 1,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    max_new_tokens: Annotated[int, typer.Option(help="Longest text, in tokens.")] = 256,
    seed: Annotated[int, typer.Option(help="Names every random stream.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Texts written at once.")] = 64,
    dtype: Annotated[str, typer.Option(help="Precision of the weights.")] = "auto",
    device: Annotated[str, typer.Option(help="Device of both models.")] = "auto",
    settings: Settings = None,
    json_: Json = False,
) -> None:
    """Put parts of the update on the base one after another and measure the recovered share of the gain."""
    from hooks.generate import generate
    from hooks.rollouts import write_whole
    from probes import tasks
    from probes.routing.grafting import graft as run
    from probes.routing.grafting import parts_of
    from probes.routing.kept import kept

    both = load_pair(pair, rl, dtype=dtype, device=device, quiet=json_)
    asked = tasks.load(problems or pair, n=n_problems, seed=seed)
    chosen = parts_of(parts, both)
    decoding: dict[str, Any] = {
        "n": samples, "temperature": temperature, "max_new_tokens": max_new_tokens, "seed": seed,
    }  # fmt: skip
    texts = out / "texts"
    with bar("texts written", quiet=json_) as move:

        def write(model: Any) -> Any:
            return tasks.grade(generate(model, asked, progress=move, batch_size=batch_size, **decoding), asked)

        ours, theirs = (
            kept(texts, name, partial(write, model), pair=both, problems=asked, told=[decoding])
            for name, model in (("base", both.base), ("rl", both.rl))
        )
        found = run(
            both, asked, base=ours, rl=theirs, parts=chosen, folder=texts, batch_size=batch_size,
            progress=lambda _, done, total: move(done, total), **decoding,
        )  # fmt: skip
    write_whole(out / "graft.parquet", lambda path: found.frame.to_parquet(path, index=False))
    write_whole(out / "graft.html", lambda path: found.plot().write_html(path))
    if json_:
        told = {"headline": found.headline(), "out": str(out)}
        say_json({**told, "parts": json.loads(found.frame.to_json(orient="records"))})
        return
    typer.echo(f"{found.headline()}\n{found.frame.to_string(index=False, float_format='{:.3f}'.format)}\nTable: {out}")
