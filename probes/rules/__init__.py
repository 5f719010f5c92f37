"""The bars that claims are held against, one file a claim, written down before looking.

A rule turns an :class:`probes.evidence.Evidence` into findings by the functions of :mod:`probes.verdicts`. The bars are
the constants at the head of each file, taken from the claims as they are told and from the published figures. What a
rule does not show: the truth of a general claim. One pair can contradict it; no pair can prove it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from probes.evidence import Evidence
from probes.rules.calibration import calibration
from probes.rules.difficulty import difficulty
from probes.rules.domain_order import domain_order
from probes.rules.echo_chamber import echo_chamber
from probes.rules.know_when import know_when
from probes.rules.pass_at_k import pass_at_k
from probes.rules.reflection import reflection
from probes.rules.scaling import scaling
from probes.rules.sparse_updates import sparse_updates
from probes.rules.suppression import suppression
from probes.rules.token_shift import token_shift
from probes.rules.two_phases import two_phases
from probes.verdicts import Finding

RULES: Mapping[str, Callable[[Evidence], list[Finding]]] = {
    "scaling": scaling,
    "two_phases": two_phases,
    "domain_order": domain_order,
    "sparse_updates": sparse_updates,
    "suppression": suppression,
    "know_when": know_when,
    "pass_at_k": pass_at_k,
    "calibration": calibration,
    "echo_chamber": echo_chamber,
    "difficulty": difficulty,
    "reflection": reflection,
    "token_shift": token_shift,
}
"""The rule of each claim by its key; a claim without one is not measured."""
