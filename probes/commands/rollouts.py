"""``whenlens rollouts``: samples of a served model, graded, as a file that every other command reads."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probes.commands.settings import Settings, WithSettings
from probes.commands.terminal import Json, app, bar, say_json, stop

if TYPE_CHECKING:
    from hooks.endpoint import Endpoint
    from hooks.rollouts import Rollouts
    from hooks.served import Asking

EXAMPLE = (
    "Example: whenlens rollouts --endpoint http://localhost:8000/v1 --model Qwen/Qwen2.5-1.5B "
    "--problems gsm8k.jsonl --out rollouts/base.parquet"
)


@app.command(cls=WithSettings, epilog=EXAMPLE)
def rollouts(
    endpoint: Annotated[str, typer.Option(help="Address of an OpenAI-compatible server, up to /v1.")],
    model: Annotated[str, typer.Option(help="The model's name on the server.")],
    problems: Annotated[str, typer.Option(help="JSONL of problems, reasoning_gym:TASK, or an organism's name.")],
    out: Annotated[Path, typer.Option(help="Parquet file; the same call goes on where it stopped.")],
    n_problems: Annotated[int | None, typer.Option(help="Problems to draw.")] = None,
    samples: Annotated[int, typer.Option(help="Samples of each problem.")] = 1,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Nucleus of the samples.")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(help="Longest text, in tokens.")] = 256,
    stop_at: Annotated[list[str] | None, typer.Option("--stop", help="A text that ends a sample.")] = None,
    seed: Annotated[int, typer.Option(help="Of the problems, and of every request.")] = 0,
    send_seed: Annotated[bool, typer.Option(help="Send seeds; off for servers that refuse them.")] = True,
    api: Annotated[str, typer.Option(help="completions (prompt as it is) or chat (the server's template).")] = (
        "completions"
    ),
    tokenizer: Annotated[
        str | None, typer.Option(help="The model's folder or hub id: prompts go as ids, and exact ids come back.")
    ] = None,
    template: Annotated[str, typer.Option(help="With --tokenizer: its prompt template, auto, none or chat.")] = "none",
    logprobs: Annotated[bool, typer.Option(help="Ask for the log-prob of every token.")] = True,
    token_ids: Annotated[bool, typer.Option(help="Ask for token ids, which vLLM can give.")] = False,
    per_request: Annotated[int, typer.Option(help="Samples of one request.")] = 8,
    concurrency: Annotated[int, typer.Option(help="Requests under way at once.")] = 16,
    retries: Annotated[int, typer.Option(help="Further tries of a request that failed.")] = 5,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.")] = 600.0,
    key_from: Annotated[str, typer.Option(help="Environment variable that holds the key.")] = "OPENAI_API_KEY",
    settings: Settings = None,
    json_: Json = False,
) -> None:
    """Let a model on an OpenAI-compatible server (vLLM, SGLang, llama.cpp, ...) answer problems, and grade them."""
    from hooks.endpoint import PATHS, Endpoint, EndpointError
    from hooks.served import Asking

    chosen: Any = api
    if api not in PATHS:
        stop(f"--api is {' or '.join(PATHS)}, not {api!r}.")
    if template not in ("none", "auto", "chat"):
        stop(f"--template is none, auto or chat, not {template!r}.")
    try:
        server = Endpoint(endpoint, model, chosen, key_from=key_from, timeout=timeout, retries=retries)
        asking = Asking(
            n=samples, temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens,
            seed=seed if send_seed else None, stop=tuple(stop_at or ()), logprobs=logprobs, token_ids=token_ids,
            per_request=per_request,
        )  # fmt: skip
    except ValueError as error:
        stop(str(error))
    from probes import tasks

    asked = tasks.load(problems, n=n_problems, seed=seed)
    record = _record(server, asking, [problem.id for problem in asked], problems, tokenizer, template)
    if out.exists():
        _same(out, record)
    else:
        try:
            written = _written(server, asking, asked, tokenizer, template, concurrency, out, quiet=json_)
        except EndpointError as error:
            stop(f"{error}\nWhat was answered is kept; the same command goes on.", code=1)
        _save(tasks.grade(written, asked), out, record)
    _tell(out, as_json=json_)


def _written(
    server: Endpoint,
    asking: Asking,
    asked: list[Any],
    tokenizer: str | None,
    template: str,
    concurrency: int,
    out: Path,
    *,
    quiet: bool,
) -> Rollouts:
    from hooks.checkpoint import find_source, load_tokenizer
    from hooks.served import served

    how: Any = template
    tool = None if tokenizer is None else load_tokenizer(find_source(tokenizer))
    with bar("samples of the server", quiet=quiet) as move:
        return served(
            server, asked, asking, tokenizer=tool, template=how, threads=concurrency, journal=_beside(out, "journal"),
            progress=move,
        )  # fmt: skip


def _beside(out: Path, ending: str) -> Path:
    return out.with_name(f"{out.name}.{ending}")


def _record(
    server: Endpoint, asking: Asking, ids: list[str], problems: str, tokenizer: str | None, template: str
) -> dict[str, Any]:
    """What the file is made of, for the note beside it; there is no key in it."""
    from hashlib import sha256

    return {
        "endpoint": server.url, "model": server.model, "api": server.api, **asdict(asking), "problems": problems,
        "problem_ids": sha256("\n".join(ids).encode()).hexdigest()[:16], "tokenizer": tokenizer, "template": template,
    }  # fmt: skip


def _save(graded: Rollouts, out: Path, record: dict[str, Any]) -> None:
    """The note, then the file; the journal is no longer needed."""
    from hooks.rollouts import write_whole

    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    write_whole(_beside(out, "json"), lambda path: path.write_text(text, encoding="utf-8"))
    graded.save(out)
    _beside(out, "journal").unlink(missing_ok=True)


def _same(out: Path, record: dict[str, Any]) -> None:
    """Refuse to take a file of other samples for these."""
    note = _beside(out, "json")
    held = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    wanted = json.loads(json.dumps(record))
    # The same model may be served at another address.
    differ = [name for name in wanted if name != "endpoint" and held.get(name) != wanted[name]]
    if differ:
        stop(f"{out} holds other samples (other {', '.join(differ)}); choose another --out, or delete it.")


def _tell(out: Path, *, as_json: bool) -> None:
    from hooks.rollouts import Rollouts

    found = Rollouts.load(out)
    exact = found.frame["exact"].astype(bool)
    if as_json:
        graded = found.frame["correct"].dropna()
        accuracy = float(graded.mean()) if len(graded) else None
        say_json({"out": str(out), "samples": len(found), "exact": int(exact.sum()), "accuracy": accuracy})
        return
    ids = "all with the sampled token ids" if exact.all() else f"{int(exact.sum())} with the sampled token ids"
    typer.echo(f"{found}; {ids}\nOne run; graded rollouts: {out}")
