"""How fast are many logistic fits, against one scikit-learn fit after another?  ``python -m tests.bench.probes``.

Five folds and ten strengths on one matrix, one label and six, at the same optimum: by how much our objective lies above
scikit-learn's at worst is recorded beside the ratio.  Both sides run in one process with two threads.  With one label
scikit-learn's whole loop is timed, between our runs; with six, one fold of each label at all strengths, times five,
since all of it takes many minutes.  Memory is the kernel's peak of a whole sweep from a store, in fresh processes.
``--tiny`` runs it at a size that means nothing; ``--only`` runs one part.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from hooks.store import ActivationStore
from probes.latent.logistic import path
from tests.bench.results import entry, machine, record

STRENGTHS = np.logspace(-4, 4, 10)
FOLDS = 5
THREADS = 2
RUNS = 5


def example(rows: int, columns: int, labels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Standardised rows with a falling spectrum, and labels that a linear probe reads in part."""
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(rng.normal(size=(columns, columns)))[0]
    X = (rng.normal(size=(rows, columns)) * np.arange(1, columns + 1) ** -0.7) @ mixing
    X = (X - X.mean(0)) / X.std(0)
    slopes = rng.normal(size=(columns, labels)) * 2 / np.sqrt(columns)
    chance = 1 / (1 + np.exp(1 - X @ slopes))
    return X.astype(np.float32), (rng.random((rows, labels)) < chance).T.astype(float)


def objective(X: np.ndarray, y: np.ndarray, w: np.ndarray, b: float, C: float) -> float:
    """scikit-learn's."""
    return float(C * np.logaddexp(0, -np.where(y > 0, 1, -1) * (X @ w + b)).sum() + 0.5 * w @ w)


def fast(X: np.ndarray, labels: np.ndarray) -> tuple[float, list, np.ndarray]:
    """Seconds for all fits, what they found, and the rows each fold trains on."""
    trains = np.arange(len(X)) % FOLDS != np.arange(FOLDS)[:, None]
    start = time.perf_counter()
    weight = torch.tensor(np.tile(trains, (len(labels), 1)).astype(float))
    target = torch.tensor(np.concatenate([trains * label for label in labels]))
    found = path(torch.from_numpy(X), weight, target, torch.ones(len(weight), X.shape[1]), STRENGTHS)
    return time.perf_counter() - start, found, trains


def slow(X: np.ndarray, label: np.ndarray, trains: np.ndarray) -> tuple[float, list[list[tuple[np.ndarray, float]]]]:
    """Seconds that scikit-learn's default solver takes for some folds at every strength, and what it finds."""
    spent, found = 0.0, []
    for train in trains:
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            own, y = X[train], label[train]
            fits = [LogisticRegression(C=C, max_iter=10_000).fit(own, y) for C in STRENGTHS]
        spent += time.perf_counter() - start
        found.append([(fit.coef_[0].astype(float), float(fit.intercept_[0])) for fit in fits])
    return spent, found


def gaps(
    X: np.ndarray, label: np.ndarray, train: np.ndarray, own: list[tuple[Any, Any]], theirs: list[tuple[Any, Any]]
) -> list[float]:
    """By how much our objective lies above theirs, strength by strength, relative."""
    wide, y, out = X[train].astype(float), label[train], []
    for C, (w, b), (v, c) in zip(STRENGTHS.tolist(), own, theirs, strict=True):
        best = objective(wide, y, v, c, C)
        out.append((objective(wide, y, w.numpy(), float(b), C) - best) / best)
    return out


def compare(rows: int, columns: int, labels: int, runs: int = RUNS) -> dict[str, Any]:
    """Seconds of both sides for all fits, their ratio, and by how much the objective is above scikit-learn's."""
    X, y = example(rows, columns, labels)
    seconds, found, trains = fast(X, y)
    times, above, spent, fits = [], [], 0.0, 0
    every = trains if labels == 1 else trains[:1]
    for at, label in enumerate(y):
        for fold, train in enumerate(every):
            took, theirs = slow(X, label, train[None])
            spent, fits = spent + took, fits + len(STRENGTHS)
            own = [(one.coef[at * FOLDS + fold], one.intercept[at * FOLDS + fold]) for one in found]
            above += gaps(X, label, train, own, theirs[0])
            if len(times) < runs:
                times.append(fast(X, y)[0])
    seconds = statistics.median(times)
    whole = spent / fits * len(STRENGTHS) * FOLDS * labels
    return {
        "seconds": seconds, "fastest": min(times), "slowest": max(times), "runs": len(times),
        "scikit_learn_seconds": whole, "scikit_learn_fits_timed": fits, "ratio": whole / seconds,
        "gap_over_scikit_learn": max(above), "threads": torch.get_num_threads(),
    }  # fmt: skip


