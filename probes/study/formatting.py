"""The stage that asks in which formats texts are written, over the checkpoints of the run where there are any.

It reads the samples that the stage "training" kept at each checkpoint; a study of two ends compares these alone, and
says that a step of collapse needs three checkpoints.
"""

from __future__ import annotations

import math
from typing import Any

from hooks.organisms.chains import MARKS
from hooks.rollouts import Rollouts
from probes.evidence import Evidence
from probes.samples.formats import FEWEST, formats
from probes.samples.formats_of_texts import Classifier, opening
from probes.samples.shortcuts_length import length_collapse
from probes.study.checkpoints import Way
from probes.study.materials import Materials, first_samples
from probes.study.noted import note

SAMPLES = 16
"""Samples of each problem where only the two ends are known."""
OPENINGS = {"steps ": "worked steps", "code ": "restated", "answer ": "direct answer"}
"""Formats of the organisms' language, by the word that a text opens with."""


def formatting(materials: Materials) -> None:
    """Share, accuracy and entropy of formats along the run, and the length of its texts."""
    series = _series(materials)
    options: dict[str, Any] = {"n_boot": materials.config.n_boot, "seed": materials.config.seed}
    found = formats(series, classifier=classifier(series[0.0]), **options)
    lengths = length_collapse(series, **options)
    folder = materials.folder
    folder.table("formats", found.frame)
    folder.table("formats_steps", found.steps)
    folder.table("formats_lengths", lengths.frame)
    folder.figure("formats", found.plot())
    folder.json(
        "formats",
        {"headline": found.headline(), "lengths": lengths.headline(), "winner": found.winner,
         "best_at_start": found.best_at_start, "checkpoints": len(series), "problems": found.n_problems},
    )  # fmt: skip
    if len(series) < FEWEST or math.isnan(found.winner_share.value):
        note(folder, "formats", Evidence())
        return
    note(folder, "formats", Evidence(format_share=found.winner_share, format_rise=found.rise))


def classifier(texts: Rollouts) -> str | Classifier:
    """The organisms' own formats where texts open with their words, else the general ones."""
    written = texts.frame["text"]
    own = sum(text.startswith(tuple(MARKS)) for text in written)
    return opening(OPENINGS) if len(written) and own > len(written) / 2 else "general"


def _series(materials: Materials) -> dict[int | float, Rollouts]:
    """Samples by step, the base at 0; the two ends where nothing between them was sampled."""
    places = Way.of(materials.config).places
    if places and all(materials.path(f"series-{index:03d}").exists() for index in range(len(places))):
        return {place.step: materials.rollouts(f"series-{index:03d}") for index, place in enumerate(places)}
    ends = {0.0: "base_samples", 1.0: "rl_samples"}
    return {step: first_samples(materials.rollouts(name), SAMPLES) for step, name in ends.items()}
