"""Claims: the rules at their bars, the known pairs get the known verdicts, and what was not measured says so."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooks.rollouts import Rollouts
from probes import routing, weights
from probes.claims import Evidence, judge, published, table
from probes.evidence import share_near_zero
from probes.routing.outcome import outcome
from probes.samples import passk
from probes.stats import Estimate, wilson
from probes.verdicts import above, below, combine, exact, more_than_control, not_behind, of_a_gain

TWELVE = (
    "scaling", "two_phases", "sparse_updates", "suppression", "know_when", "pass_at_k", "echo_chamber", "calibration",
    "domain_order", "difficulty", "reflection", "token_shift",
)  # fmt: skip


def about(value: float, half: float = 0.05) -> Estimate:
    return Estimate(value, value - half, value + half, 100, "made")


def by_key(evidence: Evidence):
    return {claim.key: claim for claim in judge(evidence)}


def test_without_evidence_all_twelve_are_not_measured_and_say_what_they_need():
    claims = judge(Evidence())
    assert tuple(claim.key for claim in claims) == TWELVE
    for claim in claims:
        assert claim.verdict == "not measured"
        assert claim.figure is None
        assert claim.needs.startswith("needs ")
        assert claim.caveats
        assert len(claim.sentence) > 40
    assert ">= 6 checkpoints" in claims[0].needs


LIKE_LATENT = Evidence(
    gap=about(0.6), recovery=about(0.97), routed=about(0.05, 0.01), recovery_over_random=about(0.7),
    needed_90=about(0.04, 0.01), readability=about(0.71), readability_over_baseline=about(0.1),
    steering=about(0.3), steering_over_random=about(0.1), passk_first=about(0.4), passk_last=about(-0.05, 0.04),
    largest_k=128, unchanged_tolerance=0.2, unchanged_relative=0.15, rank_share=1.0, rank_share_null=1.0,
    rank_spread=about(0.15),
    near_zero=about(0.95, 0.01), backward=about(0.1), backward_tokens=1.5,
)  # fmt: skip


def test_a_pair_that_only_learned_when():
    claims = by_key(LIKE_LATENT)
    assert claims["know_when"].verdict == "supported"
    assert claims["pass_at_k"].verdict == "supported"
    assert claims["token_shift"].verdict == "supported"
    # Of full numerical rank, as noise would be.
    assert claims["sparse_updates"].verdict == "contradicted"
    assert claims["know_when"].figure == LIKE_LATENT.recovery
    assert claims["know_when"].needs == ""
    assert "5.0% of tokens" in claims["know_when"].findings[0].name


def test_a_pair_that_learned_how():
    claims = by_key(
        Evidence(
            gap=about(0.8), recovery=about(0.2), routed=about(0.1, 0.01), recovery_over_random=about(0.02, 0.03),
            needed_90=about(0.6), readability_over_baseline=about(0.0, 0.01), steering_over_random=about(0.0, 0.01),
            passk_first=about(0.8), passk_last=about(0.4), near_zero=about(0.6), backward=about(0.9),
        )
    )  # fmt: skip
    for key in ("know_when", "pass_at_k", "token_shift"):
        assert claims[key].verdict == "contradicted"


def test_a_pair_without_a_gain_identifies_nothing_about_it():
    nothing = Estimate(math.nan, -math.inf, math.inf, 100, "no gain")
    claims = by_key(
        Evidence(
            gap=about(0.01), recovery=nothing, recovery_over_random=nothing, steering_over_random=about(0.2),
            passk_first=about(0.0), passk_last=about(-0.3), backward=nothing, near_zero=about(0.99, 0.005),
        )
    )  # fmt: skip
    assert claims["know_when"].verdict == "not identified"
    assert claims["pass_at_k"].verdict == "not identified"
    assert claims["token_shift"].verdict == "not identified"
    assert "no gain to explain" in claims["know_when"].findings[0].rule
    assert claims["know_when"].as_dict()["figure"] is None


@given(st.floats(-1, 2), st.floats(0.001, 1), st.floats(-0.5, 1.5))
def test_a_bar_inside_the_interval_identifies_nothing(value, half, bar):
    estimate = about(value, half)
    verdict = above("x", estimate, bar).verdict
    expected = "supported" if estimate.low > bar else "contradicted" if estimate.high < bar else "not identified"
    assert verdict == expected
    mirrored = {"supported": "contradicted", "contradicted": "supported"}
    assert below("x", estimate, bar).verdict == mirrored.get(verdict, verdict)


def test_rules_at_their_edges():
    assert more_than_control("x", about(0.2), 0.1).verdict == "supported"
    assert more_than_control("x", about(0.0, 0.05), 0.1).verdict == "contradicted"
    assert more_than_control("x", about(0.0, 0.2), 0.1).verdict == "not identified"
    # Surely there, though smaller than what would matter: it is there.
    assert more_than_control("x", about(0.05, 0.01), 0.1).verdict == "supported"
    assert not_behind("x", about(0.0, 0.01), 0.02).verdict == "supported"
    assert not_behind("x", about(0.1), 0.02).verdict == "contradicted"
    assert not_behind("x", about(0.0, 0.05), 0.02).verdict == "not identified"
    assert above("x", exact(0.7), 0.7).verdict == "supported"
    assert above("x", exact(0.69), 0.7).verdict == "contradicted"
    assert exact(math.nan) is None
    assert above("x", None, 0.5).verdict == "not measured"
    assert below("x", Estimate(math.inf, 0.4, math.inf, 9, "never"), 0.15).verdict == "contradicted"
    assert below("x", Estimate(math.inf, 0.1, math.inf, 9, "never"), 0.15).verdict == "not identified"
    assert of_a_gain(above("x", None, 0.5), about(0.0)).verdict == "not measured"


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ([], "not measured"),
        (["not measured", "not measured"], "not measured"),
        (["supported", "not measured"], "supported"),
        (["supported", "not identified"], "not identified"),
        (["supported", "contradicted", "not identified"], "mixed"),
        (["contradicted", "not identified"], "contradicted"),
    ],
)
def test_findings_combine(parts, whole):
    assert combine(parts) == whole


def test_json_has_numbers_or_null_and_nothing_else():
    for evidence in (Evidence(), LIKE_LATENT):
        for claim in judge(evidence):
            text = json.dumps(claim.as_dict(every_row=True), allow_nan=False)
            for name in ("claim", "verdict", "figure", "interval", "published", "needs"):
                assert f'"{name}"' in text
    sparse = by_key(LIKE_LATENT)["sparse_updates"].as_dict()
    assert sparse["figure"] == 0.2
    assert sparse["interval"] is None
    assert 0 < len(sparse["published"]) < len(by_key(LIKE_LATENT)["sparse_updates"].published)
    frame = table(judge(LIKE_LATENT))
    assert set(frame["claim"]) == set(TWELVE)


def test_published_figures_are_well_formed():
    rows = published()
    assert len(rows) > 350
    for key, row in rows:
        assert key in TWELVE
        assert row.status in ("G", "G(note)", "M")
        assert row.paper
        assert len(row.arxiv) == 10
        assert math.isfinite(row.value)
        if row.unit == "share":
            assert -0.6 <= row.value <= 1.1, row
    # Spot checks against the papers' tables.
    values = {(row.arxiv, row.metric, row.setting): row.value for _, row in rows}
    assert values[("2510.07364", "recovered share, second version", "ORZ-0.5B, MATH-500")] == 0.953
    assert values[("2504.13837", "pass@256 MATH500", "GRPO")] == 0.972
    assert values[("2511.08567", "unchanged, relative test", "NV-ProRL")] == 0.384
    assert values[("2505.11711", "unchanged within 1e-5", "DeepSeekMath-7B, GRPO")] == 0.685
    assert {key for key, _ in rows} == set(TWELVE) - {"echo_chamber"}


def test_share_near_zero_is_pooled_and_refuses():
    frame = pd.DataFrame({"problem": ["a", "a", "a", "b"], "js": [0.0, 0.2, 0.1, np.nan]})
    assert share_near_zero(frame).value == pytest.approx(2 / 3)
    # Every token near zero is no proof that none differs.
    alike = share_near_zero(pd.DataFrame({"problem": [f"p{at}" for at in range(60)], "js": 0.0}))
    assert (alike.low, alike.high) == pytest.approx((wilson(60, 60).low, 1.0))
    with pytest.raises(ValueError, match="js"):
        share_near_zero(frame.drop(columns="js"))


def graded(right, opened=None) -> Rollouts:
    rows = []
    for place, correct in enumerate(right):
        row = {
            "problem": f"p{place}", "sample": 0, "model": "m", "prompt": "?", "prompt_ids": [1], "ids": [1] * 20,
            "text": "x", "logp": [0.0] * 20, "stop": "eos", "author": ["base"] * 20, "correct": bool(correct),
            "answer": "x",
        }  # fmt: skip
        if opened is not None:
            row |= {"gate_open": [t < opened for t in range(20)], "changed": [t < opened for t in range(20)]}
        rows.append(row)
    return Rollouts.of(rows)


def routed(mixed: float, opened: int):
    n = np.arange(60)
    arms = {
        "js > 0.1": graded(n < 60 * mixed, opened), "random": graded(n < 60 * 0.2, opened),
        "back": graded(n < 60 * 0.3, opened),
    }  # fmt: skip
    told = [
        ("js > 0.1", "gate", "", "js", 0.1, "base"), ("random", "random", "js > 0.1", "random", 0.9, "base"),
        ("back", "backward", "js > 0.1", "js", 0.1, "rl"),
    ]  # fmt: skip
    options = {"n_boot": 100, "level": 0.95, "seed": 0}
    return outcome(
        arms=told, base=graded(n < 60 * 0.1), rl=graded(n < 60 * 0.9), rollouts=arms, manifest=options, **options
    )


def test_evidence_is_read_off_results(tmp_path):
    counts = [pd.DataFrame({"id": [f"p{i}" for i in range(40)], "c": c, "n": 4}) for c in (2, 4)]
    tokens = pd.DataFrame({"problem": [f"p{i}" for i in range(40)], "js": 0.01})
    evidence = Evidence.gather(
        route=routed(0.88, 2), passk=passk(*counts, n_boot=100), tokens=tokens, readability_over_baseline=about(0.1)
    )
    assert evidence.recovery is not None
    assert evidence.recovery.value == pytest.approx((53 - 6) / (54 - 6))
    assert evidence.routed is not None
    assert evidence.routed.value == pytest.approx(0.1)
    assert evidence.recovery_over_random is not None
    assert evidence.recovery_over_random.value == pytest.approx((53 - 12) / 48)
    assert evidence.backward is not None
    assert evidence.backward.value == pytest.approx((18 - 6) / 48)
    assert evidence.backward_tokens == pytest.approx(2.0)
    assert evidence.needed_90 is not None
    assert evidence.needed_90.value == pytest.approx(0.1 * 0.9 / (47 / 48))
    assert evidence.largest_k == 4
    assert evidence.near_zero is not None
    assert evidence.near_zero.value == 1.0
    claims = {claim.key: claim.verdict for claim in judge(evidence)}
    assert claims["know_when"] == "supported"
    never = Evidence.gather(route=routed(0.5, 2)).needed_90
    assert never is not None
    assert math.isinf(never.value)
    assert never.low == pytest.approx(0.1)
    with pytest.raises(ValueError, match="no gate 'kl'"):
        Evidence.gather(route=routed(0.5, 2), arm="kl")
    with pytest.raises(ValueError, match="no field 'luck'"):
        Evidence.gather(luck=None)


def test_evidence_from_weights(llama_pair_dirs):
    delta = weights.compare(*llama_pair_dirs)
    evidence = Evidence.gather(delta=delta)
    assert evidence.unchanged_tolerance == delta.totals["unchanged_tolerance"]
    assert evidence.rank_share is not None
    assert routing.RouteResult is not None
