"""Two hundred label sets (or vectors) that mean nothing: at a nominal 5 % no test calls more than chance allows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import t as student

from hooks.activations import Activations
from hooks.direction import Direction
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from hooks.sites import Site
from probes.latent import steering
from probes.latent.beyond_random import beyond_random, over_random
from probes.latent.damage import Reading
from probes.latent.preexistence import preexistence
from probes.latent.sweep import sweep
from probes.latent.transfer import transfer
from probes.latent.trial import Trial
from probes.stats import stream
from probes.tasks import Problem
from tests.probes.latent.planted import MOST_ALARMS, SETS, acts, texts

Null = tuple[np.ndarray, np.ndarray, pd.DataFrame]


def alarms(p: pd.Series | np.ndarray) -> int:
    assert not np.isnan(p).any()
    return int((np.asarray(p) < 0.05).sum())


def null(seed: int, groups: int, rows: int, d: int, lean: float) -> Null:
    """Activations that repeat within problems, and labels (one a row of the first axis) that lean by problem."""
    rng = stream(seed, "null", groups, rows, d)
    problems = np.repeat(np.arange(groups), rows)
    matrix = rng.standard_normal((groups, d))[problems] + rng.standard_normal((groups * rows, d))
    leaning = rng.standard_normal((SETS, groups))[:, problems] * lean
    labels = rng.random(leaning.shape) < 1 / (1 + np.exp(-leaning))
    frame = pd.DataFrame({"problem": problems.astype(str), "sample": np.arange(len(problems)) % rows, "pos": 5})
    return matrix, labels, frame


@pytest.mark.parametrize(
    ("probe", "lean"),
    [
        ("logistic", 0.0), ("logistic", 1.5), ("ridge", 1.5), ("mass_mean", 1.5),
        pytest.param("ridge", 0.0, marks=pytest.mark.slow), pytest.param("mass_mean", 0.0, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_sweep_is_silent(probe: str, lean: float) -> None:
    matrix, labels, frame = null(2, 40, 10, 8, lean)
    named = {f"null{at:03d}": one for at, one in enumerate(labels)}
    found = sweep(acts(matrix, frame), named, probe=probe, controls=False, C=(0.01, 1.0), n_boot=10)
    assert 0 < alarms(found.frame["p"]) <= MOST_ALARMS
    assert alarms(found.selected["p"]) <= MOST_ALARMS
    assert alarms(found.frame["q"]) <= 1
    assert abs(found.frame["auroc"].mean() - 0.5) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("probe", ["logistic", "ridge", "mass_mean"])
@pytest.mark.parametrize("shape", [(20, 8, 24), (30, 10, 64), (12, 30, 100)])
def test_a_sweep_is_silent_where_labels_are_nearly_the_problems(shape: tuple[int, int, int], probe: str) -> None:
    """Few problems, many columns, and a label that is mostly one value in each problem."""
    matrix, labels, frame = null(3, *shape, 4.0)
    named = {f"null{at:03d}": one for at, one in enumerate(labels)}
    one = acts(matrix, frame)["resid_post.0"]
    several = Activations({"resid_post.0": one, "resid_post.1": one.square()}, frame, {})
    found = sweep(several, named, probe=probe, controls=False, C=(0.01, 1.0), n_boot=10)
    for _, table in found.frame.groupby("site"):
        assert alarms(table["p"]) <= MOST_ALARMS
    # The nested choice of a site is another fit, and its test is another test.
    assert alarms(found.selected["p"]) <= MOST_ALARMS


@pytest.mark.parametrize("lean", [pytest.param(0.0, marks=pytest.mark.slow), 1.5])
def test_transfer_is_silent_on_labels_that_mean_nothing(lean: float) -> None:
    common, labels, frame = null(4, 60, 6, 8, lean)
    base, rl = (np.sqrt(0.5) * (common + null(seed, 60, 6, 8, 0.0)[0]) for seed in (5, 6))
    named = {f"null{at:03d}": one for at, one in enumerate(labels)}
    found = transfer(acts(base, frame), acts(rl, frame), named, n_boot=20)
    for _, table in found.frame.groupby(["trained", "read", "space"]):
        assert 0 < alarms(table["p"]) <= MOST_ALARMS
    for name in ("minus_home_p", "minus_own_p"):
        moved = found.frame.dropna(subset=[name])
        assert moved.groupby(["trained", "read", "space"])[name].apply(alarms).max() <= MOST_ALARMS
    assert alarms(found.models["rl_minus_base_p"]) <= MOST_ALARMS
    assert alarms(found.models["rl_minus_base_q"]) <= 1


def equally_readable(number: int, lean: float, strength: float) -> tuple[Activations, Activations, np.ndarray]:
    """Two models that write one label along one axis, equally strongly, each with noise of its own."""
    matrices = [null(10 * number + at, 30, 6, 8, 0.0)[0] for at in range(3)]
    _, labels, frame = null(10 * number + 3, 30, 6, 8, lean)
    label = labels[0].astype(float)
    code = strength * np.outer(label, np.eye(8)[0])
    base, rl = (np.sqrt(0.5) * (matrices[0] + own) + code for own in matrices[1:])
    return acts(base, frame), acts(rl, frame), label


@pytest.mark.slow
@pytest.mark.parametrize("lean", [0.0, 1.5])
def test_no_difference_between_models_that_are_read_equally_well(lean: float) -> None:
    differs, moved = [], []
    for number in range(SETS):
        found = preexistence(*equally_readable(number, lean, 0.7), n_boot=20)
        differs.append(found.frame["rl_minus_base_p"].iloc[0])
        own = found.frames["transfer"].query("space == 'raw'")
        moved.append([*own["minus_home_p"], *own["minus_own_p"]])
    assert alarms(np.array(differs)) <= MOST_ALARMS
    assert max(alarms(one) for one in np.array(moved).T) <= MOST_ALARMS
    # A test that can never speak would pass this too.
    assert alarms(np.array(moved).ravel()) + alarms(np.array(differs)) > 0


def shares(number: int, vectors: int, spread: float, lift: float = 0.0) -> np.ndarray:
    """Solved or not [half, vector, problem] under vectors that differ by ``spread``; the first has ``lift`` more."""
    rng = stream(number, "shares", vectors)
    level = spread * rng.standard_normal(vectors) - 1.0
    level[0] += lift
    return rng.random((2, vectors, 25)) < 1 / (1 + np.exp(-level[:, None] - rng.standard_normal((2, 1, 25))))


def chosen(number: int, tried: int, spread: float, lift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Choose the best of some vectors on one half; what it and 20 random vectors solve on the other."""
    first, second = shares(number, tried + 20, spread, lift)
    best = int(np.argmax(first[:tried].mean(1)))
    return second[best].astype(float), second[tried:].astype(float)


