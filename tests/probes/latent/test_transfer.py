"""Transfer: a probe made on the base reads the RL model where the code is shared, and only there."""

import numpy as np
import pandas as pd
import pytest
import torch

from hooks.activations import Activations
from probes.latent.transfer import transfer
from probes.stats import stream


def acts(rows: np.ndarray, frame: pd.DataFrame) -> Activations:
    return Activations({"resid_post.0": torch.from_numpy(rows).float()}, frame, {})


def data(n: int = 800, d: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray, pd.DataFrame]:
    rng = stream(0, "transfer")
    label = rng.integers(0, 2, n)
    code = np.eye(d)[0] * 2
    frame = pd.DataFrame({"problem": [f"p{i // 4}" for i in range(n)]})
    return rng.standard_normal((n, d)), label, code, frame


def test_a_shared_code_is_read_and_a_moved_one_is_not() -> None:
    noise, label, code, frame = data()
    base, moved = noise + np.outer(label, code), noise + np.outer(label, np.roll(code, 1))
    same = transfer(acts(base, frame), acts(base, frame), label).frame.iloc[0]
    assert same["rl_minus_base"] == 0
    assert same["base_auroc"] == same["rl_auroc"] > 0.85
    gone = transfer(acts(base, frame), acts(moved, frame), label).frame.iloc[0]
    assert gone["rl_auroc"] < 0.6
    assert gone["high"] < 0


def test_the_slow_reference_agrees() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    from probes.latent.splits import grouped_folds

    noise, label, code, frame = data(400)
    base = (noise + np.outer(label, code)).astype(np.float32)
    halves = grouped_folds(frame["problem"], folds=2, seed=0)
    areas, pairs = [], []
    for half in (0, 1):
        train, test = halves != half, halves == half
        mean, spread = base[train].mean(0), base[train].std(0)
        fitted = LogisticRegression(C=0.1, tol=1e-8, max_iter=5000).fit((base[train] - mean) / spread, label[train])
        areas.append(roc_auc_score(label[test], fitted.decision_function((base[test] - mean) / spread)))
        pairs.append(label[test].sum() * (1 - label[test]).sum())
    found = transfer(acts(base, frame), acts(base, frame), label, C=0.1).frame.iloc[0]
    assert found["base_auroc"] == pytest.approx(np.average(areas, weights=pairs), abs=2e-3)


def test_different_rows_are_refused() -> None:
    noise, label, _, frame = data(40)
    with pytest.raises(ValueError, match="different rows"):
        transfer(acts(noise, frame), acts(noise[:20], frame[:20]), label)
