"""Angles: a planted angle is found with its interval; a label that means nothing has no direction in common."""

import numpy as np
import pandas as pd
import pytest

from probes.latent.angles import angles
from tests.probes.latent.planted import WIDTH, acts, planted


def test_a_planted_angle_is_found() -> None:
    base, rl, label, frame = planted(3000, strength=3.0, angle=np.pi / 3, shared=0.5)
    row = angles(acts(base, frame), acts(rl, frame), label, n_shuffles=5).frame.iloc[0]
    for name in ("cosine", "apart"):
        assert row[f"{name}_low"] < 0.5 < row[f"{name}_high"]
        assert row[name] == pytest.approx(0.5, abs=0.06)
    assert row["base_apart"] > 0.95
    assert row["shuffled"] < row["apart"]


def test_the_slow_reference_agrees() -> None:
    base, rl, label, frame = planted(400, angle=0.7, shared=0.7)
    row = angles(acts(base, frame), acts(rl, frame), label, n_shuffles=1).frame.iloc[0]
    one, other = (rows.astype(np.float32) for rows in (base, rl))

    def cosine(kept: np.ndarray) -> float:
        a, b = ((x[kept & (label == 1)].mean(0) - x[kept & (label == 0)].mean(0)) for x in (one, other))
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert row["cosine"] == pytest.approx(cosine(np.ones(400, bool)), abs=1e-5)
    left = np.array([np.arctanh(cosine((frame["problem"] != name).to_numpy())) for name in frame["problem"].unique()])
    error = np.sqrt((len(left) - 1) / len(left) * ((left - left.mean()) ** 2).sum())
    from scipy.stats import t

    reach = t.ppf(0.975, len(left) - 1) * error
    assert row["cosine_low"] == pytest.approx(np.tanh(np.arctanh(row["cosine"]) - reach), abs=1e-4)


def test_the_interval_covers_the_planted_angle() -> None:
    hits = 0
    for seed in range(60):
        base, rl, label, frame = planted(800, strength=3.0, angle=np.pi / 3, shared=0.0, seed=seed)
        row = angles(acts(base, frame), acts(rl, frame), label, n_shuffles=0, seed=seed).frame.iloc[0]
        hits += row["cosine_low"] <= 0.5 <= row["cosine_high"]
    assert hits >= 50


def test_a_label_that_means_nothing_is_told_apart_by_other_problems_only() -> None:
    alarms = 0
    for seed in range(40):
        base, rl, label, frame = planted(400, strength=0.0, shared=0.95, seed=seed)
        row = angles(acts(base, frame), acts(rl, frame), label, n_shuffles=0, seed=seed).frame.iloc[0]
        # The same rows share their noise, so that even nothing points the same way.
        assert row["cosine"] > 0.8
        alarms += row["apart_low"] > 0
    assert alarms <= 4


def test_subspaces_beside_random_ones() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, (2000, 3))
    noise, other = rng.standard_normal((2, 2000, 40)) * 0.3
    frame = pd.DataFrame({"problem": [f"p{i // 10}" for i in range(2000)]})
    base = noise + codes @ np.eye(40)[:3]
    labels = pd.DataFrame(codes, columns=["a", "b", "c"])
    # The same subspace spanned by other vectors, and one that shares nothing.
    mixed = other + codes @ np.linalg.qr(rng.standard_normal((3, 3)))[0] @ np.eye(40)[:3]
    away = other + codes @ np.eye(40)[10:13]
    same = angles(acts(base, frame), acts(mixed, frame), labels, n_shuffles=0).subspaces.set_index("pairing")
    gone = angles(acts(base, frame), acts(away, frame), labels, n_shuffles=0).subspaces.set_index("pairing")
    assert same.loc["apart", "rank"] == 3
    assert same.loc["apart", "overlap"] > 0.95
    assert same.loc["apart", "z"] > 10
    assert max(same.loc["apart", "angles"]) < 20
    assert same.loc["apart", "random"] == pytest.approx(3 / 40)
    assert gone.loc["apart", "overlap"] < 0.05
    assert min(gone.loc["apart", "angles"]) > 70
    assert same.loc["cosine", "overlap_low"] <= same.loc["cosine", "overlap"] <= same.loc["cosine", "overlap_high"]


def test_random_directions_stay_below_their_bound() -> None:
    base, _, label, frame = planted(80)
    bound = angles(acts(base, frame), acts(base, frame), label, n_shuffles=0).frame["random"].iloc[0]
    drawn = np.random.default_rng(1).standard_normal((2, 20_000, WIDTH))
    cosines = (drawn[0] * drawn[1]).sum(1) / np.linalg.norm(drawn, axis=2).prod(0)
    assert (cosines > bound).mean() == pytest.approx(0.025, abs=0.005)


def test_one_class_and_few_problems_have_no_interval() -> None:
    base, _, label, frame = planted(40)
    one = angles(acts(base, frame), acts(base, frame), np.ones(40), n_shuffles=2).frame.iloc[0]
    assert np.isnan(one["cosine"])
    assert np.isnan(one["shuffled"])
    two = frame.assign(problem=["a", "b"] * 20)
    few = angles(acts(base, two), acts(base, two), label, n_shuffles=1).frame.iloc[0]
    assert few["cosine"] == pytest.approx(1)
    assert np.isnan(few["cosine_low"])
    with pytest.raises(ValueError, match="different rows"):
        angles(acts(base, frame), acts(base[:20], frame[:20]), label)
