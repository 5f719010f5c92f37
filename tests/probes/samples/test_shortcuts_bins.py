"""Difficulty bins: unchanged models are silent at the nominal rate, planted losses covered, contrasts paired."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from hooks.rollouts import Rollouts
from probes.samples import shortcuts
from probes.samples.hardness import NAMES, Bins, bin_weights, held_out
from probes.samples.shortcuts_bins import by_bin
from probes.stats.weighted import weighted_mean
from tests.probes.samples.test_shortcuts import CLEAN, written

EASE = {"spread": (0.5, 0.5), "mostly easy": (2.0, 1.0)}
"""How often the base solves a problem, as a Beta distribution."""


def missed(problems: int, samples: int, ease: str, loss: float, *, sets: int, seed: int) -> dict[str, float]:
    """How often the interval of RL minus base misses the truth, by bin; bins with too few problems do not count."""
    draw, bins = np.random.default_rng(seed), Bins()
    n = np.full(problems, samples)
    p = draw.beta(*EASE[ease], 200_000)
    truth = {}
    for name in NAMES:
        chance = binom.pmf(bins.inside(name)[:, None], bins.draws, p[None]).sum(0)
        truth[name] = -loss * (p * chance).sum() / chance.sum()
    counted = {name: [0, 0] for name in NAMES}
    for _ in range(sets):
        p = draw.beta(*EASE[ease], problems)
        right, again = draw.binomial(samples, p), draw.binomial(samples, p * (1 - loss)) / samples
        weights = bin_weights(n, right, bins)
        base = held_out(n, right, right.astype(float), np.zeros(problems), bins)
        for place, name in enumerate(NAMES):
            if weights[:, place].sum() >= 5:
                inside = weights[:, place]
                found = weighted_mean(inside * again - base[:, place], inside, within=(-1.0, 1.0))
                counted[name][0] += not found.low <= truth[name] <= found.high
                counted[name][1] += 1
    return {name: out / whole for name, (out, whole) in counted.items() if whole > sets / 2}


def test_sixty_problems_of_an_unchanged_model_alarm_at_about_the_nominal_rate() -> None:
    rates = missed(60, 16, "spread", 0.0, sets=300, seed=0)
    assert set(rates) == set(NAMES)
    assert max(rates.values()) <= 0.085, rates


@pytest.mark.slow
@pytest.mark.parametrize("ease", list(EASE))
@pytest.mark.parametrize("loss", [0.0, 0.1])
@pytest.mark.parametrize(("problems", "samples"), [(20, 16), (40, 64), (60, 16), (200, 16), (200, 64)])
def test_intervals_of_the_bins_cover(problems: int, samples: int, loss: float, ease: str) -> None:
    rates = missed(problems, samples, ease, loss, sets=1000, seed=1)
    # Two standard errors above the nominal five percent, and one point more for bins of a few problems.
    assert max(rates.values()) <= 0.074, rates


def test_bins_equal_plain_sums() -> None:
    rows = [(f"p{at}", float(right), float(right)) for at in range(6) for right in [1] * at * 3 + [0] * (16 - at * 3)]
    base = pd.DataFrame(rows, columns=["problem", "correct", "accuracy"]).assign(degenerate=0.0)
    base["bare answer"] = (np.arange(len(base)) % 2).astype(float)
    rl = base.assign(accuracy=1.0)
    bins = Bins()
    found = by_bin({"base": base, "rl": rl}, bins, {"level": 0.95}).set_index(["bin", "quantity", "arm"])
    # Six problems are expected in no bin but one: the others say nothing.
    assert found.loc[("hard", "accuracy", "base"), "value"] != found.loc[("hard", "accuracy", "base"), "value"]
    many = pd.concat([base.assign(problem=base["problem"] + f"-{at}") for at in range(6)])
    found = by_bin({"base": many, "rl": many.assign(accuracy=1.0)}, bins, {"level": 0.95})
    found = found.set_index(["bin", "quantity", "arm"])
    weights = bin_weights(np.full(6, 16), np.arange(6) * 3, bins)
    c = np.arange(6) * 3.0
    part = held_out(np.full(6, 16), np.arange(6) * 3, c, np.zeros(6), bins)
    for place, name in enumerate(NAMES):
        value = part[:, place].sum() / weights[:, place].sum()
        assert found.loc[(name, "accuracy", "base"), "value"] == pytest.approx(value)
        assert found.loc[(name, "accuracy", "rl - base"), "value"] == pytest.approx(1 - value)
        assert found.loc[(name, "degenerate", "rl - base"), "low"] < 0 < found.loc[(name, "degenerate", "rl"), "high"]


def test_contrasts_stand_by_difficulty_and_the_base_cancels() -> None:
    base, rl = written(CLEAN, seed=0, n=60, samples=12), written(CLEAN, seed=1, n=60, samples=12)
    keep = np.random.default_rng(5).random(len(rl)) < 0.6
    worse = Rollouts(rl.frame.assign(correct=rl.frame["correct"] & keep))
    found = shortcuts(base, worse, contrast={"SFT": worse, "random reward": rl}, n_boot=50).contrasts
    assert found is not None
    rows = found.set_index(["contrast", "quantity"])
    assert rows.loc[("SFT", "accuracy (easy), rl - base"), "difference"] == 0
    easy = rows.loc[("random reward", "accuracy (easy), rl - base")]
    assert easy["low"] < 0 < easy["high"]
    assert easy["difference_high"] < -0.2
    hard = rows.loc[("random reward", "accuracy (hard), rl - base")]
    assert hard["difference"] == pytest.approx(0, abs=0.06)
    few = shortcuts(base.subset([f"p{at:03d}" for at in range(8)]), worse, contrast={"SFT": rl}, n_boot=20)
    assert np.isnan(few.contamination.value)
    assert few.contrasts is not None
    assert np.isnan(few.contrasts.set_index("quantity").loc["accuracy (easy), rl - base", "difference"])
