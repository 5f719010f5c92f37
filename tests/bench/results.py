"""Timings that mean something elsewhere: ratios within one run, medians, and the machine they were taken on."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("results.json")
RUNS = 7
"""Repetitions of each arm; at least five."""


def medians(arms: Mapping[str, Callable[[], object]], *, runs: int = RUNS) -> dict[str, dict[str, float]]:
    """Time several arms in turn, so that a machine that grows slower grows slower for all.

    Every arm runs once beforehand.  Returns seconds: median, fastest and slowest of each arm.
    """
    times: dict[str, list[float]] = {name: [] for name in arms}
    for work in arms.values():
        work()
    for _ in range(runs):
        for name, work in arms.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    return {
        name: {"median": statistics.median(own), "fastest": min(own), "slowest": max(own), "runs": runs}
        for name, own in times.items()
    }


def entry(goal: str, ratio: float, *, reached: bool, **facts: Any) -> dict[str, Any]:
    """One line of the results: what was wanted, what came out."""
    return {"goal": goal, "ratio": round(ratio, 4), "reached": reached, **facts}


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    import torch

    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def record(name: str, entries: Mapping[str, Any], *, file: Path = FILE) -> None:
    """Put one bench's entries into the results, leaving those of other benches."""
    known = json.loads(file.read_text()) if file.exists() else {}
    packages = ("torch", "transformers", "transformer-lens", "numpy", "scikit-learn")
    section = known.get(name, {})
    known[name] = {
        "machine": machine(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in packages},
        "entries": {**section.get("entries", {}), **entries},
    }
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    partial.replace(file)
