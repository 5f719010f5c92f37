"""``whenlens capture``, ``score`` and ``store``: activations and per-token comparisons of both models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from probes.commands.elsewhere import Cpus, Gpus, Ray, WithRay, runner_of
from probes.commands.settings import Settings
from probes.commands.terminal import Json, app, bar, load_pair, read_texts, say_json, stop

store_app = typer.Typer(help="Activation stores: what is in one, and whether it is whole.")
app.add_typer(store_app, name="store")


@app.command(
    cls=WithRay,
    epilog="Example: whenlens capture organism:latent runs/latent/rollouts/base_greedy.parquet --store acts",
)
def capture(
    pair: Annotated[str, typer.Argument(help="A shipped organism, or the base checkpoint.")],
    texts: Annotated[Path, typer.Argument(help="Rollouts: parquet, JSONL, inspect-ai or lm-eval samples.")],
    store: Annotated[Path, typer.Option(help="Folder of the activation store; the same call goes on with it.")],
    rl: Annotated[str | None, typer.Option(help="Tuned checkpoint, or a LoRA folder.")] = None,
    sites: Annotated[str, typer.Option(help="Sites, for instance resid_post.* or attn_out.3.")] = "resid_post.*",
    positions: Annotated[str, typer.Option(help="all, prompt, last_prompt, generated, completion, every:4, …")] = "all",
    reduce: Annotated[str | None, typer.Option(help="mean or last: one row a span.")] = None,
    shard: Annotated[str | None, typer.Option(help="i/n writes the i-th of n parts, for several processes.")] = None,
    shard_tokens: Annotated[int | None, typer.Option(help="Tokens after which a shard of a new store ends.")] = None,
    dtype: Annotated[str, typer.Option(help="Precision of the weights.")] = "auto",
    device: Annotated[str, typer.Option(help="Device of both models.")] = "auto",
    ray: Ray = None,
    num_cpus: Cpus = 1.0,
    num_gpus: Gpus = 0.0,
    settings: Settings = None,
    json_: Json = False,
) -> None:
    """Write activations of both models over the same texts to disk."""
    from hooks.capture import capture as run
    from hooks.deposit import SHARD_TOKENS
    from probes.cluster.pairs import PairName

    name = PairName(pair, rl, dtype, device)
    tokens = SHARD_TOKENS if shard_tokens is None else shard_tokens
    part = _part(shard)
    how: Any = reduce
    if how not in (None, "mean", "last"):
        stop(f"--reduce is mean or last, not {how!r}.")
    if part is not None and ray is not None:
        stop("--ray cuts the store into tasks by itself; leave --shard out.")
    if ray is None:
        with bar("tokens read", quiet=json_) as move:
            run(name.load(), name.read(texts), sites=sites, positions=positions, reduce=how, store=store, shard=part,
                shard_tokens=tokens, progress=move)  # fmt: skip
    else:
        from probes.cluster.capturing import Request, capture_shards

        wanted = Request(name, name.read(texts), store, sites, positions, how, shard_tokens=tokens)
        with runner_of(ray, num_cpus, num_gpus) as runner, bar("shards written", quiet=json_) as move:
            capture_shards(wanted, runner=runner, progress=move)
    _describe(store, json_)


@app.command(
    epilog="Example: whenlens score organism:latent runs/latent/rollouts/rl_greedy.parquet --out tokens.parquet"
)
def score(
    pair: Annotated[str, typer.Argument(help="A shipped organism, or the base checkpoint.")],
    texts: Annotated[Path, typer.Argument(help="Rollouts: parquet, JSONL, inspect-ai or lm-eval samples.")],
    out: Annotated[Path, typer.Option(help="Parquet file of the token table.")],
    rl: Annotated[str | None, typer.Option(help="Tuned checkpoint, or a LoRA folder.")] = None,
    temperature: Annotated[float, typer.Option(help="Read both models as sampled at it.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Truncate the distributions that divergences are taken of.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="First choices that the overlap compares.")] = 10,
    dtype: Annotated[str, typer.Option(help="Precision of the weights.")] = "auto",
    device: Annotated[str, typer.Option(help="Device of both models.")] = "auto",
    json_: Json = False,
) -> None:
    """Let both models read the same texts and compare them at every token."""
    from hooks.score import score as run
    from hooks.summaries import near_zero_share, shift_classes, top_entropy_overlap

    both = load_pair(pair, rl, dtype=dtype, device=device, quiet=json_)
    with bar("tokens read", quiet=json_) as move:
        table = run(
            both, read_texts(texts, both.base), temperature=temperature, top_p=top_p, top_k=top_k, progress=move
        )
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

    with bar("shards read", quiet=json_):
        damaged = ActivationStore.open(path).verify()
    if json_:
        say_json({"damaged": damaged.to_dict("records")})
    else:
        typer.echo("\n".join(damaged["what"]) or f"{path}: every shard is whole.")
    if len(damaged):
        raise typer.Exit(1)


def _part(shard: str | None) -> tuple[int, int] | None:
    if shard is None:
        return None
    numbers = shard.split("/")
    if len(numbers) != 2 or not all(number.isdigit() for number in numbers):
        stop(f"--shard is i/n, such as 1/4, not {shard!r}.")
    return int(numbers[0]), int(numbers[1])


def _describe(path: Path, as_json: bool) -> None:
    from hooks.store import ActivationStore

    told = ActivationStore.open(path).describe()
    if as_json:
        say_json(told.to_dict("records"))
        return
    typer.echo(told.to_string(index=False))
