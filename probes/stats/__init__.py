"""Intervals and tests for samples that come in problems: bootstrap, ratios, permutations, proportions, rankings.

The unit of chance is the *problem*, never the sample or the token: several samples of one problem share its difficulty,
so every interval here resamples whole problems, and two models on the same problems are compared pair by pair.
"""

from __future__ import annotations

from hooks.streams import stream
from probes.stats.bootstrap import bootstrap_problems, bootstrap_weights, paired_difference, percentile_interval
from probes.stats.intervals import Estimate, Interval
from probes.stats.permutation import permutation_p, sign_flip_p, two_sample_p
from probes.stats.problems import Column, as_floats, problem_means
from probes.stats.proportions import GAP, SHARE, benjamini_hochberg, wilson
from probes.stats.ranking import auroc, auroc_difference, auroc_interval
from probes.stats.ratios import ratio

__all__ = [
    "GAP",
    "SHARE",
    "Column",
    "Estimate",
    "Interval",
    "as_floats",
    "auroc",
    "auroc_difference",
    "auroc_interval",
    "benjamini_hochberg",
    "bootstrap_problems",
    "bootstrap_weights",
    "paired_difference",
    "percentile_interval",
    "permutation_p",
    "problem_means",
    "ratio",
    "sign_flip_p",
    "stream",
    "two_sample_p",
    "wilson",
]
