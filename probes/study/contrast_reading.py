"""What a contrast says of the base's texts and of the references, and what its training moved in the weights.

These need the contrast itself, not only its samples, and are taken of the roles :data:`READ`: both models read the same
few texts, so that the figures of the pair are taken anew on exactly these.  What this does not show: ranks of a
contrast's update, which cost more than all the rest and are nearly always full.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from hooks.pair import Pair
from probes.samples.reflection import reflection
from probes.samples.reflection_reading import Read, read_references
from probes.samples.suppression import suppression
from probes.stats import Estimate
from probes.study.contrast_rows import lined_up
from probes.study.materials import Materials, first_samples
from probes.study.reflecting import Cut, references_of
from probes.study.suppressing import TEXTS as OURS
from probes.study.suppressing import scored
from probes.weights import compare

READ = ("random", "sft")
"""Roles that are more than a second run of one claim."""
TEXTS = 6
"""The base's samples of each problem that a contrast reads."""
PROBLEMS, CHAINS = 24, 8
"""Problems whose references it reads, and chains of thought of each."""
SUPPRESSION = {
    "sequence: right": "number", "sequence: wrong": "number", "sequence: right minus wrong": "number",
    "sequence: suppression share": "share", "mass: suppression share": "share", "moved: to right": "points",
}  # fmt: skip
"""Figures that stand beside the pair's, and their units."""
REFLECTION = ("carrying", "carrying - noise", "plain", "weighted", "weighted - plain")
WEIGHTS = {
    "unchanged_exact": "unchanged_bf16", "unchanged_tolerance": "unchanged_1e5",
    "unchanged_relative": "unchanged_relative", "one_ulp": "one_ulp",
}  # fmt: skip
"""Exact shares of a weight comparison, and their names in the study's own record."""


def read_by(materials: Materials, role: str, pair: Pair) -> list[pd.DataFrame]:
    """Suppression and reflection of a contrast beside the pair's."""
    return [*_suppression(materials, role, pair), *_reflection(materials, role, pair)]


def weights_of(materials: Materials, role: str, pair: Pair) -> pd.DataFrame:
    """Shares of unchanged weights of the pair and of a contrast, exact counts over files; empty where none is there."""
    record = materials.folder.root / "results" / "weights.json"
    if not record.exists():
        return pd.DataFrame()
    ours, theirs = materials.folder.read_json("weights"), compare(pair, ranks=False, null=False).totals
    rows = [(role, name, ours.get(own), theirs[name]) for name, own in WEIGHTS.items()]
    return pd.DataFrame(rows, columns=["role", "quantity", "ours", "contrast"])


def _suppression(materials: Materials, role: str, pair: Pair) -> list[pd.DataFrame]:
    """How the base's right and wrong texts fare under a contrast; nothing where the pair's own were not read."""
    config, folder = materials.config, materials.folder
    if not (folder.root / "results" / "base_scored.parquet").exists():
        return []
    texts = first_samples(materials.rollouts("base_samples"), TEXTS)
    options: dict[str, Any] = {
        "n_boot": config.n_boot, "seed": config.seed, "as_drawn": config.top_p == 1,
    }  # fmt: skip
    saying = f"the contrast {role} reads samples of the base"
    own = scored(
        materials,
        "base_scored",
        materials.pair,
        first_samples(materials.rollouts("base_samples"), OURS["base"]),
        "both models read samples of the base",
    )
    theirs = suppression(scored(materials, f"base_scored_by_{role}", pair, texts, saying), **options)
    mine = suppression(own[own["sample"] < TEXTS], **options)
    if not set(mine.measured) & set(theirs.measured):
        return []
    found = suppression(own[own["sample"] < TEXTS], contrast={role: theirs}, **options)
    beside = found.contrasts[found.contrasts["quantity"].isin(list(SUPPRESSION))]
    ours = {quantity: _figure(found.frame, quantity) for quantity in beside["quantity"]}
    return [lined_up("suppression", beside, ours, SUPPRESSION.__getitem__)]


def _figure(frame: pd.DataFrame, quantity: str) -> Estimate:
    level, _, name = quantity.partition(": ")
    row = frame[(frame["level"] == level) & (frame["quantity"] == name)].iloc[0]
    return Estimate(float(row["value"]), float(row["low"]), float(row["high"]), int(row["n"]), str(row["method"]))


def _reflection(materials: Materials, role: str, pair: Pair) -> list[pd.DataFrame]:
    """The spread of reference tokens under the tuned model, beside that under a contrast."""
    options: dict[str, Any] = {"n_boot": materials.config.n_boot, "seed": materials.config.seed}
    ours, theirs = _reads(materials, materials.pair, "the pair"), _reads(materials, pair, f"the contrast {role}")
    found = reflection(ours, contrast={role: theirs}, **options)
    if found.contrasts is None:
        return []
    beside = found.contrasts[found.contrasts["quantity"].isin(REFLECTION)]
    own = {name: found.at(name) for name in beside["quantity"]}
    return [lined_up("reflection", beside, own, lambda _: "number")]


def _reads(materials: Materials, pair: Pair, who: str) -> list[Read]:
    asked = materials.problems[:PROBLEMS]
    chains = first_samples(materials.rollouts("base_samples"), CHAINS).subset([problem.id for problem in asked])
    return read_references(
        pair, chains, references_of(materials, asked), cut=Cut(materials),
        progress=materials.tell(f"{who} reads references"),
    )["rl"]  # fmt: skip
