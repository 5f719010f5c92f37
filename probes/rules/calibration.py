"""Rule of the claim "RL hurts calibration, RLCR repairs it".

Two halves: the calibration error rises under a binary reward, by what the texts state or by the probability of the
answer's tokens; and a training with a Brier term brings it down again without losing accuracy. The second half needs
such a training as a contrast. What it does not show: whether a rise comes from a prompt under which a model always says
the same.
"""

from __future__ import annotations

from probes.evidence import Evidence
from probes.verdicts import Finding, above, below

COST = 0.02
"""A Brier term costs nothing if the accuracy lost to it is below this."""


def calibration(evidence: Evidence) -> list[Finding]:
    """The change of the calibration error, what a Brier term repairs and costs; it does not show the cause."""
    return [
        above("calibration error of stated confidence, RL minus base", evidence.calibration_stated, 0.0, unit="points"),
        above("calibration error of answer tokens, RL minus base", evidence.calibration_tokens, 0.0, unit="points"),
        below("calibration error, with a Brier term minus without", evidence.calibration_repair, 0.0, unit="points"),
        below("accuracy, without a Brier term minus with", evidence.calibration_cost, COST, unit="points"),
    ]
