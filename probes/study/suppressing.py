"""The stage that asks what RL did to the base's right and wrong texts: both models read a bounded number of samples.

They are read at the temperature of the samples, so the log-ratios are of the models as they were sampled.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from hooks.pair import Pair
from hooks.rollouts import Rollouts
from hooks.score import score
from probes.evidence import Evidence
from probes.samples.suppression import Suppression
from probes.samples.suppression import suppression as measure
from probes.samples.suppression_texts import scored_texts
from probes.stats import Estimate
from probes.study.materials import Materials, first_samples
from probes.study.noted import note

TEXTS = {"base": 12, "rl": 2}
"""Samples of each problem that both models read: the base's for the log-ratios, the RL model's for the new mass."""


def suppression(materials: Materials) -> None:
    """How RL moved the probability of the base's right and wrong samples, and what of its own texts is new."""
    config = materials.config
    base, rl = (_texts(materials, role) for role in ("base", "rl"))
    if base is None:
        return
    options: dict[str, Any] = {"n_boot": config.n_boot, "seed": config.seed}
    found = measure(base, rl, as_drawn=config.top_p == 1, **options)
    materials.folder.table("suppression", found.frame)
    materials.folder.json(
        "suppression",
        {"headline": found.headline(), "texts": found.n_texts, "problems": len(found.problems),
         "left_out": found.left_out},
    )  # fmt: skip
    note(materials.folder, "suppression", evidence(found))
    if len(found.problems):
        materials.folder.figure("suppression", found.plot())


def evidence(found: Suppression) -> Evidence:
    """The numbers that the claim is judged by; a refused figure brings its reason instead of a value."""
    return Evidence(
        suppression=_known(found, "sequence", "suppression share"),
        suppression_mass=_known(found, "mass", "suppression share"),
        suppression_accuracy=found.figure("moved", "right, base"),
        suppression_right=_known(found, "sequence", "right"),
    )


def _known(found: Suppression, level: str, quantity: str) -> Estimate | None:
    one = found.figure(level, quantity)
    return None if math.isnan(one.value) and one.n == 0 else one


def _texts(materials: Materials, role: str) -> pd.DataFrame | None:
    """Scored samples of one model, from disk where they are; None where none of them could be graded."""
    texts = first_samples(materials.rollouts(f"{role}_samples"), TEXTS[role])
    if texts.frame["correct"].isna().all():
        return None
    return scored(materials, f"{role}_scored", materials.pair, texts, f"both models read samples of the {role}")


def scored(materials: Materials, name: str, pair: Pair, texts: Rollouts, saying: str) -> pd.DataFrame:
    """Samples under both models of a pair at the temperature they were drawn at; from disk where they were read so."""
    temperature, folder = materials.config.temperature, materials.folder
    if (folder.root / "results" / f"{name}.parquet").exists():
        there = folder.read(name)
        # What was read at another temperature holds log-probabilities of other distributions.
        if "temperature" in there and (there["temperature"] == temperature).all():
            return there
    read = score(pair, texts, temperature=temperature, progress=materials.tell(saying))
    folder.table(name, scored_texts(texts, read).assign(temperature=temperature))
    return folder.read(name)
