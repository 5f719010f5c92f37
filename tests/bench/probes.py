"""How fast are many logistic fits, against one scikit-learn fit after another?  ``python -m tests.bench.probes``.

Five folds and ten strengths on one matrix, one label and six, at the same optimum: the relative gap of the objective is
printed beside the ratio.  scikit-learn is timed on a share of the fits, spread over the strengths, and scaled up, since
all of them take minutes.  Both sides get the same number of threads.  ``--tiny`` runs it at a size that means nothing.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from probes.latent.logistic import path
from tests.bench.results import entry, machine, record

STRENGTHS = np.logspace(-4, 4, 10)
FOLDS = 5


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


def slow(X: np.ndarray, label: np.ndarray, trains: np.ndarray, strengths: list[int]) -> tuple[float, list[tuple]]:
    """Seconds that scikit-learn's default solver takes for the first fold at some strengths, and what it finds."""
    spent, found = 0.0, []
    for at in strengths:
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = LogisticRegression(C=STRENGTHS[at], max_iter=10_000).fit(X[trains[0]], label[trains[0]])
        spent += time.perf_counter() - start
        found.append((at, fit.coef_[0].astype(float), float(fit.intercept_[0])))
    return spent, found


def compare(rows: int, columns: int, labels: int) -> dict[str, float]:
    """Seconds of both sides for all fits, their ratio, and by how much the objective is above scikit-learn's."""
    X, y = example(rows, columns, labels)
    seconds, found, trains = fast(X, y)
    strengths = list(range(0, len(STRENGTHS), 3))
    spent, theirs = slow(X, y[0], trains, strengths)
    whole = spent / len(strengths) * len(STRENGTHS) * FOLDS * labels
    gap = 0.0
    for at, w, b in theirs:
        own = found[at]
        wide, label, C = X[trains[0]].astype(float), y[0][trains[0]], float(STRENGTHS[at])
        value = objective(wide, label, own.coef[0].numpy(), float(own.intercept[0]), C)
        best = objective(wide, label, w, b, C)
        gap = max(gap, (value - best) / best)
    return {"seconds": seconds, "scikit_learn_seconds": whole, "ratio": whole / seconds, "gap_over_scikit_learn": gap}


def main(arguments: list[str] | None = None) -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a size that means nothing")
    chosen = parser.parse_args(arguments)
    rows, columns = (300, 20) if chosen.tiny else (10_000, 1536)
    print(machine())
    entries = {}
    for labels, goal in ((1, 30.0), (6, 50.0)):
        found = compare(rows, columns, labels)
        name = f"{labels} label{'s' if labels > 1 else ''}, 5 folds x 10 strengths, {rows} x {columns}"
        print(name, {key: round(value, 9) for key, value in found.items()})
        ratio = found.pop("ratio")
        entries[name] = entry(f"at least {goal:g}", ratio, reached=ratio >= goal, **found)
    if not chosen.tiny:
        record("probes", entries)


if __name__ == "__main__":
    main()
