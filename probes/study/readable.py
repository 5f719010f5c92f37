"""The stage that asks whether the strategy about to come can be read in the base model, before its first token."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hooks.capture import capture
from hooks.organisms.chains import Policy, decision_probabilities
from hooks.rollouts import Rollouts
from hooks.twin import random_twin
from probes.evidence import Evidence
from probes.latent.choices import decision_labels, decision_mask
from probes.latent.choices import decision_rows as rows_of
from probes.latent.sweep import sweep
from probes.stats import Estimate
from probes.study.beforehand import SAMPLES, read_both, write_tables
from probes.study.materials import Materials, first_samples
from probes.study.noted import note
from probes.study.says import first
from probes.study.written import spans_of

__all__ = ["decision_activations", "decision_rows", "probes"]

SITES = "resid_post.*"


def decision_rows(materials: Materials) -> tuple[Rollouts, pd.DataFrame]:
    """The base's own texts, and the places where each of their spans was chosen, in capture order."""
    texts = first(materials, "base_samples")
    return texts, _places(materials, texts, "base_samples")


def _places(materials: Materials, texts: Rollouts, name: str) -> pd.DataFrame:
    """The decisions in some of the rollouts called ``name``, in capture order; ``row`` counts the texts."""
    return rows_of(texts, spans_of(materials, name))


def decision_activations(materials: Materials) -> Mapping[str, Any]:
    """Activations of both models at the base text's decisions: a store on disk, base and RL rows paired."""
    texts, found = decision_rows(materials)
    acts: Mapping[str, Any] = capture(
        materials.pair,
        texts,
        sites=SITES,
        positions=decision_mask(texts, found),
        store=materials.folder.root / "acts" / "decisions",
        progress=materials.tell("both models read the decisions"),
    )
    return acts


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
    """Linear probes at every layer for every strategy, beside baselines, controls and the best possible reader.

    The base's own text is swept; then both models read the decisions of both models' texts.
    """
    base = _swept(materials)
    rl = _on_rl_text(materials, {} if base is None else base[1])
    write_tables(materials, [tables for tables in (None if base is None else base[0], rl) if tables is not None])


def _swept(materials: Materials) -> tuple[dict[str, pd.DataFrame], dict[str, str]] | None:
    """Sweep the base on its own text; the readings of both models there, and the layer chosen for each label."""
    config = materials.config
    texts, found = decision_rows(materials)
    labels = decision_labels(found)
    if labels.empty:
        empty = pd.DataFrame(columns=["site", "layer", "label", "place", "n", "positives", "auroc", "low", "high"])
        materials.folder.table("probes", empty)
        materials.folder.table("probes_selected", empty)
        return None
    acts = decision_activations(materials)
    ceiling = None
    if materials.policy is not None:
        ceiling = ceilings(texts, found, labels, materials.policy, materials.pair.base.decode)
        # A decision without a stated probability has no ceiling, so the probe is not judged on it either.
        labels = labels.where(ceiling.notna())
    twin = _twin(materials, texts, found)
    result = sweep(
        acts["base"],
        labels,
        tokens=texts,
        ceiling=ceiling,
        twin=twin,
        seed=config.seed,
        n_boot=config.n_boot // 2,
        progress=materials.tell("probes"),
    )
    chosen = agreed(result.selected)
    read = read_both(materials, "base text", texts, found, labels, acts, twin=twin, chosen=chosen)
    materials.folder.table("probes", _table(result.frame, chosen))
    materials.folder.table("probes_selected", result.selected)
    note(materials.folder, "probes", _evidence(result.selected))
    materials.folder.figure("probes", result.plot())
    return read, chosen


def agreed(selected: pd.DataFrame) -> dict[str, str]:
    """The site of each label that more than half of the folds chose; a label whose folds disagree has none.

    Such a label is read at the layer that was named beforehand (:data:`probes.study.beforehand.DEPTH`): the first of
    many single votes would be a layer that nothing speaks for.
    """
    out = {}
    for label, sites in zip(selected["label"], selected["sites"], strict=True):
        votes = {site: int(count) for site, count in re.findall(r"(\S+) x(\d+)", str(sites))}
        for site, count in votes.items():
            if 2 * count > sum(votes.values()):
                out[str(label)] = site
    return out


def _on_rl_text(materials: Materials, chosen: Mapping[str, str]) -> dict[str, pd.DataFrame] | None:
    """The readings of both models at the decisions of the RL model's text; None where no label is common enough."""
    texts = first_samples(first(materials, "rl_samples"), SAMPLES)
    found = _places(materials, texts, "rl_samples")
    labels = decision_labels(found)
    if labels.empty:
        return None
    acts: Mapping[str, Any] = capture(
        materials.pair,
        texts,
        sites=SITES,
        positions=decision_mask(texts, found),
        store=materials.folder.root / "acts" / "decisions_rl",
        progress=materials.tell("both models read the RL text's decisions"),
    )
    twin = _twin(materials, texts, found)
    return read_both(materials, "RL text", texts, found, labels, acts, twin=twin, chosen=chosen)


def _twin(materials: Materials, texts: Rollouts, found: pd.DataFrame) -> Mapping[str, Any]:
    """The same places in a model of the same shape that was never trained."""
    twin = random_twin(materials.pair.base, seed=materials.config.seed)
    acts: Mapping[str, Any] = capture(twin, texts, sites=SITES, positions=decision_mask(texts, found))
    return acts


def _table(frame: pd.DataFrame, chosen: Mapping[str, str]) -> pd.DataFrame:
    """The sweep under the names the report reads; how its probes read the RL model stands in ``before_transfer``."""
    names = {"rows": "n", "positive": "positives", "baseline_position": "position", "baseline_length": "length",
             "baseline_tokens": "bag"}  # fmt: skip
    table = frame.rename(columns=names)
    table["place"] = table["label"].str.extract(r"\((\w+)\)", expand=False)
    table["reported"] = table["site"] == table["label"].map(dict(chosen))
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
