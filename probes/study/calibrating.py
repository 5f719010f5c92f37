"""The stage that asks how well each model's confidence fits: as its texts state it, and as its answer's tokens have it.

An organism's texts state theirs in its own language; other texts in a ``<confidence>`` tag. A pair that states none is
still scored by the probability of its answers' tokens.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from hooks.organisms import PREFIX
from hooks.organisms.confidence import stated_confidence as stated_by_organism
from hooks.rollouts import Rollouts
from probes.evidence import Evidence
from probes.latent.offsets import Decoder
from probes.samples.calibration import Calibration
from probes.samples.calibration import calibration as measure
from probes.samples.confidence import Confidences, answer_probability, verbalised
from probes.samples.confidence_spans import answer_spans
from probes.stats import Estimate
from probes.study.materials import Materials, first_samples
from probes.study.noted import note

TEXTS = 16
"""Samples of each problem whose confidence is read."""
ENOUGH = 0.1
"""Share of an arm's texts that must have a confidence, so that a few stray tags are not taken for an answer."""


def calibration(materials: Materials) -> None:
    """Calibration of both models by every source of confidence that both have."""
    config = materials.config
    texts = {role: first_samples(materials.rollouts(f"{role}_samples"), TEXTS) for role in ("base", "rl")}
    if any(one.frame["correct"].isna().all() for one in texts.values()):
        return
    options: dict[str, Any] = {"n_boot": config.n_boot, "seed": config.seed}
    known = sources(materials, texts)
    found = {
        name: measure(arms, **options)
        for name, arms in known.items()
        if all(one.stated >= ENOUGH for one in arms.values())
    }
    # A tuned model with a Brier term says nothing of a binary reward; the run without one does (stage "contrasts").
    note(materials.folder, "calibration", Evidence() if "binary" in config.contrast else evidence(found))
    shares = {name: {arm: one.stated for arm, one in arms.items()} for name, arms in known.items()}
    constant = {name: dict(one.constant) for name, one in found.items() if one.constant}
    materials.folder.json("calibration", {"has_a_confidence": shares, "constant": constant})
    for table in ("frame", "reliability"):
        parts = [getattr(one, table).assign(source=name) for name, one in found.items()]
        if parts:
            name = "calibration" if table == "frame" else "calibration_curve"
            materials.folder.table(name, pd.concat(parts, ignore_index=True))


def evidence(found: dict[str, Calibration]) -> Evidence:
    """What the claim is judged by: the change of the calibration error, stated and by the answer's tokens."""
    return Evidence(
        calibration_stated=_change(found.get("stated")), calibration_tokens=_change(found.get("answer tokens"))
    )


def _change(one: Calibration | None) -> Estimate | None:
    return None if one is None else one.figure("rl - base", "ece")


def sources(materials: Materials, texts: dict[str, Rollouts]) -> dict[str, dict[str, Confidences]]:
    """Confidences of each arm's texts by where they are from: ``stated``, or ``answer tokens``."""
    return {"stated": _stated(materials, texts), "answer tokens": _of_tokens(materials, texts)}


def _stated(materials: Materials, texts: dict[str, Rollouts]) -> dict[str, Confidences]:
    organism = materials.config.problems.startswith(PREFIX)
    parse = stated_by_organism if organism else None
    return {role: verbalised(one, percent=True, parse=parse) for role, one in texts.items()}


def _of_tokens(materials: Materials, texts: dict[str, Rollouts]) -> dict[str, Confidences]:
    tokenizer: Any = materials.pair.base.tokenizer
    decode = Decoder(getattr(tokenizer, "tokenizer", tokenizer))
    return {role: answer_probability(one, answer_spans(one, decode)) for role, one in texts.items()}