def chosen_p(number: int, tried: int, spread: float, lift: float = 0.0) -> tuple[float, float]:
    """The p of the best of some vectors beside 20 random ones, the choice allowed for or not."""
    own, others = chosen(number, tried, spread, lift)
    value, random = float(own.mean()), others.mean(1)
    return beyond_random(value, random, n=25, tried=tried), beyond_random(value, random, n=25)


@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("tried", [4, 12, 48])
def test_the_interval_of_the_best_of_several_holds_another_random_vector(tried: int, spread: float) -> None:
    above, plain = 0, 0
    for number in range(SETS):
        own, others = chosen(number, tried, spread)
        found = over_random(own, others, tried=tried)
        above += found.low > 0
        # One vector is drawn for each draw of problems where no choice is allowed for.
        plain += over_random(own, others, n_boot=100, seed=number).low > 0 if spread == 2.0 and tried > 4 else 0
        # Both tell the same of the same distance.
        assert found.low <= 0 or beyond_random(float(own.mean()), others.mean(1), n=25, tried=tried) < 0.05
    assert above <= MOST_ALARMS / 2
    if spread == 2.0 and tried > 4:
        assert plain > MOST_ALARMS


def test_the_interval_of_a_vector_that_does_more_lies_above_zero() -> None:
    found = [over_random(*chosen(number, 12, 0.3, lift=3.5), tried=12) for number in range(50)]
    assert sum(one.low > 0 for one in found) >= 45
    for one in found:
        assert one.low <= one.value <= one.high
        assert "best of 12" in one.method
    own, others = chosen(0, 12, 0.3, lift=3.5)
    # By hand: the share behind the upper end of one more random vector, on the scale where shares spread evenly.
    y = np.arcsin(np.sqrt((25 * others.mean(1) + 0.375) / 25.75))
    up = y.mean() + student.ppf(1 - 0.025 / 12, 19) * max(y.std(ddof=1), 1 / np.sqrt(102)) * np.sqrt(1.05)
    assert found[0].low == pytest.approx(own.mean() - (np.sin(min(up, np.pi / 2)) ** 2 * 25.75 - 0.375) / 25)
    # What one random vector did, another may do.
    assert over_random(own, np.concatenate([others, own[None]]), tried=2).low <= 0
    more = over_random(own, others, tried=100)
    assert more.low < found[0].low
    assert more.value == found[0].value


