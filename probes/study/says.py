"""Stages that compare what the two models say, token by token and sample by sample."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from hooks import summaries
from hooks.rollouts import Rollouts
from hooks.score import TokenTable, score
from probes.evidence import Evidence
from probes.samples import majority, passk, writing
from probes.stats import bootstrap_problems
from probes.study.materials import Materials, first_samples
from probes.study.noted import note


def tokens_of(materials: Materials, role: str) -> TokenTable:
    """The token table of one model's greedy text under both models, from disk where it is."""
    path = materials.folder.root / "tokens" / f"{role}_greedy.parquet"
    if not path.exists():
        move = materials.tell(f"both models read the {role} text")
        path.parent.mkdir(parents=True, exist_ok=True)
        score(materials.pair, materials.rollouts(f"{role}_greedy"), progress=move).save(path)
    return TokenTable.load(path)


def shift(materials: Materials) -> None:
    """Where, along the RL model's own text, the two models part."""
    rl, base = tokens_of(materials, "rl"), tokens_of(materials, "base")
    options: dict[str, Any] = {"n_boot": materials.config.n_boot, "seed": materials.config.seed}
    rows = []
    # Where the models part, after arXiv 2603.22446; a problem on which they never do has no share.
    parted = rl.frame["js"] > 0.1
    for what, mask in (
        ("unshifted (rank 1 in the base)", rl.frame["rank_base"] == 1),
        ("marginal (rank 2 or 3)", rl.frame["rank_base"].between(2, 3)),
        ("shifted (rank above 3)", rl.frame["rank_base"] > 3),
        ("JS at most 0.1 nats", rl.frame["js"] <= 0.1),
        ("JS at most 0.01 nats", rl.frame["js"] <= 0.01),
        ("of JS above 0.1: both have the same first choice", (rl.frame["top_base"] == rl.frame["top_rl"])[parted]),
        ("of JS above 0.1: among the first 3 of the base", (rl.frame["rank_base"] <= 3)[parted]),
        ("of JS above 0.1: below 0.01 in the base", (rl.frame["logp_base"] < math.log(0.01))[parted]),
    ):
        asked = mask.astype(float).reindex(rl.frame.index)
        found = bootstrap_problems(asked, rl.frame["problem"], **options)
        rows.append({"what": what, "value": found.value, "low": found.low, "high": found.high})
    materials.folder.table("shift", pd.DataFrame(rows))
    materials.folder.table("perplexity", summaries.perplexity_table([base, rl]))
    materials.folder.json("shift", summaries.top_entropy_overlap(rl).to_dict("records")[0])
    note(materials.folder, "shift", Evidence.gather(tokens=rl.frame, **options))
    places = summaries.by_relative_position(rl, columns=("js", "entropy_base", "entropy_rl"), bins=10)
    figure = go.Figure()
    middle = (places["start"] + places["stop"]) / 2
    for column, name in (("js", "JS"), ("entropy_base", "entropy, base"), ("entropy_rl", "entropy, RL")):
        figure.add_trace(go.Scatter(x=middle, y=places[column], mode="lines+markers", name=name))
    figure.update_layout(xaxis_title="place in the RL text (0 to 1)", yaxis_title="nats, mean over texts (one run)")
    materials.folder.figure("js_by_position", figure)


def samples(materials: Materials) -> None:
    """pass@k, maj@k, accuracy, length and entropy of both models."""
    config = materials.config
    options: dict[str, Any] = {"n_boot": config.n_boot, "seed": config.seed}
    sampled = {role: materials.rollouts(f"{role}_samples") for role in ("base", "rl")}
    greedy = {role: materials.rollouts(f"{role}_greedy") for role in ("base", "rl")}
    found = passk(base=sampled["base"], rl=sampled["rl"], **options)
    materials.folder.table("passk", found.frame)
    materials.folder.table("passk_accuracy", found.histogram)
    materials.folder.table("passk_to_check", found.to_check)
    note(materials.folder, "samples", Evidence.gather(passk=found))
    solvable = found.solvable.set_index("cell")["share"].to_dict()
    materials.folder.json(
        "passk",
        {
            "crossing": None if found.crossing is None else _estimate(found.crossing),
            "crossing_note": found.crossing_note,
            "base_at_the_largest_k_minus_tuned_at_1": _estimate(found.delta_se),
            "solved_by_both_over_solved_by_either": _estimate(found.jaccard),
            "solvable": {str(cell).lower().replace(" ", "_"): share for cell, share in solvable.items()},
        },
    )
    materials.folder.figure("passk", found.plot())
    votes = majority(sampled["base"], sampled["rl"], **options)
    materials.folder.table("majority", votes.frame)
    materials.folder.json("majority", {"headline": votes.headline(), "voting": _estimate(votes.voting)})
    entropies = {role: tokens_of(materials, role).frame for role in ("base", "rl")}
    written = writing(greedy, tokens=entropies, **options)
    materials.folder.table("writing", written.frame)
    rows = [
        _accuracy(role, decoding, texts, entropies[role] if decoding == "greedy" else None, options)
        for decoding, table in (("greedy", greedy), ("sampled", sampled))
        for role, texts in table.items()
    ]
    materials.folder.table("accuracy", pd.DataFrame(rows))


def _accuracy(
    role: str, decoding: str, texts: Rollouts, tokens: pd.DataFrame | None, options: dict[str, Any]
) -> dict[str, object]:
    frame = texts.frame
    found = bootstrap_problems(frame["correct"], frame["problem"], **options)
    return {
        "model": role,
        "decoding": decoding,
        "accuracy": found.value,
        "low": found.low,
        "high": found.high,
        "length": float(frame["ids"].map(len).mean()),
        "entropy": None if tokens is None else float(tokens[f"entropy_{role}"].mean()),
        "n_problems": int(frame["problem"].nunique()),
        "n_samples": len(frame),
    }


def _estimate(value: Any) -> dict[str, float]:
    return {name: float(getattr(value, name)) for name in ("value", "low", "high")}


def first(materials: Materials, name: str) -> Rollouts:
    """The samples that probes read."""
    return first_samples(materials.rollouts(name), materials.config.probe_samples)
