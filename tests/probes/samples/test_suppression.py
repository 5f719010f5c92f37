"""Tilted policies whose shares are known, a slow reference, nulls without a share, refusals that say why."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from hooks.generate import generate
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from hooks.score import score
from probes.samples import scored_texts, suppression
from probes.samples.suppression_mass import weighed
from tests.families import tiny

TEXTS = 12


class Policies:
    """Problems with twelve possible texts each, the first of them right, and exact probabilities under both models."""

    def __init__(self, *, right: int, problems: int = 60, tilt: float = 0.0, drift: float = 0.0, seed: int = 0) -> None:
        self.draw = np.random.default_rng(seed)
        self.correct = np.arange(TEXTS) < right
        self.base = self.draw.dirichlet(np.full(TEXTS, 3.0), size=problems)
        push = tilt * self.correct + drift * self.draw.normal(size=(problems, TEXTS))
        rl = self.base * np.exp(push)
        self.rl = rl / rl.sum(axis=1, keepdims=True)

    def sample(self, n: int, *, who: str = "base") -> pd.DataFrame:
        rows = []
        for problem, (base, rl) in enumerate(zip(self.base, self.rl)):
            for sample, text in enumerate(self.draw.choice(TEXTS, size=n, p=base if who == "base" else rl)):
                shift = math.log(rl[text] / base[text])
                rows.append(
                    {
                        "problem": f"p{problem}", "sample": sample, "correct": float(self.correct[text]), "tokens": 4,
                        "logp_base": math.log(base[text]), "logp_rl": math.log(rl[text]), "rise": max(shift, 0.0),
                        "drop": max(-shift, 0.0),
                    }
                )  # fmt: skip
        return pd.DataFrame(rows)

    def truth(self) -> dict[str, float]:
        """The same figures from the probabilities themselves."""
        ratio = np.log(self.rl / self.base)
        right = self.base * self.correct
        wrong = self.base * ~self.correct
        gained = float(np.mean((right * ratio).sum(1) / right.sum(1)))
        lost = -float(np.mean((wrong * ratio).sum(1) / wrong.sum(1)))
        before, after = right.sum(1).mean(), float((self.rl * self.correct).sum(1).mean())
        mass = np.log(after / before), -np.log((1 - after) / (1 - before))
        return {
            "share": lost / (abs(gained) + abs(lost)), "right": gained, "wrong": -lost, "moved": after - before,
            "mass share": mass[1] / (mass[0] + mass[1]), "accuracy": before,
        }  # fmt: skip


@pytest.mark.parametrize("right", [2, 6, 10])
def test_a_tilted_policy_gives_its_shares(right):
    world = Policies(right=right, tilt=0.7, drift=0.2, seed=right)
    truth = world.truth()
    found = suppression(world.sample(64), world.sample(16, who="rl"))
    for level, quantity, name in (
        ("sequence", "suppression share", "share"), ("sequence", "right", "right"), ("sequence", "wrong", "wrong"),
        ("mass", "suppression share", "mass share"), ("moved", "to right", "moved"),
    ):  # fmt: skip
        one = found.figure(level, quantity)
        assert one.low - 0.01 <= truth[name] <= one.high + 0.01, (quantity, truth[name], str(one))
    own, weighted = found.figure("moved", "right, RL's own samples"), found.figure("moved", "right, base")
    assert own.value == pytest.approx(weighted.value + found.figure("moved", "to right").value, abs=0.05)
    assert found.figure("moved", "mean weight").value == pytest.approx(1, abs=0.05)
    assert found.figure("new", "new mass").value == 0


def test_for_a_small_shift_the_share_is_the_bases_accuracy():
    for right in (2, 6, 10):
        truth = Policies(right=right, tilt=0.01).truth()
        assert truth["mass share"] == pytest.approx(truth["accuracy"], abs=0.01)


def test_intervals_of_the_share_cover_at_about_their_level():
    inside = 0
    for seed in range(40):
        world = Policies(right=5, tilt=0.6, drift=0.2, seed=seed, problems=40)
        one = suppression(world.sample(24), n_boot=300).figure("sequence", "suppression share")
        inside += one.low <= world.truth()["share"] <= one.high
    assert inside >= 34


def test_equal_models_have_no_share_and_no_new_mass():
    world = Policies(right=4)
    found = suppression(world.sample(16), world.sample(8, who="rl"))
    narrow = suppression(world.sample(16), world.sample(8, who="rl"), n_boot=50, level=0.8)
    assert narrow.figure("sequence", "right").level == 0.8
    for level in ("sequence", "token", "mass"):
        assert math.isnan(found.figure(level, "suppression share").value)
        assert found.figure(level, "right minus wrong").value == pytest.approx(0, abs=1e-9)
    assert found.figure("new", "new mass").value == 0
    assert "no suppression share" in str(found)
    # Noise of rounding is no gap either, however sure its sign.
    near = world.sample(16)
    near["logp_rl"] += np.where(near["correct"] == 1, 1e-6, -1e-6)
    assert math.isnan(suppression(near).figure("sequence", "suppression share").value)


def test_mere_drift_lowers_both_classes_and_claims_nothing():
    claimed = 0
    for seed in range(30):
        found = suppression(Policies(right=4, drift=0.6, seed=seed, problems=40).sample(16), n_boot=300)
        # Both fall, as they must under the base's own samples, and neither is suppression.
        assert found.figure("sequence", "right").value < 0
        assert found.figure("sequence", "wrong").value < 0
        claimed += not math.isnan(found.figure("sequence", "suppression share").value)
    assert claimed <= 4


def slow(texts: pd.DataFrame) -> dict[str, float]:
    """Every figure in plain loops."""
    gained, lost, masses = [], [], []
    for _, part in texts.groupby("problem"):
        d = [row.logp_rl - row.logp_base for row in part.itertuples()]
        right = [x for x, row in zip(d, part.itertuples()) if row.correct]
        wrong = [x for x, row in zip(d, part.itertuples()) if not row.correct]
        masses.append((len(right) / len(d), sum(map(math.exp, d)) / len(d), sum(map(math.exp, right)) / len(d)))
        if right and wrong:
            gained.append(sum(right) / len(right))
            lost.append(-sum(wrong) / len(wrong))
    a, s = sum(gained) / len(gained), sum(lost) / len(lost)
    before, whole, held = (sum(column) / len(masses) for column in zip(*masses))
    weights = [math.exp(row.logp_rl - row.logp_base) for row in texts.itertuples()]
    return {"a": a, "s": s, "share": s / (abs(a) + abs(s)), "moved": held / whole - before, "covered": whole,
            "effective": sum(weights) ** 2 / sum(w * w for w in weights)}  # fmt: skip


def test_equals_plain_loops():
    texts = Policies(right=3, tilt=1.0, drift=0.3, problems=12).sample(8)
    found, plain = suppression(texts, min_effective=1), slow(texts)
    assert found.figure("sequence", "right").value == pytest.approx(plain["a"])
    assert found.figure("sequence", "wrong").value == pytest.approx(-plain["s"])
    assert found.figure("sequence", "suppression share").value == pytest.approx(plain["share"])
    assert found.figure("token", "right").value == pytest.approx(plain["a"] / 4)
    assert found.figure("moved", "to right").value == pytest.approx(plain["moved"])
    assert found.figure("moved", "mean weight").value == pytest.approx(plain["covered"])
    assert found.figure("moved", "effective samples").value == pytest.approx(plain["effective"])
    assert found.left_out == 12 - found.figure("sequence", "right").n


def test_weights_are_refused_where_few_samples_carry_them_or_the_base_covers_little():
    heavy = Policies(right=4, drift=4.0, tilt=3.0, problems=20).sample(8)
    few = suppression(heavy)
    assert few.figure("moved", "to right").method.startswith("refused")
    assert math.isnan(few.figure("mass", "suppression share").value)
    # RL writes elsewhere: every weight of the base's samples is tiny, and equal, so that the effective size looks fine.
    elsewhere = Policies(right=4, problems=40).sample(8).assign(logp_rl=lambda t: t["logp_base"] - 20.0)
    none = suppression(elsewhere)
    assert weighed(elsewhere).effective == pytest.approx(320)
    assert "cover" in none.figure("moved", "to right").method
    # ... and on its own samples the base's probability is negligible.
    own = elsewhere.assign(logp_rl=lambda t: t["logp_base"] + 20.0)
    assert suppression(elsewhere, own).figure("new", "new mass").value == 1


def test_masses_of_tempered_samples_are_those_of_the_tempered_models():
    pair, temperature = Pair.load(tiny("llama"), tiny("llama", perturb=0.05)), 0.5
    texts = generate(pair.base, ["a", "b c", "d", "e f g"], n=1000, temperature=temperature, max_new_tokens=1)
    right = texts.with_columns(correct=[ids[0] % 3 == 0 for ids in texts.frame["ids"]])
    truth, thirds = [], torch.arange(pair.d_vocab) % 3 == 0
    for prompt in {tuple(ids) for ids in texts.frame["prompt_ids"]}:
        logits = [model.net(torch.tensor([prompt])).logits[0, -1].detach() for model in (pair.base, pair.rl)]
        base, rl = (float((z / temperature).softmax(-1)[thirds].sum()) for z in logits)
        truth.append(rl - base)
    found = suppression(scored_texts(right, score(pair, right, temperature=temperature)))
    moved, weight = found.figure("moved", "to right"), found.figure("moved", "mean weight")
    assert moved.value == pytest.approx(np.mean(truth), abs=0.02)
    assert weight.value == pytest.approx(1, abs=0.05)
    # Read at temperature 1, the same samples are weighed by other models than those that drew them.
    plain = suppression(scored_texts(right, score(pair, right))).figure("moved", "to right")
    assert plain.value < np.mean(truth) - 0.03


def test_a_contrast_that_did_the_same_leaves_nothing():
    world = Policies(right=4, tilt=0.8, drift=0.1)
    ours, same = suppression(world.sample(32)), suppression(world.sample(32))
    other = Policies(right=4, tilt=0.0, drift=0.1)
    rows = suppression(
        world.sample(32), contrast={"SFT": same, "random reward": suppression(other.sample(32))}
    ).contrasts
    rows = rows.set_index(["contrast", "quantity"])
    gap = rows.loc[("SFT", "sequence: right minus wrong")]
    assert gap["difference_low"] < 0 < gap["difference_high"]
    true = rows.loc[("random reward", "sequence: right minus wrong")]
    assert true["difference_low"] > 0.5
    # A share that is not defined is not compared.
    assert ("random reward", "sequence: suppression share") not in rows.index
    assert ours.figure("sequence", "right minus wrong").value == pytest.approx(gap["value"], abs=0.15)


def table(rows: list[tuple[str, int, float, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["problem", "sample", "logp_base", "logp_rl"])


def graded(correct: list[bool | None]) -> Rollouts:
    return Rollouts.of(
        {
            "problem": "a", "sample": at, "model": "m", "prompt": "?", "prompt_ids": [1], "ids": [2], "text": "x",
            "logp": [0.0], "stop": "eos", "author": ["base"], "correct": right, "answer": "x",
        }
        for at, right in enumerate(correct)
    )  # fmt: skip


def test_texts_are_sums_over_tokens_and_ungraded_ones_are_left_out():
    tokens = table([("a", 0, -1.0, -0.5), ("a", 0, -1.0, -2.0), ("a", 1, -3.0, -3.0), ("a", 2, -1.0, -1.0)])
    found = scored_texts(graded([True, False, None]), tokens)
    assert found.to_dict("list") == {
        "problem": ["a", "a"], "sample": [0, 1], "correct": [1.0, 0.0], "tokens": [2, 1], "logp_base": [-2.0, -3.0],
        "logp_rl": [-2.5, -3.0], "rise": [0.5, 0.0], "drop": [1.0, 0.0],
    }  # fmt: skip


def test_refusals_name_the_item():
    tokens = table([("a", 5, -1.0, -0.5)])
    with pytest.raises(ValueError, match="Sample 5 of problem 'a' was scored"):
        scored_texts(graded([True]), tokens)
    with pytest.raises(ValueError, match="graded"):
        scored_texts(graded([None]), table([("a", 0, -1.0, -0.5)]))
    with pytest.raises(ValueError, match="logp_rl"):
        scored_texts(graded([True]), tokens.drop(columns="logp_rl"))
    texts = Policies(right=4, problems=3).sample(4)
    with pytest.raises(ValueError, match="no base texts"):
        suppression(texts.iloc[:0])
    with pytest.raises(ValueError, match="'drop'"):
        suppression(texts.drop(columns="drop"))
    with pytest.raises(ValueError, match="no log-probability"):
        suppression(texts.assign(logp_rl=math.nan))
    with pytest.raises(ValueError, match="no figure"):
        suppression(texts).figure("sequence", "nothing")


def test_a_base_that_is_always_right_leaves_the_log_ratios_undefined():
    texts = Policies(right=TEXTS, problems=5).sample(4)
    found = suppression(texts)
    assert found.left_out == 5
    assert math.isnan(found.figure("sequence", "right").value)
    assert math.isnan(found.figure("sequence", "suppression share").value)
    assert len(found.plot().data) == 6