def written(folder: Path, rows: int, columns: int, sites: int = 2) -> ActivationStore:
    """A store of random numbers, a row a token of texts of fifty tokens, each a problem."""
    from hooks.deposit import Side, prepare
    from hooks.positions import Positions
    from hooks.rows import select_rows
    from hooks.sequences import Sequences

    n = rows // 50
    texts = Sequences(tuple(np.arange(50) for _ in range(n)), (1,) * n, tuple(map(str, range(n))), (0,) * n, ("",) * n)
    widths = {f"resid_post.{layer}": columns for layer in range(sites)}
    side = {"model": Side("nobody", None, "0" * 64, "F32", widths)}
    ledger = prepare(folder, texts, select_rows(texts, Positions.all()), side, positions="all")
    generator = torch.Generator().manual_seed(0)
    for number in range(ledger.n_shards):
        with ledger.writers("model", number, list(widths)) as writers:
            for writer in writers.values():
                for start in range(0, writer.spec.n_rows, 500):
                    count = min(500, writer.spec.n_rows - start)
                    writer.write(start, torch.randn(count, columns, generator=generator))
    return ActivationStore.open(folder)


def memory(rows: int, columns: int, labels: int) -> dict[str, float]:
    """How far a sweep's peak rises above what was there, in copies of one site; run it in a fresh process."""
    from probes.latent.sweep import sweep
    from tests.bench.memory import measure

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="whenlens-bench-") as folder:
        store = written(Path(folder) / "acts", rows, columns)
        y = {f"label {at}": rng.random(len(store.rows)) < 0.4 for at in range(labels)}
        # What is loaded on first use belongs to no site; a small sweep loads it and leaves no large arrays behind.
        few = {"resid_post.0": torch.randn(200, 8)}
        sweep(few, {name: own[:200] for name, own in y.items()}, groups=np.arange(200) // 5, n_boot=10)
        found = measure(lambda: sweep(store, y, n_boot=100, C=STRENGTHS.tolist()))
    site = rows * columns * 4 / (1 << 20)
    return found | {"site_mb": round(site, 1), "ratio": round(found["extra_mb"] / site, 3)}


def in_process(*arguments: str) -> dict[str, Any]:
    """Run a part in a fresh process with its own number of threads; it prints JSON last."""
    environment = os.environ | {"OMP_NUM_THREADS": str(THREADS), "MKL_NUM_THREADS": str(THREADS)}
    command = [sys.executable, "-m", "tests.bench.probes", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main(arguments: list[str] | None = None) -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a size that means nothing")
    parser.add_argument("--only", choices=("one", "six", "memory"), action="append", help="run this part")
    parser.add_argument("--part", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.part:
        torch.set_num_threads(THREADS)
        job, *sizes = chosen.part
        print(json.dumps((memory if job == "memory" else compare)(*map(int, sizes))))
        return
    rows, columns = (300, 20) if chosen.tiny else (10_000, 1536)
    print(machine())
    for part, job, labels, goal in (
        ("one", "speed", 1, 30.0), ("six", "speed", 6, 50.0),
        ("memory", "memory", 1, 3.0), ("memory", "memory", 6, 3.0),
    ):  # fmt: skip
        if part not in (chosen.only or ("one", "six", "memory")):
            continue
        found = in_process("--part", job, str(rows), str(columns), str(labels))
        many = f"{labels} label{'s' if labels > 1 else ''}, 5 folds x 10 strengths, {rows} x {columns}"
        ratio = found.pop("ratio")
        reached = ratio >= goal if job == "speed" else ratio <= goal
        if job == "speed":
            reached = reached and found["gap_over_scikit_learn"] <= 1e-6
            name, wanted = f"scikit-learn's lbfgs loop / our fits, {many}", f">= {goal:g}"
        else:
            name, wanted = f"peak memory of a sweep / one site's matrix, {many}", f"<= {goal:g}"
        print(f"{'ok  ' if reached else 'MISS'} {ratio:<8.4g} {wanted:<8} {name} {found}", flush=True)
        if not chosen.tiny:
            record("probes", {name: entry(wanted, ratio, reached=reached, **found)})


if __name__ == "__main__":
    main()
