"""Lengths and entropy against plain means; paired differences; what was not measured stays out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hooks.rollouts import Rollouts
from probes.samples import writing


def texts(lengths: dict[str, list[int]], *, answers: bool = True, logp: float = -0.5) -> Rollouts:
    return Rollouts.of(
        {
            "problem": problem, "sample": sample, "model": "m", "prompt": "?", "prompt_ids": [1], "ids": [2] * n,
            "text": "x", "logp": [logp] * n, "stop": "length" if n > 9 else "eos", "author": ["base"] * n,
            "correct": n > 5, "answer": str(n) if answers else None,
        }
        for problem, row in lengths.items()
        for sample, n in enumerate(row)
    )  # fmt: skip


def value(result, arm, quantity):
    row = result.frame[(result.frame["arm"] == arm) & (result.frame["quantity"] == quantity)]
    return float(row["value"].iloc[0])


def test_means_and_paired_differences():
    base, rl = texts({"a": [2, 4], "b": [6, 6]}), texts({"a": [10, 12], "b": [6, 8], "c": [1, 1]}, logp=-0.25)
    result = writing({"base": base, "rl": rl})
    assert value(result, "base", "tokens") == pytest.approx((3 + 6) / 2)
    assert value(result, "rl - base", "tokens") == pytest.approx((8 + 1) / 2)
    assert value(result, "rl", "cut off") == pytest.approx(0.5)
    assert value(result, "base", "surprise") == pytest.approx(0.5)
    assert value(result, "rl - base", "surprise") == pytest.approx(-0.25)
    assert value(result, "base", "distinct answers") == pytest.approx(0.75)
    assert value(result, "rl - base", "accuracy") == pytest.approx(0.5)
    assert not (result.frame["quantity"] == "entropy").any()
    assert "mean tokens" in str(result)
    assert result.plot().data


def test_entropy_comes_from_the_arms_own_token_table():
    base = texts({"a": [2], "b": [3]})
    table = pd.DataFrame({"problem": ["a"] * 2 + ["b"] * 3, "entropy_base": [1.0, 2, 3, 3, 3], "entropy_rl": 0.1})
    result = writing({"base": base, "rl": base}, tokens={"base": table, "rl": table})
    assert value(result, "base", "entropy") == pytest.approx((1.5 + 3) / 2)
    assert value(result, "rl", "entropy") == pytest.approx(0.1)
    with pytest.raises(ValueError, match="entropy_base"):
        writing({"base": base}, tokens={"base": table.drop(columns="entropy_base")})


def test_a_null_difference_covers_zero_and_intervals_cover():
    draw = np.random.default_rng(5)
    lengths = [{f"p{i}": draw.poisson(6, size=3).clip(1).tolist() for i in range(80)} for _ in range(2)]
    result = writing({"base": texts(lengths[0]), "rl": texts(lengths[1])})
    rows = result.frame[result.frame["arm"] == "rl - base"]
    row = rows[rows["quantity"] == "tokens"].iloc[0]
    assert row["low"] < 0 < row["high"]


def test_refusals_and_missing_answers():
    with pytest.raises(ValueError, match="at least one arm"):
        writing({})
    with pytest.raises(ValueError, match="in common"):
        writing({"base": texts({"a": [1]}), "rl": texts({"b": [1]})})
    result = writing({"base": texts({"a": [1, 2], "b": [3, 4]}, answers=False)})
    assert not (result.frame["quantity"] == "distinct answers").any()


def test_a_contrast_stands_beside_and_a_like_training_leaves_nothing():
    draw = np.random.default_rng(3)
    base = {f"p{i}": draw.poisson(6, size=3).clip(1).tolist() for i in range(40)}
    longer = {name: [n + int(draw.integers(3, 6)) for n in row] for name, row in base.items()}
    other = {name: [n + int(draw.integers(3, 6)) for n in row] for name, row in base.items()}
    arms = {"base": texts(base), "rl": texts(longer, logp=-0.25)}
    found = writing(arms, contrast={"SFT": texts(other, logp=-0.25), "random reward": texts(base)}, n_boot=300)
    assert found.contrasts is not None
    rows = found.contrasts.set_index(["contrast", "quantity"])
    like = rows.loc[("SFT", "tokens, rl - base")]
    assert like["difference_low"] < 0 < like["difference_high"]
    # The base cancels: what is left is the difference of the two tuned models.
    by_hand = np.mean([np.mean(longer[name]) - np.mean(other[name]) for name in base])
    assert like["difference"] == pytest.approx(by_hand)
    random = rows.loc[("random reward", "tokens, rl - base")]
    assert random["value"] == 0
    assert random["difference_low"] > 3
    assert rows.loc[("random reward", "surprise, rl - base"), "difference"] == pytest.approx(-0.25)
    with pytest.raises(ValueError, match="'rl' and 'base'"):
        writing({"base": texts(base)}, contrast={"SFT": texts(other)})


def test_equals_plain_sums_where_problems_have_different_numbers_of_samples():
    result = writing({"base": texts({"a": [2], "b": [4, 6, 8]})}, n_boot=50)
    assert value(result, "base", "tokens") == pytest.approx((2 + 6) / 2)
    assert value(result, "base", "surprise") == pytest.approx((0.5 * 2 + 0.5 * 6) / (2 + 6))
