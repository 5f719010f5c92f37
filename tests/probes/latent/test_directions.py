"""Directions: the plain formula, a planted truth, a silent null, and papers that say where a vector came from."""

import numpy as np
import pandas as pd
import pytest
import torch

from hooks.activations import Activations
from probes.latent.directions import direction, held_out
from probes.stats import stream


def planted(n: int = 600, d: int = 16, size: float = 2.0, seed: int = 0) -> tuple[Activations, np.ndarray, np.ndarray]:
    rng = stream(seed, "planted")
    truth = rng.standard_normal(d)
    truth /= np.linalg.norm(truth)
    label = rng.integers(0, 2, n).astype(bool)
    rows = rng.standard_normal((n, d)) + size * np.outer(label, truth) + 5
    frame = pd.DataFrame({"problem": [f"p{i // 4}" for i in range(n)], "sample": [i % 4 for i in range(n)]})
    acts = Activations({"resid_post.1": torch.from_numpy(rows).float()}, frame, {"model": "m", "weights": "abc"})
    return acts, label, truth


def test_the_mean_direction_is_the_difference_of_means() -> None:
    acts, label, _ = planted()
    one = direction(acts, label, site="resid_post.1", label="verification")
    rows = acts["resid_post.1"].numpy()
    slow = [sum(r[j] for r in rows[label]) / label.sum() - sum(r[j] for r in rows[~label]) / (~label).sum()
            for j in range(rows.shape[1])]  # fmt: skip
    np.testing.assert_allclose(one.vector.numpy(), slow, atol=1e-4)
    assert one.typical_norm == pytest.approx(float(np.median(np.linalg.norm(rows, axis=1))), rel=1e-5)
    assert (one.model, one.weights_hash, one.label, one.kind) == ("m", "abc", "verification", "mean")


@pytest.mark.parametrize("kind", ["mean", "logistic", "lda"])
def test_a_planted_direction_is_recovered(kind: str) -> None:
    acts, label, truth = planted(n=2000)
    one = direction(acts, label, site="resid_post.1", kind=kind)  # type: ignore[arg-type]
    assert one.cosine(torch.from_numpy(truth).float()) > 0.97
    assert one.scores["held_out_auroc"] == pytest.approx(0.92, abs=0.04)


def test_labels_that_mean_nothing_score_one_half_on_held_out_problems() -> None:
    acts, _, _ = planted(size=0.0)
    rows, problems = acts["resid_post.1"].numpy(), acts.rows["problem"]
    scores = [held_out(rows, stream(s, "null").integers(0, 2, len(rows)).astype(bool), problems) for s in range(30)]
    assert abs(np.mean(scores) - 0.5) < 0.02


def test_missing_labels_leave_rows_out_and_one_class_is_refused() -> None:
    acts, label, _ = planted()
    partly = pd.Series(label.astype(float)).where(np.arange(len(label)) < 300)
    first = acts.where(np.arange(len(label)) < 300)
    one, other = direction(acts, partly, site="resid_post.1"), direction(first, label[:300], site="resid_post.1")
    torch.testing.assert_close(one.vector, other.vector)
    with pytest.raises(ValueError, match="needs both kinds"):
        direction(acts, np.ones(len(label)), site="resid_post.1", label="all")


def test_lda_looks_past_correlated_noise_and_means_do_not() -> None:
    rng = stream(1, "correlated noise")
    n, d = 3000, 8
    label = rng.integers(0, 2, n).astype(bool)
    loud = rng.standard_normal(n) * 4
    rows = rng.standard_normal((n, d))
    rows[:, 0] += loud + label
    rows[:, 1] += loud
    frame = pd.DataFrame({"problem": [f"p{i // 4}" for i in range(n)]})
    acts = Activations({"resid_post.1": torch.from_numpy(rows).float()}, frame, {})
    scores = {
        kind: direction(acts, label, site="resid_post.1", kind=kind).scores["held_out_auroc"]  # type: ignore[arg-type]
        for kind in ("mean", "logistic", "lda")
    }
    assert scores["lda"] > scores["mean"] + 0.1
    assert scores["lda"] == pytest.approx(scores["logistic"], abs=0.02)
    one, other = (direction(acts, label, site="resid_post.1", kind=kind) for kind in ("mean", "lda"))  # type: ignore[arg-type]
    assert one.norm == pytest.approx(other.norm, rel=1e-4)