@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("tried", [1, 4, 12])
def test_a_random_vector_is_not_beyond_random_though_it_was_the_best_of_several(tried: int, spread: float) -> None:
    found = np.array([chosen_p(number, tried, spread) for number in range(SETS)])
    assert alarms(found[:, 0]) <= MOST_ALARMS
    if tried == 12 and spread:
        # Without allowing for the choice it would be.
        assert alarms(found[:, 1]) > MOST_ALARMS


def untouched(frame: pd.DataFrame) -> Rollouts:
    """Rollouts of a table that is in order already: thousands are made here."""
    out = object.__new__(Rollouts)
    object.__setattr__(out, "frame", frame)
    return out


def unread(count: int, rows: int) -> Reading:
    return Reading(np.zeros((count, rows)), np.zeros((count, rows)), np.ones(count, dtype=np.int64))


class Drawn(Trial):
    """A trial whose texts are drawn: a vector's effect is its first coordinate, whatever the model would write."""

    def run_rows(self, problems: Sequence[Problem], rows: Sequence[tuple[Direction, float]]) -> list[Rollouts]:
        written = pd.DataFrame({"problem": [one.id for one in problems]})
        ease = stream(self.seed, "ease").standard_normal(2 * len(problems))[[int(one.id[1:]) for one in problems]]
        out = []
        for one, dose in rows:
            effect = float(one.vector[0] / one.vector.norm()) * 3.0 - 1.0
            draws = stream(self.seed, problems[0].id, repr((one.vector.tolist(), dose))).random((2, len(problems)))
            solved, used = draws < 1 / (1 + np.exp(-effect - ease))
            out.append(untouched(written.assign(correct=solved, text=np.where(used, "yes", "no"))))
        return out

    def uses(self, texts: Rollouts, label: str) -> np.ndarray:
        return (texts.frame["text"] == "yes").to_numpy(float)


@pytest.mark.slow
def test_steering_by_vectors_that_mean_nothing_is_silent(
    llama_pair_dirs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair.load(*map(str, llama_pair_dirs))
    monkeypatch.setattr(steering, "Trial", Drawn)
    monkeypatch.setattr(steering, "read_rows", lambda _, texts, rows, __: unread(len(texts), len(rows)))
    problems = [Problem(id=f"p{at}", prompt="1+1=", answer="2", kind="math") for at in range(40)]
    table = pd.DataFrame({"problem": [one.id for one in problems], "sample": 0})
    plain = texts(table, prompt=[1], ids=[[1]] * 40).frame
    found = []
    for number in range(SETS):
        solved = stream(number, "solved").random((2, 40)) < 0.4
        base, rl = (untouched(plain.assign(correct=own)) for own in solved)
        vectors = torch.from_numpy(stream(number, "candidates").standard_normal((4, pair.base.d_model))).float()
        candidates = [
            Direction(one, Site("resid_post", 1), label=f"kind {at}", typical_norm=5.0)
            for at, one in enumerate(vectors)
        ]  # fmt: skip
        effect = steering.steering_effect(
            pair, problems, candidates, base=base, rl=rl, alphas=(0.5, 1.0), n_boot=20, seed=number
        )
        assert effect.over_random is not None
        found.append([effect.p, effect.frame["p_share"][2], 0.0 if effect.over_random.low > 0 else 1.0])
    counts = [alarms(one) for one in np.array(found).T]
    assert max(counts) <= MOST_ALARMS, counts


def test_a_vector_that_does_more_is_beyond_random() -> None:
    found = np.array([chosen_p(number, 12, 0.3, lift=3.5)[0] for number in range(50)])
    assert alarms(found) >= 45
    assert beyond_random(0.0, np.zeros(20), n=50, tried=8) == 1.0
    assert beyond_random(0.5, np.zeros(20), n=50) == pytest.approx(1 / 21)
    assert np.isnan(beyond_random(0.5, np.zeros(0), n=50))
    assert np.isnan(beyond_random(np.nan, np.zeros(20), n=50))


def test_the_interval_over_random_vectors_holds_another_random_vector() -> None:
    outside = 0
    for number in range(SETS):
        own, *others = shares(number, 21, 1.0)[0].astype(float)
        found = over_random(own, np.array(others), n_boot=200, seed=number)
        assert found.value == pytest.approx(own.mean() - np.mean(others))
        outside += found.low > 0
    assert outside <= MOST_ALARMS


def test_problems_that_were_not_graded_are_left_out_of_the_interval() -> None:
    own, *others = shares(0, 6, 1.0)[0].astype(float)
    random = np.array(others)
    hole = np.where(np.arange(25) < 3, np.nan, own)
    assert over_random(hole, random, n_boot=100).value == pytest.approx(own[3:].mean() - random[:, 3:].mean())
    assert np.isnan(over_random(hole, random[:0], n_boot=100).value)
