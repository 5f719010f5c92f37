"""The curve over doses and the placebos: equal to slow formulas, paired, and silent where there is nothing."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from hooks.activations import Activations
from hooks.direction import Direction
from hooks.generate import generate
from hooks.pair import Pair
from hooks.sites import Site
from hooks.steer import steering
from probes.latent.damage import damage, read_rows
from probes.latent.directions import direction
from probes.latent.dose import MEASURES, _slopes, dose_response
from probes.latent.placebos import deal, min_cosine, shuffled_pairs
from probes.latent.trial import Trial, plan_of_rows
from probes.tasks import Problem

SETTINGS = {"max_new_tokens": 6}


@pytest.fixture(scope="module")
def pair(llama_pair_dirs: tuple[Path, Path]) -> Pair:
    base, rl = llama_pair_dirs
    return Pair.load(str(base), str(rl))


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return [Problem(id=f"p{i}", prompt=f"{i}+{i}=", answer=str(2 * i), kind="math") for i in range(6)]


def vector(seed: int = 0, label: str = "computation (start)", layer: int = 1) -> Direction:
    drawn = torch.randn(32, generator=torch.Generator().manual_seed(seed))
    return Direction(drawn, Site("resid_post", layer), label=label, typical_norm=5.0)


def written(marks: str) -> list[tuple[int, int, str]]:
    """Every text that holds a digit "computes"; nothing else is known."""
    return [(0, len(marks), "computation")] if any(letter.isdigit() for letter in marks) else []


def test_rows_of_one_batch_are_single_runs(pair: Pair, problems: list[Problem]) -> None:
    one, two = vector(0), vector(1)
    rows = [(one, 0.0), (one, 3.0), (two, 3.0), (one, -2.0)]
    trial = Trial(pair, steering(one).positions, SETTINGS, written, 100, 0)
    together = trial.run_rows(problems, rows)
    for (direction_, dose), texts in zip(rows, together, strict=True):
        alone = generate(pair.base, problems, steering=steering(direction_, dose), max_new_tokens=6)
        assert list(texts.frame["ids"]) == list(alone.frame["ids"])
        assert list(texts.frame["problem"]) == [problem.id for problem in problems]
    assert len({str(list(texts.frame["ids"])) for texts in together}) == 4
    with pytest.raises(ValueError, match="at least one row"):
        plan_of_rows([], "generated")


def test_reading_at_many_doses_is_the_damage_of_each(pair: Pair, problems: list[Problem]) -> None:
    one, two = vector(0), vector(1)
    texts = generate(pair.base, problems[:4], max_new_tokens=6)
    rows = [(one, 0.0), (one, 2.0), (two, 1.0)]
    reading = read_rows(pair.base, texts.sequences(), rows, "generated")
    for at, (direction_, dose) in enumerate(rows):
        plain = damage(pair, texts, steering(direction_, dose, positions="generated"))
        assert reading.divergence(at, n_boot=50).value == pytest.approx(plain, rel=1e-3, abs=1e-6)
    # Unsteered, the likelihood is the one that was sampled with.
    said = -sum(sum(logp) for logp in texts.frame["logp"])
    assert reading.nll[:, 0].sum() == pytest.approx(said, rel=1e-4)
    expected = math.exp(said / reading.tokens.sum())
    assert reading.perplexity(0, n_boot=50).value == pytest.approx(expected, rel=1e-4)
    nothing = read_rows(pair.base, [([5, 6], 2)], rows, "generated")
    assert nothing.tokens.tolist() == [0]
    assert math.isnan(nothing.divergence(0).value)


def test_the_curve_is_that_of_single_runs_and_its_changes_are_paired(pair: Pair, problems: list[Problem]) -> None:
    one = vector()
    curve = dose_response(
        pair, problems, one, alphas=(-1.0, 1.0), positions="generated", annotator=written, n_boot=200,
        settings=SETTINGS,
    )  # fmt: skip
    frame = curve.frame.set_index("alpha")
    assert list(frame.index) == [-1.0, 0.0, 1.0]
    uses = {}
    for alpha in frame.index:
        plan = steering(one, alpha * one.typical_norm / one.norm)
        texts = generate(pair.base, problems, steering=plan, max_new_tokens=6).frame["text"]
        uses[alpha] = np.array([any(letter.isdigit() for letter in text) for text in texts], dtype=float)
        assert frame.loc[alpha, "strategy_share"] == pytest.approx(uses[alpha].mean())
    for alpha in frame.index:
        assert frame.loc[alpha, "share_change"] == pytest.approx((uses[alpha] - uses[0.0]).mean())
    slope = np.array([np.polyfit(list(uses), [uses[a][p] for a in uses], 1)[0] for p in range(len(problems))])
    assert curve.slope.value == pytest.approx(slope.mean(), abs=1e-9)
    assert curve.anti_steered.value == pytest.approx((slope < -1e-12).mean())
    none, most = curve.frame.iloc[1], curve.frame.iloc[2]
    assert (none[["accuracy_change", "share_change", "kl"]].abs() < 1e-6).all()
    assert pd.isna(none["anti_steered"])
    assert most["kl"] > 0.0
    # Truths that are all alike have an interval with a width all the same.
    assert (curve.frame["accuracy_high"] > curve.frame["accuracy_low"]).all()
    for name in MEASURES:
        low, high = frame[f"{name}_low"].dropna(), frame[f"{name}_high"].dropna()
        assert (low <= high).all()
    assert "anti-steered" in str(curve)
    assert len(curve.plot().data) == 4


def test_neutral_text_may_be_given_and_unlabelled_texts_say_so(pair: Pair, problems: list[Problem]) -> None:
    texts = generate(pair.rl, problems, max_new_tokens=6)
    given = dose_response(pair, problems, vector(), alphas=(1.0,), neutral=texts, annotator=written, n_boot=100,
                          settings=SETTINGS).frame  # fmt: skip
    rows = [(vector(), 0.0)]
    plain = read_rows(pair.base, texts.sequences(), rows, "generated").perplexity(0, n_boot=50)
    assert given["perplexity"][0] == pytest.approx(plain.value, rel=1e-4)
    table = dose_response(pair, problems, vector(label=""), alphas=(1.0,), n_boot=100, settings=SETTINGS)
    assert table.frame["strategy_share"].isna().all()
    assert table.frame["perplexity"].isna().all()
    assert table.frame["kl"].notna().all()
    assert not table.anti_steered.measured


def test_a_slope_is_least_squares() -> None:
    doses, uses = np.array([-2.0, 0.0, 1.0, 4.0]), np.random.default_rng(0).random((4, 5))
    expected = [np.polyfit(doses, uses[:, at], 1)[0] for at in range(5)]
    np.testing.assert_allclose(_slopes(doses, uses), expected)
    assert np.isnan(_slopes(np.array([0.0]), uses[:1])).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alphas": (math.inf,)}, "finite"),
        ({"problems": []}, "at least one problem"),
        ({"settings": {"n": 2}}, "one sample a problem"),
        ({"direction": Direction(torch.ones(32), Site("resid_post", 1))}, "relative=False"),
    ],
)
def test_nonsense_is_refused(pair: Pair, problems: list[Problem], change: dict, message: str) -> None:
    asked = {"problems": problems, "direction": vector(), **change}
    with pytest.raises(ValueError, match=message):
        dose_response(pair, asked.pop("problems"), asked.pop("direction"), **asked)


class TestPlacebos:
    random = np.random.default_rng(0)
    labels = np.where(np.arange(200) % 2 == 0, 1.0, 0.0)
    planted = random.standard_normal(32)
    rows = pd.DataFrame({"problem": [f"p{at // 10}" for at in range(200)]})
    matrix = random.standard_normal((200, 32)) + 3.0 * labels[:, None] * planted
    acts = Activations({"resid_post.1": torch.from_numpy(matrix).float()}, rows, {"model": "made"})

    def test_shuffled_labels_lose_the_direction_and_keep_the_length(self) -> None:
        true = direction(self.acts, self.labels, site="resid_post.1", label="x")
        make = shuffled_pairs(self.acts, {"x": self.labels})
        placebos = [make(true, number) for number in range(20)]
        assert all(one.norm == pytest.approx(true.norm, rel=1e-5) for one in placebos)
        assert all(one.site == true.site and one.typical_norm == true.typical_norm for one in placebos)
        aligned = np.array([one.cosine(true) for one in placebos])
        assert abs(aligned.mean()) < 0.2
        assert true.cosine(torch.from_numpy(self.planted).float()) > 0.95
        torch.testing.assert_close(make(true, 3).vector, placebos[3].vector)
        assert placebos[0].cosine(placebos[1]) < 0.999

    def test_rows_that_share_a_prompt_still_lose_their_labels(self) -> None:
        """Samples of one problem begin at one activation: dealt within problems, the label would stay where it was."""
        matrix = np.repeat(self.matrix[::10], 10, axis=0)
        acts = Activations({"resid_post.1": torch.from_numpy(matrix).float()}, self.rows, {"model": "made"})
        labels = (np.arange(200) % 10 < 3 + np.arange(200) // 10 % 2 * 5).astype(float)
        true = direction(acts, labels, site="resid_post.1", label="x")
        aligned = [abs(shuffled_pairs(acts, {"x": labels})(true, number).cosine(true)) for number in range(20)]
        assert np.median(aligned) < 0.7
        with pytest.raises(ValueError, match="leaves its vector as it was"):
            shuffled_pairs(acts, {"x": labels}, groups=self.rows["problem"])(true, 0)

    def test_labels_are_dealt_within_groups(self) -> None:
        values = np.array([1.0, 0.0, np.nan, 1.0, 0.0, 0.0])
        owners = ["a", "a", "a", "b", "b", "b"]
        seen = {tuple(deal(values, owners, seed=0, label=str(number))) for number in range(40)}
        for one in seen:
            assert math.isnan(one[2])
            assert one[0] + one[1] == 1
            assert sum(one[3:]) == 1
        assert len({str(one) for one in seen}) == 6
        over_all = {tuple(deal(np.array([1.0, 0.0, 0.0]), None, seed=0, label=str(number))) for number in range(40)}
        assert len(over_all) == 3

    def test_the_most_nearly_orthogonal_vector_of_another_strategy(self) -> None:
        one = Direction(torch.tensor([1.0, 0.0, 0.0]), Site("resid_post", 1), label="a (start)")
        near = Direction(torch.tensor([1.0, 1.0, 0.0]), Site("resid_post", 1), label="b")
        far = Direction(torch.tensor([0.1, 0.0, 4.0]), Site("resid_post", 1), label="c")
        same = Direction(torch.tensor([0.0, 1.0, 0.0]), Site("resid_post", 1), label="a (inner)")
        elsewhere = Direction(torch.tensor([0.0, 1.0, 0.0]), Site("resid_post", 2), label="d")
        found = min_cosine(one, [near, far, same, elsewhere])
        assert found is not None
        assert found.label == "c"
        assert found.norm == pytest.approx(1.0)
        assert min_cosine(one, [same, elsewhere, one]) is None
