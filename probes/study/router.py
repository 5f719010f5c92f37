"""The stage that lets two models write one text, and measures how much of the gain that recovers."""

from __future__ import annotations

from typing import Any

import pandas as pd

from hooks.rollouts import Rollouts
from probes import routing as router
from probes.study.materials import Materials

SHOWN_TEXTS = 40
"""Mixed texts that the report shows token by token."""


def routing(materials: Materials) -> None:
    """JS gates over several thresholds, each beside random, first-k and entropy gates at the matched rate, and backward."""
    config = materials.config
    base, rl = materials.rollouts("base_greedy"), materials.rollouts("rl_greedy")
    gates = [router.js(threshold) for threshold in config.thresholds]
    move = materials.tell("mixed decoding")
    done: list[str] = []

    def progress(arm: str, texts: int, total: int) -> None:
        if arm not in done:
            done.append(arm)
        move(len(done), len(gates) * 5)

    result = router.route(
        materials.pair,
        materials.problems,
        base=base,
        rl=rl,
        gates=gates,
        n_boot=config.n_boot,
        folder=materials.folder.root / "rollouts" / "mixed",
        progress=progress,
        **materials.settings(),
    )
    curve = result.curve("js")
    materials.folder.table("routing", _arms(result))
    materials.folder.table("routing_contrasts", result.contrasts)
    best = _shown(result)
    gap = result.recoveries[best].gap
    materials.folder.json(
        "routing",
        {
            "share_for_50": _three(curve.needed[0.5]),
            "share_for_90": _three(curve.needed[0.9]),
            "auc": _three(curve.area),
            "gap": _three(gap),
            "arm": best,
            "identified": result.recoveries[best].ratio is not None,
        },
    )
    mixed = result.rollouts[best]
    materials.folder.table("routed_places", router.where(mixed, n_boot=config.n_boot, seed=config.seed))
    materials.folder.table("routed_tokens", router.which(mixed, decode=materials.pair.base.decode))
    materials.folder.json("token_view", token_view(materials, mixed))
    materials.folder.figure("recovery", result.plot())


def _arms(result: router.RouteResult) -> pd.DataFrame:
    """The table of arms under the names the report reads."""
    frame = result.frame.rename(columns={"low": "recovery_low", "high": "recovery_high", "problems": "n"})
    frame["control"] = frame["kind"] != "gate"
    return frame


def _shown(result: router.RouteResult) -> str:
    """The arm that the report shows: the gate nearest to JS > 0.1, the published threshold, chosen before looking."""
    gates = result.frame[result.frame["kind"] == "gate"]
    nearest = int((gates["threshold"] - 0.1).abs().to_numpy().argmin())
    return str(gates["arm"].iloc[nearest])


def _three(value: Any) -> dict[str, float] | None:
    return None if value is None else {name: float(getattr(value, name)) for name in ("value", "low", "high")}


def token_view(materials: Materials, mixed: Rollouts) -> list[dict[str, Any]]:
    """Who wrote which token, for the first texts."""
    tokenizer = materials.pair.base.tokenizer
    texts = []
    for row in mixed.frame.head(SHOWN_TEXTS).to_dict("records"):
        pieces = tokenizer.batch_decode([[token] for token in row["ids"]], skip_special_tokens=True)  # type: ignore[attr-defined]
        correct = row["correct"]
        texts.append(
            {
                "problem": row["problem"],
                "prompt": row["prompt"],
                "correct": None if pd.isna(correct) else bool(correct),
                "tokens": [
                    {
                        "text": piece,
                        "author": author,
                        "js": score,
                        "open": bool(is_open),
                        "changed": bool(changed),
                        "other": None,
                    }
                    for piece, author, score, is_open, changed in zip(
                        pieces, row["author"], row["gate_score"], row["gate_open"], row["changed"], strict=True
                    )
                ],
            }
        )
    return texts
