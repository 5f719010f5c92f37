"""Verdicts on formats, difficulty and reflection: both sides of each bar, and what is not measured."""

from __future__ import annotations

import math
import re

from probes.evidence import Evidence
from probes.rules import RULES
from probes.stats import Estimate
from probes.verdicts import combine


def at(value: float, half: float = 0.02) -> Estimate:
    return Estimate(value, value - half, value + half, 50, "made up")


def verdicts(key: str, **fields: Estimate) -> list[str]:
    return [finding.verdict for finding in RULES[key](Evidence(**fields))]


def verdict(key: str, **fields: Estimate) -> str:
    return combine([finding.verdict for finding in RULES[key](Evidence(**fields))])


def test_formats() -> None:
    assert verdict("echo_chamber", format_share=at(0.97), format_rise=at(0.6)) == "supported"
    assert verdict("echo_chamber", format_share=at(0.6), format_rise=at(0.0)) == "contradicted"
    # Dominant from the start: nothing was left to collapse.
    assert verdict("echo_chamber", format_share=at(0.97), format_rise=at(0.0)) == "not identified"
    # Dominant at the end, from nearly as much: the share is there and the rise is not.
    assert verdict("echo_chamber", format_share=at(0.905, 0.004), format_rise=at(0.006, 0.01)) == "mixed"
    assert verdict("echo_chamber", format_share=at(0.89), format_rise=at(0.6)) == "not identified"
    assert verdicts("echo_chamber") == ["not measured"] * 2


def test_difficulty_needs_two_runs_or_hard_problems() -> None:
    two = {"hard_over_medium": at(0.3), "medium_over_hard": at(0.2)}
    assert verdict("difficulty", **two) == "supported"
    assert verdict("difficulty", hard_over_medium=at(-0.1), medium_over_hard=at(-0.1)) == "contradicted"
    pair = {"hard_shortcuts": at(0.3), "solved_before_lost": at(0.2)}
    assert verdict("difficulty", **pair, hard_share=at(0.8)) == "supported"
    assert verdict("difficulty", **pair, hard_share=at(0.1)) == "not identified"
    assert verdict("difficulty", **pair) == "not identified"
    gone = {"hard_shortcuts": at(-0.3), "solved_before_lost": at(-0.1)}
    assert verdict("difficulty", **gone, hard_share=at(0.8)) == "contradicted"
    assert verdicts("difficulty") == ["not measured"] * 4
    assert re.search(r"10% \[.*\] are", RULES["difficulty"](Evidence(**pair, hard_share=at(0.1)))[2].rule)


def test_reflection() -> None:
    few = {"reflection_share": at(0.2), "reflection_under_noise": at(-0.5), "reflection_gain": at(0.1)}
    assert verdict("reflection", **few) == "supported"
    even = {"reflection_share": at(0.7), "reflection_under_noise": at(0.0), "reflection_gain": at(-0.1)}
    assert verdict("reflection", **even) == "contradicted"
    assert verdict("reflection", **{**few, "reflection_gain": at(math.nan)}) == "not identified"
    assert verdicts("reflection") == ["not measured"] * 3
    # In a reference of four tokens nothing can lie below a third but a single token.
    short = RULES["reflection"](Evidence(**even, reflection_least=0.25))[0]
    assert short.verdict == "not identified"
    assert "one token is 25% of a reference" in short.rule
    assert RULES["reflection"](Evidence(**even, reflection_least=0.05))[0].verdict == "contradicted"
