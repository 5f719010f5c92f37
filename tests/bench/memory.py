"""One measurement of memory in a process of its own: ``python -m tests.bench.memory score 200000 49152``.

Prints JSON: the kernel's peak of resident memory, and how far it rose above what was resident before the call.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from hooks.capture import capture
from hooks.model import Model
from hooks.pair import Pair
from hooks.score import score
from tests.families import tiny

SHAPE = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
    "intermediate_size": 128, "max_position_embeddings": 512,
}  # fmt: skip


def resident(kind: str) -> float:
    """``VmRSS`` (now) or ``VmHWM`` (the peak) in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"the kernel does not tell {kind}")


def texts(n_tokens: int, d_vocab: int, length: int = 200) -> list[tuple[np.ndarray, int]]:
    """Texts of unequal length with a prompt of ten tokens."""
    rng = np.random.default_rng(0)
    out, done = [], 0
    while done < n_tokens:
        ids = rng.integers(4, d_vocab, size=rng.integers(length // 2, length * 3 // 2))
        out.append((ids, 10))
        done += len(ids)
    return out


def measure(work: Any) -> dict[str, float]:
    """Peak of ``work``, and how far it is above what was there."""
    before = resident("VmRSS")
    # Writing 5 resets the kernel's peak to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    kept = work()
    peak = resident("VmHWM")
    del kept
    return {"peak_mb": round(peak, 1), "extra_mb": round(peak - before, 1), "before_mb": round(before, 1)}


def score_memory(n_tokens: int, d_vocab: int) -> dict[str, float]:
    """Score a pair with a large vocabulary."""
    pair = Pair.of(*(Model.load(tiny("llama", **SHAPE, d_vocab=d_vocab, seed=seed), device="cpu") for seed in (0, 1)))
    data = texts(n_tokens, d_vocab)
    return measure(lambda: score(pair, data))


def capture_memory(n_tokens: int) -> dict[str, float]:
    """Capture every layer into a store."""
    model = Model.load(tiny("llama", **SHAPE, d_vocab=64), device="cpu")
    data = texts(n_tokens, 64)
    folder = tempfile.mkdtemp(prefix="whenlens-bench-")
    try:
        return measure(lambda: capture(model, data, sites="*.*", store=Path(folder) / "acts"))
    finally:
        shutil.rmtree(folder)


def open_memory(megabytes: int) -> dict[str, float]:
    """Open one site of a store of this size and read ten rows of it."""
    from hooks.deposit import Side, prepare
    from hooks.positions import Positions
    from hooks.rows import select_rows
    from hooks.sequences import Sequences
    from hooks.store import ActivationStore

    width, n_sites = 4096, 4
    rows = megabytes * (1 << 20) // (4 * width * n_sites)
    each = 500
    n = -(-rows // each)
    sequences = Sequences(
        tuple(np.arange(each) for _ in range(n)), (1,) * n, tuple(map(str, range(n))), (0,) * n, ("",) * n
    )
    sites = {f"resid_post.{layer}": width for layer in range(n_sites)}
    side = Side("nobody", None, "0" * 64, "F32", sites)
    folder = Path(tempfile.mkdtemp(prefix="whenlens-bench-"))
    try:
        selection = select_rows(sequences, Positions.all())
        ledger = prepare(folder / "acts", sequences, selection, {"model": side}, positions="all")
        for number in range(ledger.n_shards):
            # Nothing is written: the files are holes of the full size with valid headers.
            with ledger.writers("model", number, list(sites)):
                pass
        total = sum(file.stat().st_size for file in (folder / "acts").rglob("*.safetensors"))
        store = ActivationStore.open(folder / "acts")
        before, faults = read_so_far(), resource.getrusage(resource.RUSAGE_SELF)
        rss = resident("VmRSS")
        opened = ActivationStore.open(folder / "acts")
        value = float(opened["resid_post.2"][5:15].sum())
        after = resource.getrusage(resource.RUSAGE_SELF)
        mapped = max(0.0, resident("VmRSS") - rss) * (1 << 20)
        assert value == 0.0
        assert len(store.rows) == len(opened.rows)
        return {
            "bytes": read_so_far() - before + mapped,
            "store_bytes": total,
            "faults": after.ru_minflt + after.ru_majflt - faults.ru_minflt - faults.ru_majflt,
        }
    finally:
        shutil.rmtree(folder)


def read_so_far() -> int:
    """Bytes this process has asked the kernel to read."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("rchar"):
            return int(line.split()[1])
    raise RuntimeError("the kernel does not count reads")


def main() -> None:
    """Run the measurement named on the command line."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    jobs = {"score": score_memory, "capture": capture_memory, "open": open_memory}
    print(json.dumps(jobs[sys.argv[1]](*map(int, sys.argv[2:]))))


if __name__ == "__main__":
    main()
