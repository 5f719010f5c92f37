"""How fast are capture, store and score, and how much memory do they need?  ``python -m tests.bench.activations``.

Each arm is timed in turn within one run and compared with its limit (the bare forward on the same batches) or with
TransformerLens on the same batches; memory is the kernel's own peak in fresh processes.  ``--tiny`` runs everything at
a size that means nothing, to see that it runs; ``--only NAME`` runs one part.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from hooks.capture import capture
from hooks.model import Model
from hooks.packing import by_length, pad_right, tokens_a_batch
from hooks.pair import Pair
from hooks.score import score
from hooks.sites import expand_sites
from tests.bench.results import entry, machine, medians, record
from tests.families import tiny

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LLAMA = {
    "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
    "intermediate_size": 1536, "d_vocab": 49152, "max_position_embeddings": 2048,
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    llama: dict[str, Any]
    texts: int
    mean_length: int
    organism_problems: int
    runs: int
    store_mb: int
    large_store_mb: int
    score_tokens: tuple[int, int]
    score_vocab: int
    capture_tokens: tuple[int, int, int]


FULL = Size(LLAMA, 12, 128, 300, 7, 512, 10_000, (200_000, 400_000), 49152, (20_000, 40_000, 80_000))
TINY = Size(
    {**LLAMA, "num_hidden_layers": 3, "d_vocab": 2048}, 4, 32, 20, 2, 8, 64, (500, 1000), 2048, (2000, 4000, 8000)
)


def texts(n: int, mean: int, d_vocab: int, *, seed: int = 0) -> list[list[int]]:
    """Texts of unequal length, from half to one and a half of the mean."""
    rng = np.random.default_rng(seed)
    return [rng.integers(4, d_vocab, size=rng.integers(mean // 2, mean * 3 // 2 + 1)).tolist() for _ in range(n)]


def padded_batches(ids: list[list[int]], model: Model) -> list[torch.Tensor]:
    """The very batches that capture forms."""
    arrays = [np.array(own) for own in ids]
    groups = by_length([len(own) for own in ids], tokens_a_batch(None, model.device))
    return [pad_right([arrays[row] for row in group], model.pad_id).to(model.device) for group in groups]


def synchronised(work: Callable[[], object]) -> Callable[[], None]:
    """Wait for the device, so that what is timed is done."""

    def run() -> None:
        work()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return run


def in_order(ids: list[list[int]], model: Model, rows: int = 32) -> list[torch.Tensor]:
    """Batches as a loop over a data set forms them: so many texts at a time, in the order they come."""
    arrays = [np.array(own) for own in ids]
    parts = [arrays[start : start + rows] for start in range(0, len(arrays), rows)]
    return [pad_right(part, model.pad_id).to(model.device) for part in parts]


def capture_speed(model: Model, ids: list[list[int]], runs: int) -> tuple[dict[str, dict[str, float]], int]:
    """Seconds of the bare backbone, of capture, and of TransformerLens over the same batches and over its own."""
    batches, plain, n = padded_batches(ids, model), in_order(ids, model), model.n_layers
    wanted = {site.bridge_name for site in expand_sites("resid_post.*", n)}

    @torch.no_grad()
    def bare() -> None:
        for batch in batches:
            model.net.base_model(input_ids=batch, use_cache=False)

    @torch.no_grad()
    def lens(groups: list[torch.Tensor], **options: Any) -> None:
        for batch in groups:
            model.bridge.run_with_cache(batch, names_filter=lambda name: name in wanted, **options)

    arms = {
        "bare backbone": bare,
        "capture": lambda: capture(model, ids, sites="resid_post.*"),
        "capture half": lambda: capture(model, ids, sites=f"resid_post.{n // 2}"),
        "TransformerLens": lambda: lens(batches),
        "TransformerLens stopped": lambda: lens(batches, stop_at_layer=n, return_type=None),
        "TransformerLens, 32 texts in the order of the data": lambda: lens(plain),
    }
    times = medians({name: synchronised(arm) for name, arm in arms.items()}, runs=runs)
    return times, sum(map(len, ids))


def organism_texts(n: int) -> tuple[Model, list[list[int]]]:
    """The shipped organism and texts of its own, four a problem."""
    from hooks.generate import generate
    from probes import tasks

    model = Model.load("organism:latent:rl", device=DEVICE)
    written = generate(model, tasks.load("organism:latent", n=n), n=4, temperature=1.0, max_new_tokens=96)
    return model, [ids for ids, _ in written.sequences()]


def bench_capture_llama(size: Size) -> dict[str, Any]:
    model = Model.load(tiny("llama", **size.llama), device=DEVICE)
    return bench_capture("llama", model, texts(size.texts, size.mean_length, model.d_vocab), 1.1, size.runs)


def bench_capture_organism(size: Size) -> dict[str, Any]:
    return bench_capture("organism", *organism_texts(size.organism_problems), 1.3, size.runs)


def bench_capture(name: str, model: Model, ids: list[list[int]], floor: float, runs: int) -> dict[str, Any]:
    times, tokens = capture_speed(model, ids, runs)
    out = {}
    took = {arm: own["median"] for arm, own in times.items()}
    facts = {"seconds": times, "tokens": tokens, "tokens_per_second": round(tokens / took["capture"])}
    ratio = took["bare backbone"] / took["capture"]
    out[f"capture all layers / bare backbone, {name}"] = entry(">= 0.95", ratio, reached=ratio >= 0.95, **facts)
    for arm, own in (
        ("TransformerLens", "the very same batches"),
        ("TransformerLens, 32 texts in the order of the data", "32 texts in the order of the data"),
    ):
        ratio = took[arm] / took["capture"]
        out[f"capture all layers / run_with_cache(names_filter), {name}, {own}"] = entry(
            f">= {floor}",
            ratio,
            reached=ratio >= floor,
            against_stop_at_layer=round(took["TransformerLens stopped"] / took["capture"], 4),
        )
    if name != "organism":
        ratio = took["capture half"] / took["bare backbone"]
        out[f"time of capture at layer L/2 / full forward, {name}"] = entry("<= 0.6", ratio, reached=ratio <= 0.6)
    return out


def real_texts(pair: Pair, n: int) -> list[list[int]]:
    """Chats of the real language model: problems under its template with its own answers, some of them in one text."""
    from hooks.generate import generate
    from probes import tasks

    written = generate(pair.base, tasks.load("organism:smollm2", n=2 * n), max_new_tokens=32, batch_size=2 * n)
    ids = [own for own, _ in written.sequences()]
    return [one + two for one, two in zip(ids[::2], ids[1::2], strict=True)]


def bench_real(size: Size) -> dict[str, Any]:
    """Capture and score on SmolLM2 and its adapter."""
    pair = Pair.load("organism:smollm2", device=DEVICE)
    ids = real_texts(pair, size.texts)
    return bench_capture("smollm2", pair.base, ids, 1.1, size.runs) | score_speed(pair, ids, size.runs, ", smollm2")


def bench_score(size: Size) -> dict[str, Any]:
    pair = Pair.of(*(Model.load(tiny("llama", **size.llama, seed=seed), device=DEVICE) for seed in (0, 1)))
    return score_speed(pair, texts(size.texts, size.mean_length, pair.d_vocab), size.runs)


def score_speed(pair: Pair, ids: list[list[int]], runs: int, name: str = "") -> dict[str, Any]:
    """Seconds of scoring both models against two forwards that return logits."""
    batches = padded_batches(ids, pair.base)

    @torch.no_grad()
    def two_forwards() -> None:
        for batch in batches:
            for model in (pair.base, pair.rl):
                model.net(input_ids=batch, use_cache=False)

    data = [(own, 1) for own in ids]
    arms = {"two forwards with logits": two_forwards, "score": lambda: score(pair, data)}
    times = medians({name: synchronised(arm) for name, arm in arms.items()}, runs=runs)
    ratio = times["score"]["median"] / times["two forwards with logits"]["median"]
    tokens = sum(map(len, ids))
    facts = {"seconds": times, "tokens": tokens, "tokens_per_second": round(tokens / times["score"]["median"])}
    return {f"time of score / two forwards with logits{name}": entry("<= 1.25", ratio, reached=ratio <= 1.25, **facts)}


def bench_store(size: Size) -> dict[str, Any]:
    from hooks.shards import ShardSpec, ShardWriter

    width, shards = 1024, 8
    rows = size.store_mb * (1 << 20) // (4 * width * shards)
    block = torch.randn(min(rows, 2048), width)
    folder = Path(tempfile.mkdtemp(prefix="whenlens-bench-"))

    def ours() -> None:
        for number in range(shards):
            spec = ShardSpec(folder / f"{number}.safetensors", rows, width, torch.float32, {"key": "bench"})
            with ShardWriter(spec) as writer:
                for start in range(0, rows, len(block)):
                    writer.write(start, block[: rows - start])

    def theirs(*, flush: bool) -> None:
        for number in range(shards):
            array = np.memmap(folder / f"{number}.npy", dtype=np.float32, mode="w+", shape=(rows, width))
            for start in range(0, rows, len(block)):
                array[start : start + len(block)] = block[: rows - start].numpy()
            if flush:
                array.flush()
            del array

    arms = {
        "store": ours,
        "memmap flushed": lambda: theirs(flush=True),
        "memmap not flushed": lambda: theirs(flush=False),
    }
    try:
        times = medians(arms, runs=max(5, size.runs) if size is FULL else size.runs)
    finally:
        shutil.rmtree(folder)
    ratio = times["memmap flushed"]["median"] / times["store"]["median"]
    facts = {
        "seconds": times,
        "megabytes": size.store_mb,
        "megabytes_per_second": round(size.store_mb / times["store"]["median"]),
        "against_not_flushed": round(times["memmap not flushed"]["median"] / times["store"]["median"], 4),
        "note": "the store syncs, checksums and renames; a flushed memmap syncs",
    }
    return {"store write / numpy memmap write": entry(">= 0.5", ratio, reached=ratio >= 0.5, **facts)}


def bench_open(size: Size) -> dict[str, Any]:
    found = in_process("open", size.large_store_mb)
    share = found["bytes"] / found["store_bytes"]
    return {"opening one site of a large store, share read": entry("< 0.01", share, reached=share < 0.01, **found)}


def bench_capture_memory(size: Size) -> dict[str, Any]:
    found = {tokens: in_process("capture", tokens) for tokens in size.capture_tokens}
    peaks = [own["peak_mb"] for own in found.values()]
    ratio = max(peaks) / min(peaks)
    extra = {str(tokens): own for tokens, own in found.items()}
    return {"peak memory of capture, most / least": entry("<= 1.05", ratio, reached=ratio <= 1.05, megabytes=extra)}


def bench_score_memory(size: Size) -> dict[str, Any]:
    found = {tokens: in_process("score", tokens, size.score_vocab) for tokens in size.score_tokens}
    extra = [own["extra_mb"] for own in found.values()]
    ratio = max(extra) / min(extra)
    facts = {"megabytes": {str(tokens): own for tokens, own in found.items()}, "largest_extra_mb": max(extra)}
    return {
        "extra memory of score, twice the tokens / once": entry(
            "largest <= 256 MB", ratio, reached=max(extra) <= 256, **facts
        )
    }


def in_process(what: str, *arguments: int) -> dict[str, Any]:
    """Run a measurement in a fresh process and read the JSON it prints last."""
    command = [sys.executable, "-m", "tests.bench.memory", what, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


PARTS: dict[str, Callable[[Size], dict[str, Any]]] = {
    "capture-llama": bench_capture_llama,
    "capture-organism": bench_capture_organism,
    "score": bench_score,
    "store": bench_store,
    "open": bench_open,
    "capture-memory": bench_capture_memory,
    "score-memory": bench_score_memory,
    "smollm2": bench_real,
}
REAL = "smollm2"
"""The part that needs the fetched model; run when it is named."""


def main(words: list[str] | None = None) -> None:
    """Run the parts asked for and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a size that means nothing; writes no results")
    parser.add_argument("--only", choices=PARTS, action="append", help="run this part (may be repeated)")
    options = parser.parse_args(words)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    print(machine())
    for name in options.only or [part for part in PARTS if part != REAL]:
        found = PARTS[name](TINY if options.tiny else FULL)
        for title, own in found.items():
            print(f"{'ok  ' if own['reached'] else 'MISS'} {own['ratio']:<8} {own['goal']:<18} {title}", flush=True)
        if not options.tiny:
            record("activations", found)


if __name__ == "__main__":
    main()
