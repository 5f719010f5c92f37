"""What does it say? Measures that need nothing but samples: pass@k, solvable sets, length, entropy, diversity.

It does not show what goes on inside a model; two models with the same samples look the same here.
"""

from __future__ import annotations

from probes.samples.calibration import Calibration, calibration
from probes.samples.confidence import (
    Confidences,
    answer_probability,
    probe_confidence,
    rlcr_reward,
    stated_confidence,
    verbalised,
)
from probes.samples.confidence_spans import answer_spans
from probes.samples.counts import Samples, counts
from probes.samples.formats import Formats, formats
from probes.samples.formats_race import FormatRace, format_race
from probes.samples.hardness import Bins, group_advantage
from probes.samples.majority import Majority, majority
from probes.samples.majority_estimates import maj_at_ks
from probes.samples.passk import PassK, passk
from probes.samples.passk_estimates import crossings, pass_at_k, pass_at_ks
from probes.samples.reflection import Reflection, reflection
from probes.samples.reflection_reading import read_references
from probes.samples.shortcuts import Shortcuts, shortcuts
from probes.samples.shortcuts_length import LengthCollapse, length_collapse
from probes.samples.shortcuts_prefix import PrefixCheck, prefix_check
from probes.samples.suppression import Suppression, suppression
from probes.samples.suppression_texts import scored_texts
from probes.samples.temperature import MatchedTemperature, matched_temperature, sampled_entropy
from probes.samples.writing import Writing, writing

__all__ = [
    "Bins",
    "Calibration",
    "Confidences",
    "FormatRace",
    "Formats",
    "LengthCollapse",
    "Majority",
    "MatchedTemperature",
    "PassK",
    "PrefixCheck",
    "Reflection",
    "Samples",
    "Shortcuts",
    "Suppression",
    "Writing",
    "answer_probability",
    "answer_spans",
    "calibration",
    "counts",
    "crossings",
    "format_race",
    "formats",
    "group_advantage",
    "length_collapse",
    "maj_at_ks",
    "majority",
    "matched_temperature",
    "pass_at_k",
    "pass_at_ks",
    "passk",
    "prefix_check",
    "probe_confidence",
    "read_references",
    "reflection",
    "rlcr_reward",
    "sampled_entropy",
    "scored_texts",
    "shortcuts",
    "stated_confidence",
    "suppression",
    "verbalised",
    "writing",
]
