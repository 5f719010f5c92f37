"""Rule of the claim "too-hard problems teach shortcuts".

Two runs from one base, on too-hard and on medium problems, are the test. A single pair can say something where its
problems are those of the training and a good part of them is too hard: whether shortcuts rose on these, and whether
problems that were solved before got lost; where few are, that question is left aside if the two runs are there. What
it does not show: that the problems given were trained on.
"""

from __future__ import annotations

from dataclasses import replace

from probes.evidence import Evidence
from probes.verdicts import Finding, Verdict, more_than_control

MATTERS = 0.02
"""Less than this share of texts, or of accuracy, more is no effect."""
MANY = 0.25
"""At least this share of the problems has to be too hard for a single pair to say anything."""


def difficulty(evidence: Evidence) -> list[Finding]:
    """Shortcuts and accuracy after hard against medium problems, and what one pair shows; not what was trained on."""
    return [
        more_than_control(
            "degenerate texts after training on too-hard problems, over medium ones",
            evidence.hard_over_medium, MATTERS, unit="points",
        ),
        more_than_control(
            "accuracy after training on medium problems, over too-hard ones",
            evidence.medium_over_hard, MATTERS, unit="points",
        ),
        _of_hard(
            more_than_control(
                "degenerate texts on problems the base never solves, RL minus base",
                evidence.hard_shortcuts, MATTERS, unit="points",
            ),
            evidence,
        ),
        _of_hard(
            more_than_control(
                "accuracy lost on problems the base solves 7 or 8 times of 8",
                evidence.solved_before_lost, MATTERS, unit="points",
            ),
            evidence,
        ),
    ]  # fmt: skip


def _of_hard(finding: Finding, evidence: Evidence) -> Finding:
    """A pair says nothing about too-hard problems where few of its problems are."""
    share = evidence.hard_share
    if finding.verdict == "not measured" or (share is not None and share.low >= MANY):
        return finding
    known = "nobody counted how many are"
    if share is not None and share.measured:
        known = f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}] are"
    rule = f"{finding.rule}; asked where at least {MANY:.0%} of the problems are surely too hard, and {known}"
    # Where the two runs are there, they are the test, and a question that was not asked does not stand in its way.
    verdict: Verdict = "not identified" if evidence.hard_over_medium is None else "not measured"
    return replace(finding, verdict=verdict, rule=rule)
