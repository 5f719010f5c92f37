"""How did it get there?  Measures along a series of checkpoints of one run, or of runs over several domains.

It does not show why training took its way; checkpoints say when something had changed, not what changed it.
"""

from __future__ import annotations

from probes.training.collapse import Collapse, collapse, similarity
from probes.training.domain_order import DomainOrder, domain_order, greedy_order
from probes.training.domains import DomainRun
from probes.training.grams import Grams
from probes.training.hicra import group_advantage, hicra_advantage
from probes.training.lexicon import ENGLISH
from probes.training.scaling import Scaling, scaling
from probes.training.series import Checkpoint, Series
from probes.training.sigmoid import SigmoidFit, fit_sigmoid, sigmoid
from probes.training.speed import Speed, speed
from probes.training.two_phases import TwoPhases, two_phases

__all__ = [
    "ENGLISH",
    "Checkpoint",
    "Collapse",
    "DomainOrder",
    "DomainRun",
    "Grams",
    "Scaling",
    "Series",
    "SigmoidFit",
    "Speed",
    "TwoPhases",
    "collapse",
    "domain_order",
    "fit_sigmoid",
    "greedy_order",
    "group_advantage",
    "hicra_advantage",
    "scaling",
    "sigmoid",
    "similarity",
    "speed",
    "two_phases",
]
