"""How fast are two checkpoints compared, and in how much memory?  ``python -m tests.bench.weights``.

The limit is reading both files once; the rival is what people do: load both models with ``from_pretrained`` and compare
their state dicts, as the published code of arXiv 2505.11711 does, here with the same shares and norms as ours.  Files
are read cold (their pages dropped from the cache before every run) and warm; memory is the kernel's own peak in fresh
processes.  Decompositions (ranks) are in no arm but the one that is named after them: on a processor they take longer
than everything else together, whoever loads the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from safetensors.torch import load_file, save_file

from hooks.streams import stream
from tests.bench.activations import LLAMA
from tests.bench.memory import measure
from tests.bench.results import entry, machine, medians, record
from tests.families import tiny

BLOCK = 1 << 20


def folders(root: Path, config: dict[str, Any]) -> tuple[Path, Path]:
    """A base in bfloat16 and a copy in which fifteen entries of a hundred moved by about one per cent."""
    base, rl = root / "base", root / "rl"
    tiny("llama", path=base, dtype=torch.bfloat16, **config)
    tiny("llama", path=rl, dtype=torch.bfloat16, **config)
    tensors = load_file(rl / "model.safetensors")
    for name, tensor in tensors.items():
        draw = torch.from_numpy(stream(0, "bench", name).standard_normal(tensor.shape, dtype="float32"))
        moved = (tensor.float() * (1 + 0.01 * draw)).bfloat16()
        tensors[name] = torch.where(draw.abs() > 1.44, moved, tensor)
    save_file(tensors, rl / "model.safetensors", metadata={"format": "pt"})
    return base, rl


def read(*roots: Path) -> None:
    """Every byte of the files, once."""
    room = memoryview(bytearray(BLOCK))
    for root in roots:
        with open(root / "model.safetensors", "rb", buffering=0) as file:
            while file.readinto(room):
                pass


def forget(*roots: Path) -> None:
    """Drop the files' pages from the kernel's cache."""
    for root in roots:
        file = os.open(root / "model.safetensors", os.O_RDONLY)
        os.fdatasync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def ours(base: Path, rl: Path) -> dict[str, list[float]]:
    """Shares, single steps and norm of every tensor, without decompositions."""
    from probes.weights import compare

    frame = compare(base, rl, ranks=False).frame
    return dict(zip(frame["tensor"], frame[list(MEASURES)].to_numpy().tolist()))


def with_ranks(base: Path, rl: Path) -> object:
    """The same with the spectrum of every update, without its null."""
    from probes.weights import compare

    return compare(base, rl, null=False)


MEASURES = ("unchanged_exact", "unchanged_tolerance", "unchanged_relative", "one_ulp", "norm", "norm_base")


def load_and_compare(base: Path, rl: Path) -> dict[str, list[float]]:
    """Both models in memory, then the same measures over their state dicts, a whole tensor at a time."""
    from transformers import AutoModelForCausalLM

    one, other = (AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16) for path in (base, rl))
    found, tuned = {}, other.state_dict()
    for name, tensor in one.state_dict().items():
        first, second = tensor.float(), tuned[name].float()
        delta = second - first
        size = delta.abs()
        # Neighbours in bfloat16 have neighbouring bit patterns; no weight of the bench changes its sign by one step.
        steps = tuned[name].view(torch.int16).int() - tensor.view(torch.int16).int()
        shares = (
            delta == 0,
            torch.isclose(delta, torch.zeros_like(delta), atol=1e-5),
            size <= 1e-3 * torch.maximum(first.abs(), second.abs()),
            steps.abs() == 1,
        )
        counted = [int(torch.count_nonzero(share)) / delta.numel() for share in shares]
        found[name] = [*counted, float(delta.norm()), float(first.norm())]
    return found


def agree(base: Path, rl: Path) -> None:
    """Ours and the rival's numbers are the same."""
    one, other = ours(base, rl), load_and_compare(base, rl)
    assert one.keys() == other.keys()
    for name, values in one.items():
        shares, norms = zip(values[:4], other[name][:4]), zip(values[4:], other[name][4:])
        assert all(abs(a - b) <= 1e-9 for a, b in shares), (name, values, other[name])
        # One sum in float32 over millions of entries loses digits.
        assert all(abs(a - b) <= 1e-2 * b for a, b in norms), (name, values, other[name])


def cold(work: Any, *roots: Path, runs: int) -> float:
    """Median seconds of ``work`` after its files were forgotten."""
    times = []
    for _ in range(runs):
        forget(*roots)
        start = time.perf_counter()
        work(*roots)
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def peak(what: str, base: Path, rl: Path) -> float:
    """Megabytes above what was resident before, in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.weights", "--peak", what, str(base), str(rl)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.strip().splitlines()[-1])["extra_mb"])


def main(words: list[str] | None = None) -> None:
    """Time and weigh the comparison, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a size that means nothing; writes no results")
    parser.add_argument("--ranks", action="store_true", help="also time the decompositions, once (minutes)")
    parser.add_argument("--peak", nargs=3, metavar=("WHAT", "BASE", "RL"), help="one measurement of memory, as JSON")
    options = parser.parse_args(words)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if options.peak:
        what, base, rl = options.peak
        work = {"ours": ours, "loaded": load_and_compare}[what]
        print(json.dumps(measure(lambda: work(Path(base), Path(rl)))))
        return
    print(machine())
    config, runs = ({"d_vocab": 64}, 1) if options.tiny else (LLAMA, 5)
    with tempfile.TemporaryDirectory(prefix="whenlens-bench-") as folder:
        base, rl = folders(Path(folder), config)
        agree(base, rl)
        size = 2 * (base / "model.safetensors").stat().st_size / 1e6
        arms = {"read": read, "compare": ours, "load and compare": load_and_compare}
        times = medians({name: partial(work, base, rl) for name, work in arms.items()}, runs=runs)
        took = {name: own["median"] for name, own in times.items()}
        apart = {name: cold(work, base, rl, runs=runs) for name, work in arms.items()}
        start = time.perf_counter()
        if options.ranks:
            with_ranks(base, rl)
        ranks = {"seconds_with_ranks": time.perf_counter() - start} if options.ranks else {}
        memory = {name: peak(name, base, rl) for name in ("ours", "loaded")}
    facts = {"seconds": times, "seconds_cold": apart, "megabytes": round(size), "extra_mb": memory, **ranks}
    rival, ratios = "loading both models and comparing / compare, time", {}
    for place, seconds in (("disk", apart), ("cache", took)):
        ratios[place] = (seconds["compare"] / seconds["read"], seconds["load and compare"] / seconds["compare"])
    smaller = memory["loaded"] / memory["ours"]
    found = {
        "time of compare / reading both files once, from the disk": entry(
            "<= 2", ratios["disk"][0], reached=ratios["disk"][0] <= 2, **facts
        ),
        "time of compare / reading both files once, from the cache": entry(
            "<= 2", ratios["cache"][0], reached=ratios["cache"][0] <= 2
        ),
        rival: entry(">= 5", ratios["cache"][1], reached=ratios["cache"][1] >= 5),
        f"{rival}, from the disk": entry(">= 5", ratios["disk"][1], reached=ratios["disk"][1] >= 5),
        "loading both models and comparing / compare, memory": entry(">= 10", smaller, reached=smaller >= 10),
    }
    for title, own in found.items():
        print(f"{'ok  ' if own['reached'] else 'MISS'} {own['ratio']:<8} {own['goal']:<18} {title}", flush=True)
    if not options.tiny:
        record("weights", found)


if __name__ == "__main__":
    main()
