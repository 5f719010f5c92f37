"""Scores against scikit-learn and plain loops, a calibrated model near its bias, paired differences, constants."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_auc_score

from probes.samples import Calibration, Confidences, calibration
from probes.samples.calibration_errors import adaptive_bins, brier, ece, ece_if_calibrated, width_bins


def simulated(n: int, *, seed: int, push: float = 0.0, per_problem: int = 1) -> Confidences:
    """Confidences whose true probability is known: the confidence itself, moved towards 1 by ``push``."""
    draw = np.random.default_rng(seed)
    true = draw.beta(2, 2, size=n)
    right = draw.random(n) < true
    names = [f"p{at // per_problem}" for at in range(n)]
    return Confidences.of(np.clip(true + push, 0, 1), right, names)


def columns(one: Confidences) -> tuple[np.ndarray, np.ndarray]:
    return one.frame["confidence"].to_numpy(dtype=float), one.frame["correct"].to_numpy(dtype=float)


def slow_ece(q: list[float], c: list[float], bins: int = 10) -> float:
    """ECE in plain loops: ten bins, closed on the left, the last on both sides."""
    total = 0.0
    for place in range(bins):
        low, high = place / bins, (place + 1) / bins
        inside = [at for at, x in enumerate(q) if low <= x < high or (place == bins - 1 and x == 1.0)]
        if inside:
            sure = sum(q[at] for at in inside) / len(inside)
            right = sum(c[at] for at in inside) / len(inside)
            total += len(inside) / len(q) * abs(sure - right)
    return total


@pytest.mark.parametrize("adaptive", [False, True])
def test_brier_auroc_and_ece_are_those_of_scikit_learn(adaptive: bool) -> None:
    q, c = columns(simulated(731, seed=1, push=0.1))
    found = calibration({"rl": Confidences.of(q, c)}, n_boot=50)
    assert brier(q, c) == pytest.approx(brier_score_loss(c, q))
    assert found.figure("rl", "brier").value == pytest.approx(brier_score_loss(c, q))
    assert found.figure("rl", "auroc").value == pytest.approx(roc_auc_score(c, q))
    right, sure = calibration_curve(c, q, n_bins=10, strategy="quantile" if adaptive else "uniform")
    curve = found.reliability[found.reliability["bins"] == ("adaptive" if adaptive else "equal width")]
    assert curve["accuracy"].tolist() == pytest.approx(right)
    assert curve["confidence"].tolist() == pytest.approx(sure)
    weighed = np.sum(curve["samples"] * np.abs(right - sure)) / len(q)
    assert ece(q, c, adaptive=adaptive) == pytest.approx(weighed)
    assert found.figure("rl", "ece, adaptive" if adaptive else "ece").value == pytest.approx(weighed)


def test_ece_is_that_of_torchmetrics_where_it_is_installed() -> None:
    torchmetrics = pytest.importorskip("torchmetrics.functional.classification", reason="torchmetrics is not installed")
    import torch

    q, c = columns(simulated(500, seed=2))
    theirs = torchmetrics.binary_calibration_error(torch.tensor(q), torch.tensor(c).int(), n_bins=10, norm="l1")
    assert ece(q, c) == pytest.approx(float(theirs), abs=1e-6)


def test_ece_equals_plain_loops_with_confidences_on_the_edges() -> None:
    draw = np.random.default_rng(0)
    q = draw.integers(0, 11, size=300) / 10
    c = (draw.random(300) < 0.4).astype(float)
    assert ece(q, c) == pytest.approx(slow_ece(q.tolist(), c.tolist()))
    assert width_bins(np.array([0.0, 0.1, 0.3, 0.95, 1.0])).tolist() == [0, 1, 3, 9, 9]
    # Equal confidences stay together, so that a constant has one bin.
    assert len(set(adaptive_bins(np.full(50, 0.7)))) == 1


def test_a_calibrated_model_is_near_its_small_sample_bias_and_a_pushed_one_is_not() -> None:
    below, found = 0, []
    for seed in range(30):
        one = simulated(300, seed=seed)
        result = calibration({"rl": one}, n_boot=50)
        row = result.frame[result.frame["quantity"] == "ece"].iloc[0]
        below += row["p"] <= 0.05
        found.append(row["value"] - result.figure("rl", "ece, if calibrated").value)
    assert below <= 4
    assert abs(np.mean(found)) < 0.01
    pushed = calibration({"rl": simulated(300, seed=0, push=0.2)}, n_boot=50)
    assert pushed.frame.set_index("quantity").loc["ece", "p"] < 0.01
    assert pushed.figure("rl", "overconfidence").low > 0.1


def test_the_bias_is_what_simulation_says_it_is() -> None:
    q = np.full(100, 0.5)
    # One bin: the mean distance of a binomial share from one half.
    expected = sum(math.comb(100, k) * abs(k / 100 - 0.5) for k in range(101)) / 2**100
    assert ece_if_calibrated(q, n_draws=4000).mean() == pytest.approx(expected, rel=0.05)
    assert len(ece_if_calibrated(np.zeros(0))) == 0


def test_intervals_cover_the_true_overconfidence() -> None:
    inside = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        hard = draw.beta(2, 2, size=40).repeat(4)
        one = Confidences.of(np.full(160, 0.7), draw.random(160) < hard, [f"p{at // 4}" for at in range(160)])
        gap = calibration({"rl": one}, n_boot=200).figure("rl", "overconfidence")
        inside += gap.low <= 0.2 <= gap.high
    assert inside >= 52


def test_paired_differences_find_what_was_planted_and_stay_silent_on_the_null() -> None:
    base = simulated(400, seed=3, per_problem=4)
    worse = Confidences.of(np.clip(base.frame["confidence"] + 0.25, 0, 1), base.frame["correct"], base.frame["problem"])
    found = calibration({"base": base, "rl": worse}, n_boot=400)
    assert found.figure("rl - base", "ece").low > 0.03
    assert found.figure("rl - base", "accuracy").value == 0
    assert found.figure("rl - base", "brier").value == pytest.approx(
        found.figure("rl", "brier").value - found.figure("base", "brier").value
    )
    same = calibration({"base": base, "rl": base}, n_boot=100)
    for name in ("ece", "brier", "auroc"):
        gap = same.figure("rl - base", name)
        assert gap.value == 0
        assert gap.low <= 0 <= gap.high
    told = 0
    for seed in range(30):
        arms = {arm: simulated(200, seed=1000 * seed + at) for at, arm in enumerate(("base", "rl"))}
        told += calibration(arms, n_boot=200).figure("rl - base", "ece").excludes_zero
    assert told <= 4


def test_a_constant_confidence_is_said_and_ranks_nothing() -> None:
    draw = np.random.default_rng(0)
    c = draw.random(200) < 0.4
    found = calibration({"rl": Confidences.of(np.ones(200), c)})
    assert found.constant == {"rl": 1.0}
    assert found.figure("rl", "auroc").value == 0.5
    assert "constant: every confidence is 1" in found.figure("rl", "auroc").method
    assert found.figure("rl", "ece").value == pytest.approx(1 - c.mean())
    assert "nearly always says 1" in found.headline()
    nearly = np.where(np.arange(200) < 8, 0.5, 1.0)
    assert calibration({"rl": Confidences.of(nearly, c)}).constant == {"rl": 1.0}
    assert calibration({"rl": simulated(200, seed=1)}).constant == {}


def test_missing_confidences_count_as_nothing() -> None:
    q = [0.9, None, 0.2, math.nan]
    found = calibration({"rl": Confidences.of(q, [1, 1, 0, 0])})
    assert found.figure("rl", "has a confidence").value == 0.5
    assert found.figure("rl", "accuracy").value == 0.5
    assert found.figure("rl", "brier").value == pytest.approx((0.01 + 0.04) / 2)
    nothing = calibration({"rl": Confidences.of([None, None], [1, 0])})
    assert set(nothing.frame["quantity"]) == {"has a confidence"}
    assert "no confidence stated" in str(nothing)
    assert nothing.reliability.empty
    all_right = calibration({"rl": Confidences.of([0.5, 0.7], [1, 1])})
    assert math.isnan(all_right.figure("rl", "auroc").value)


def test_contrasts_stand_beside_the_tuned_model() -> None:
    base, rl = simulated(200, seed=1), simulated(200, seed=1, push=0.3)
    repaired = calibration({"base": base, "rl": simulated(200, seed=1)})
    found = calibration({"base": base, "rl": rl}, contrast={"RLCR": repaired, "SFT": rl}).contrasts
    rows = found.set_index(["contrast", "quantity"])
    assert rows.loc[("RLCR", "ece"), "difference_low"] > 0.1
    assert rows.loc[("SFT", "ece"), "difference"] == 0
    with pytest.raises(ValueError, match="arm 'rl'"):
        calibration({"base": base}, contrast={"RLCR": repaired})
    with pytest.raises(ValueError, match="'SFT' has no arm 'rl'"):
        calibration({"rl": rl}, contrast={"SFT": calibration({"base": base})})


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least one arm"):
        calibration({})
    with pytest.raises(ValueError, match="'rl' is graded"):
        calibration({"rl": Confidences.of([0.5], [None])})
    with pytest.raises(ValueError, match="at least one bin"):
        calibration({"rl": Confidences.of([0.5], [1])}, bins=0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        Confidences.of([1.5], [1])
    with pytest.raises(ValueError, match="2 confidences for 1"):
        Confidences.of([0.5, 0.5], [1])
    with pytest.raises(ValueError, match="'correct'"):
        Confidences(pd.DataFrame({"problem": ["a"], "sample": [0], "confidence": [0.5]}), "x")
    found = calibration({"rl": simulated(50, seed=1)})
    with pytest.raises(ValueError, match="no figure rl: nothing"):
        found.figure("rl", "nothing")
    assert isinstance(found, Calibration)
    assert len(found.plot().data) == 2
