"""The sentence at the top follows its rule, and says so where the intervals decide nothing."""

import math

import pytest

from probes.evidence import Evidence
from probes.stats import Estimate
from probes.study.verdict import answer

LEVELS = {"base": {"accuracy": 0.25}, "rl": {"accuracy": 0.75}}


def est(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, low, high, 100, "made up")


AHEAD = est(0.5, 0.4, 0.9)


def said(needed: Estimate, *, lead: Estimate | None = AHEAD, changed: Estimate | None = None) -> str:
    evidence = Evidence(
        gap=est(0.5, 0.4, 0.6), recovery=est(0.9, 0.7, 1.1), routed=est(0.1, 0.09, 0.11), needed_90=needed,
        recovery_over_random=lead, recovery_over_changed=changed,
    )  # fmt: skip
    return answer("pair", evidence, LEVELS)


@pytest.mark.parametrize(
    ("needed", "words"),
    [
        (est(0.05, 0.03, 0.08), "when, not how"),
        (est(0.05, 0.03, 0.20), "that 15% of the tokens would do is not shown"),
        (est(0.20, 0.16, 0.60), "part is not explained by that"),
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
    level = est(0.5, -0.1, 0.9)
    for needed in (est(0.05, 0.03, 0.08), est(0.20, 0.16, 0.60), est(0.05, 0.03, 0.60)):
        assert "do not tell the gate from random places" in said(needed, lead=level)
        assert "Random places were not tried" in said(needed, lead=None)
    assert "learned how" in said(est(0.87, 0.80, 0.95), lead=level)


def test_a_gate_that_is_worse_than_random_places_says_nothing_of_how() -> None:
    assert "nothing here shows" in said(est(math.inf, 0.45, math.inf), lead=est(-0.3, -0.5, -0.1))


def test_random_places_that_change_as_many_tokens_are_told() -> None:
    for needed in (est(0.05, 0.03, 0.08), est(0.20, 0.16, 0.60)):
        assert "may do as well" in said(needed, changed=est(0.1, -0.4, 0.6))
        assert "may do as well" not in said(needed, changed=est(0.4, 0.1, 0.6))


def test_without_a_gain_there_is_nothing_to_explain() -> None:
    evidence = Evidence(gap=est(-0.01, -0.03, 0.02))
    assert "no gain to explain" in answer("pair", evidence, LEVELS)
