"""Was it there before RL?  Both models read the decisions of both models' texts, in every way, at the same tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

from hooks.capture import capture
from hooks.rollouts import Rollouts
from probes.latent.ahead import ahead, places_before
from probes.latent.preexistence import preexistence
from probes.study.materials import Materials, first_samples

SAMPLES = 4
"""Samples of each problem whose decisions are read k tokens ahead, and of the RL text at all."""
DEPTH = 0.75
"""Where a label is read for which nested selection chose no layer: named beforehand, as a share of the layers."""


def read_both(
    materials: Materials,
    name: Literal["base text", "RL text"],
    texts: Rollouts,
    found: pd.DataFrame,
    labels: pd.DataFrame,
    acts: Mapping[str, Any],
    *,
    twin: Mapping[str, Any],
    chosen: Mapping[str, str],
) -> dict[str, pd.DataFrame]:
    """All tables of one text, with a column that names the text; a column ``reported`` marks each label's quoted layer.

    Args:
        materials: of the study.
        name: whose text.
        texts: the rollouts.
        found: their decisions, in capture order.
        labels: a column a label, a row a decision.
        acts: of ``base`` and ``rl`` at the decisions.
        twin: of an untrained model there.
        chosen: the site of each label that nested selection chose; others are read at :data:`DEPTH`.
    """
    config = materials.config
    fixed = f"resid_post.{int(DEPTH * materials.pair.base.n_layers)}"
    sites = {str(label): chosen.get(str(label), fixed) for label in labels}
    few = first_samples(texts, SAMPLES)
    kept = (found["sample"] < SAMPLES).to_numpy()
    before = capture(
        materials.pair.base,
        few,
        sites=sorted(set(sites.values())),
        positions=places_before(few, found[kept]),
        store=materials.folder.root / "acts" / f"before_{name.split()[0].lower()}",
        side="base",
        progress=materials.tell(f"the base reads before the decisions of the {name}"),
    )
    options: dict[str, Any] = {"n_boot": config.n_boot // 2, "seed": config.seed}
    read = preexistence(acts["base"], acts["rl"], labels, tokens=texts, twin=twin, **options)
    early = _ahead(before, found[kept], labels[kept], few, sites, options)
    out = {**read.frames, "ahead": early}
    for table, frame in out.items():
        out[table] = frame.assign(text=name)
        if "label" in frame and "site" in frame and table != "ahead":
            out[table]["reported"] = frame["site"].to_numpy() == frame["label"].map(sites).to_numpy()
    return out


def _ahead(
    before: Mapping[str, Any],
    found: pd.DataFrame,
    labels: pd.DataFrame,
    texts: Rollouts,
    sites: dict[str, str],
    options: dict[str, Any],
) -> pd.DataFrame:
    """What the base's probe says k tokens ahead; a first decision is read in the prompt, others in the completion."""
    within: dict[str, Any] = {name: "text" if name.endswith("(start)") else "completion" for name in sites}
    own = found.reset_index(drop=True)
    found_early = ahead(before, own, labels.reset_index(drop=True), tokens=texts, site=sites, within=within, **options)
    return found_early.frame


def write_tables(materials: Materials, read: list[dict[str, pd.DataFrame]]) -> None:
    """``before_NAME`` for each table, both texts below each other."""
    for name in dict.fromkeys(name for tables in read for name in tables):
        parts = [tables[name] for tables in read if name in tables and not tables[name].empty]
        if parts:
            materials.folder.table(f"before_{name}", pd.concat(parts, ignore_index=True))
