"""The sentence at the top follows its rule, and says so where the intervals decide nothing."""

import math

import pytest

from probes.evidence import Evidence
from probes.stats import Estimate
from probes.study.verdict import answer

LEVELS = {"base": {"accuracy": 0.25}, "rl": {"accuracy": 0.75}}


def est(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, low, high, 100, "made up")


def said(needed: Estimate, *, ahead: float = 0.4) -> str:
    evidence = Evidence(
        gap=est(0.5, 0.4, 0.6), recovery=est(0.9, 0.7, 1.1), routed=est(0.1, 0.09, 0.11), needed_90=needed,
        recovery_over_random=est(0.5, ahead, 0.9),
    )  # fmt: skip
    return answer("pair", evidence, LEVELS)


@pytest.mark.parametrize(
    ("needed", "words"),
    [
        (est(0.05, 0.03, 0.08), "when, not how"),
        (est(0.05, 0.03, 0.20), "Part of what"),
        (est(0.20, 0.16, 0.60), "Part of what"),
        (est(0.05, 0.03, 0.60), "do not tell"),
        (est(0.87, 0.80, 0.95), "learned how"),
        (est(math.inf, 0.45, math.inf), "learned how"),
        (est(math.inf, 0.02, math.inf), "do not tell"),
        (est(math.inf, math.nan, math.inf), "do not tell"),
    ],
)
def test_the_answer_rests_on_the_ends_of_the_interval(needed: Estimate, words: str) -> None:
    assert words in said(needed)


def test_small_shares_keep_a_decimal() -> None:
    assert "need 4.1% [3.9%, 4.4%]" in said(est(0.041, 0.039, 0.044))
    assert "need 20% [16%, 60%]" in said(est(0.20, 0.16, 0.60))


def test_a_gate_that_random_places_match_chooses_nothing() -> None:
    for needed in (est(0.05, 0.03, 0.08), est(0.20, 0.16, 0.60), est(0.05, 0.03, 0.60)):
        assert "nothing here shows that RL taught when" in said(needed, ahead=-0.1)
    assert "learned how" in said(est(0.87, 0.80, 0.95), ahead=-0.1)


def test_without_a_gain_there_is_nothing_to_explain() -> None:
    evidence = Evidence(gap=est(-0.01, -0.03, 0.02))
    assert "no gain to explain" in answer("pair", evidence, LEVELS)
