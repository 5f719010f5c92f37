"""The stage that asks whether the strategy about to come can be read in the base model, before its first token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hooks.capture import capture
from hooks.organisms.chains import Policy, decision_probabilities
from hooks.rollouts import Rollouts
from hooks.sites import Positions
from hooks.twin import random_twin
from probes.evidence import Evidence
from probes.latent.spans import OTHER, decisions
from probes.latent.sweep import sweep
from probes.latent.transfer import transfer
from probes.stats import Estimate
from probes.study.materials import Materials
from probes.study.noted import note
from probes.study.says import first
from probes.study.written import spans_of

FEWEST = 30
"""Decisions for and against a strategy below which no probe is fitted."""
SITES = "resid_post.*"


def decision_rows(materials: Materials) -> tuple[Rollouts, pd.DataFrame]:
    """The base's own texts, and the places where each of their spans was chosen, in capture order."""
    texts = first(materials, "base_samples")
    found = decisions(spans_of(materials, "base_samples"), texts)
    order = {key: at for at, key in enumerate(zip(texts.frame["problem"], texts.frame["sample"], strict=True))}
    row = [order[key] for key in zip(found["problem"], found["sample"], strict=True)]
    found = found.assign(row=row).sort_values(["row", "position"]).reset_index(drop=True)
    return texts, found


def decision_activations(materials: Materials) -> Mapping[str, Any]:
    """Activations of both models at the base text's decisions: a store on disk, base and RL rows paired."""
    texts, found = decision_rows(materials)
    acts: Mapping[str, Any] = capture(
        materials.pair,
        texts,
        sites=SITES,
        positions=_masks(texts, found),
        store=materials.folder.root / "acts" / "decisions",
        progress=materials.tell("both models read the decisions"),
    )
    return acts


def label_columns(found: pd.DataFrame) -> pd.DataFrame:
    """A column for each strategy and place that is common enough: 1 chosen, 0 not chosen, missing elsewhere.

    The first decision of a text and those inside it are different questions: what can be chosen differs, and a probe
    that only knew where it stands would look good on both together.
    """
    columns = {}
    for place in ("start", "inner"):
        here = found["place"] == place
        for strategy in sorted(set(found.loc[here, "strategy"]) - {OTHER}):
            chosen = (found["strategy"] == strategy) & here
            if min(chosen.sum(), here.sum() - chosen.sum()) >= FEWEST:
                columns[f"{strategy} ({place})"] = chosen.astype(float).where(here)
    return pd.DataFrame(columns, index=found.index)


def ceilings(texts: Rollouts, found: pd.DataFrame, labels: pd.DataFrame, policy: Policy, decode: Any) -> pd.DataFrame:
    """The stated probability of each label at each decision; missing where the text left the organisms' language."""
    known: dict[tuple[str, str], dict[str, float] | None] = {}
    rows = []
    prompts, ids = list(texts.frame["prompt"]), list(texts.frame["ids"])
    for row, index in zip(found["row"], found["index"], strict=True):
        key = (prompts[row], decode(list(ids[row][:index])))
        if key not in known:
            known[key] = decision_probabilities(*key, policy)
        rows.append(known[key])
    out = {}
    for name in labels:
        strategy = str(name).split(" (")[0]
        values = [np.nan if row is None else row.get(strategy, 0.0) for row in rows]
        out[name] = pd.Series(values, index=found.index)
    return pd.DataFrame(out, index=found.index)


def probes(materials: Materials) -> None:
    """Linear probes at every layer for every strategy, beside baselines, controls and the best possible reader."""
    config = materials.config
    texts, found = decision_rows(materials)
    labels = label_columns(found)
    if labels.empty:
        empty = pd.DataFrame(columns=["site", "layer", "label", "place", "n", "positives", "auroc", "low", "high"])
        materials.folder.table("probes", empty)
        materials.folder.table("probes_selected", empty)
        return
    acts = decision_activations(materials)
    ceiling = None
    if materials.policy is not None:
        ceiling = ceilings(texts, found, labels, materials.policy, materials.pair.base.decode)
        # A decision without a stated probability has no ceiling, so the probe is not judged on it either.
        labels = labels.where(ceiling.notna())
    result = sweep(
        acts["base"],
        labels,
        tokens=texts,
        ceiling=ceiling,
        twin=_twin(materials, texts, found),
        seed=config.seed,
        n_boot=config.n_boot // 2,
        progress=materials.tell("probes"),
    )
    read = transfer(acts["base"], acts["rl"], labels, seed=config.seed, n_boot=config.n_boot // 2)
    materials.folder.table("probes", _table(result.frame, result.selected, read.frame))
    materials.folder.table("probes_selected", result.selected)
    materials.folder.table("probes_transfer", read.frame)
    note(materials.folder, "probes", _evidence(result.selected))
    materials.folder.figure("probes", result.plot())


def _masks(texts: Rollouts, found: pd.DataFrame) -> Positions:
    """The decisions as positions of a capture."""
    chosen = [[False] * len(ids) for ids, _ in texts.sequences()]
    for row, position in zip(found["row"], found["position"], strict=True):
        chosen[row][position] = True
    return Positions.mask(chosen)


def _twin(materials: Materials, texts: Rollouts, found: pd.DataFrame) -> Mapping[str, Any]:
    """The same places in a model of the same shape that was never trained."""
    twin = random_twin(materials.pair.base, seed=materials.config.seed)
    acts: Mapping[str, Any] = capture(twin, texts, sites=SITES, positions=_masks(texts, found))
    return acts


def _table(frame: pd.DataFrame, selected: pd.DataFrame, read: pd.DataFrame) -> pd.DataFrame:
    """The sweep under the names the report reads, with the reading of the RL model beside it."""
    names = {"rows": "n", "positive": "positives", "baseline_position": "position", "baseline_length": "length",
             "baseline_tokens": "bag"}  # fmt: skip
    beside = read.rename(columns={"low": "rl_minus_base_low", "high": "rl_minus_base_high"})
    table = frame.rename(columns=names).merge(beside.drop(columns=["base_auroc", "p"]), on=["site", "label"])
    table["place"] = table["label"].str.extract(r"\((\w+)\)", expand=False)
    # The site a reader may quote is the one that nested selection chose most often.
    chosen = {label: sites.split(" x")[0] for label, sites in zip(selected["label"], selected["sites"], strict=True)}
    table["reported"] = table["site"] == table["label"].map(chosen)
    return table


def _evidence(selected: pd.DataFrame) -> Evidence:
    """The label with the largest lead over its best baseline; chosen among labels, so its interval is a bit short."""
    known = selected.dropna(subset=["over_baseline"])
    if known.empty:
        return Evidence()
    row = known.sort_values("over_baseline").iloc[-1]
    count, how = int(row["problems"]), f"{row['label']}, nested choice of layer, bootstrap over problems"
    ahead = Estimate(row["over_baseline"], row["over_baseline_low"], row["over_baseline_high"], count, how)
    return Evidence(
        readability=Estimate(row["auroc"], row["low"], row["high"], count, how), readability_over_baseline=ahead
    )
