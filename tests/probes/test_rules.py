"""Every rule at its bars: a pair that bears a claim out, one that does not, one that cannot tell, one not measured."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from probes.claims import Evidence, judge
from probes.rules import RULES
from probes.stats import Estimate
from probes.verdicts import combine


def about(value: float, half: float = 0.004) -> Estimate:
    return Estimate(value, value - half, value + half, 40, "made")


NONE = Estimate(math.nan, math.nan, math.nan, 40, "cannot be told")
BORNE_OUT: dict[str, dict[str, object]] = {
    "scaling": {"scaling_top": about(0.65), "scaling_error": about(0.01), "scaling_lead": about(0.02)},
    "two_phases": {"phase_fall": about(-0.02), "phase_rise": about(0.02), "phase_over_placebo": about(0.02)},
    "sparse_updates": {"unchanged_tolerance": 0.86, "unchanged_relative": 0.8, "rank_spread": about(0.8)},
    "suppression": {"suppression": about(0.7), "suppression_mass": about(0.6)},
    "know_when": {
        "gap": about(0.4), "recovery": about(0.9), "needed_90": about(0.05), "recovery_over_random": about(0.5),
        "readability_over_baseline": about(0.1), "steering_over_random": about(0.1),
    },
    "pass_at_k": {"passk_first": about(0.3), "passk_last": about(-0.05)},
    "echo_chamber": {"format_share": about(0.97), "format_rise": about(0.4)},
    "calibration": {
        "calibration_stated": about(0.2), "calibration_tokens": about(0.1), "calibration_repair": about(-0.2),
        "calibration_cost": about(0.0),
    },
    "domain_order": {"order_over_joint": about(0.1), "order_over_others": about(0.1), "order_foreseen": about(0.9)},
    "difficulty": {
        "hard_over_medium": about(0.2), "medium_over_hard": about(0.2), "hard_share": about(0.5),
        "hard_shortcuts": about(0.2), "solved_before_lost": about(0.2),
    },
    "reflection": {
        "reflection_share": about(0.2), "reflection_least": 0.02, "reflection_under_noise": about(-0.3),
        "reflection_gain": about(0.1),
    },
    "token_shift": {"gap": about(0.4), "near_zero": about(0.95), "backward": about(0.1)},
}  # fmt: skip
"""Numbers that bear every finding of a claim out."""
SIGN = {"scaling_error": 0.3, "phase_fall": 0.3, "needed_90": 0.6, "passk_last": 0.5, "calibration_repair": 0.3,
        "calibration_cost": 0.3, "reflection_share": 0.9, "reflection_under_noise": 0.3, "backward": 0.9,
        "near_zero": 0.2, "recovery": 0.1, "format_share": 0.3, "suppression": 0.1, "suppression_mass": 0.1,
        "order_foreseen": 0.0, "rank_spread": 0.1, "unchanged_tolerance": 0.1, "unchanged_relative": 0.1}  # fmt: skip
"""Numbers on the other side of their bars; all others turn their sign."""
KEPT = {"gap", "passk_first", "hard_share", "reflection_least", "scaling_top"}
"""Fields that say whether a question can be asked."""


def verdict(key: str, evidence: Evidence) -> str:
    return next(claim.verdict for claim in judge(evidence) if claim.key == key)


def against(name: str, value: object) -> object:
    if name in KEPT:
        return value
    if isinstance(value, Estimate):
        return about(SIGN.get(name, -value.value))
    return SIGN[name]


def untold(name: str, value: object) -> object:
    return NONE if isinstance(value, Estimate) and name not in KEPT - {"scaling_top"} else None


def made(key: str, **changes: object) -> Evidence:
    return Evidence(**{**BORNE_OUT[key], **changes})  # type: ignore[arg-type]


def rule(key: str, evidence: Evidence, *, place: int) -> str:
    return next(claim.findings[place].rule for claim in judge(evidence) if claim.key == key)


def test_a_share_that_its_definition_fixes_is_no_evidence():
    fell = made("suppression", suppression_right=about(-20.0), suppression_mass=NONE)
    assert verdict("suppression", fell) == "not identified"
    assert "above one half whatever RL did" in rule("suppression", fell, place=0)
    assert verdict("suppression", made("suppression", suppression_right=about(0.5))) == "supported"


def test_a_format_that_the_base_has_already_cannot_collapse():
    there = made("echo_chamber", format_share=about(0.99), format_rise=about(0.01))
    assert verdict("echo_chamber", there) == "not identified"
    assert "the base writes it in 98.0%" in rule("echo_chamber", there, place=1)


def test_a_gain_that_is_lost_to_half_of_the_tokens_says_nothing_of_few():
    many = made("token_shift", backward_routed=about(0.5))
    assert verdict("token_shift", many) == "not identified"
    assert "the base wrote 50% of the tokens" in rule("token_shift", many, place=1)
    assert verdict("token_shift", made("token_shift", backward_routed=about(0.05))) == "supported"


def test_every_claim_is_tried_and_every_field_exists():
    assert set(BORNE_OUT) == set(RULES)
    fields = set(Evidence.__dataclass_fields__)
    assert all(name in fields for own in BORNE_OUT.values() for name in own)


@pytest.mark.parametrize("key", list(RULES))
def test_a_claim_is_borne_out_contradicted_and_left_open(key):
    own = BORNE_OUT[key]
    good = Evidence(**own)  # type: ignore[arg-type]
    assert verdict(key, good) == "supported"
    assert {part.verdict for part in RULES[key](good)} == {"supported"}
    bad = Evidence(**{name: against(name, value) for name, value in own.items()})  # type: ignore[arg-type]
    found = [part.verdict for part in RULES[key](bad)]
    assert "contradicted" in found
    # A ceiling that is there is never against the claim: only an error or a rival can be.
    assert combine(found) == ("mixed" if key == "scaling" else "contradicted"), found
    open_ = Evidence(**{name: untold(name, value) for name, value in own.items()})  # type: ignore[arg-type]
    assert {part.verdict for part in RULES[key](open_)} <= {"not identified", "not measured"}
    assert {part.verdict for part in RULES[key](Evidence())} == {"not measured"}


@pytest.mark.parametrize("key", list(RULES))
def test_one_contradicted_part_makes_a_claim_mixed_at_most(key):
    own = BORNE_OUT[key]
    for name, value in own.items():
        if name in KEPT:
            continue
        turned = replace(Evidence(**own), **{name: against(name, value)})  # type: ignore[arg-type]
        assert verdict(key, turned) in ("mixed", "contradicted", "not identified"), name
