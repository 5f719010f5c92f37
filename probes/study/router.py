"""The stage that lets two models write one text, and measures how much of the gain that recovers."""

from __future__ import annotations

from typing import Any

import pandas as pd

from hooks.rollouts import Rollouts
from probes import routing as router
from probes.evidence import Evidence
from probes.study.materials import Materials
from probes.study.noted import note

SHOWN = 0.1
"""Threshold of the arm that gets controls and is shown: the published one, chosen before looking."""
DRAFT = 4
"""Tokens the base drafts before the RL model reads them."""
SHOWN_TEXTS = 40
"""Mixed texts that the report shows token by token."""


def routing(materials: Materials) -> None:
    """JS gates over several thresholds, each beside random, first-k and entropy gates at its rate, and backward."""
    config = materials.config
    base, rl = materials.rollouts("base_greedy"), materials.rollouts("rl_greedy")
    gates = [router.js(threshold) for threshold in config.thresholds]
    nearest = min(abs(gate.threshold - SHOWN) for gate in gates)
    move = materials.tell("mixed decoding")
    done: list[str] = []

    def progress(arm: str, texts: int, total: int) -> None:
        if arm not in done:
            done.append(arm)
        move(len(done), len(gates) + len(router.CONTROLS))

    result = router.route(
        materials.pair,
        materials.problems,
        base=base,
        rl=rl,
        gates=gates,
        matched=[gate for gate in gates if abs(gate.threshold - SHOWN) == nearest],
        n_boot=config.n_boot,
        folder=materials.folder.root / "rollouts" / "mixed",
        # A fixed draft: a length chosen by the clock would change the last digit of a divergence from run to run.
        draft=DRAFT,
        progress=progress,
        **materials.settings(),
    )
    curve = result.curve("js")
    materials.folder.table("routing", _arms(result))
    materials.folder.table("routing_contrasts", result.contrasts)
    best = _shown(result)
    gap = result.recoveries[best].gap
    note(materials.folder, "routing", Evidence.gather(route=result, arm=best))
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
    places = router.where(mixed, n_boot=config.n_boot, seed=config.seed)
    places["relative_position"] = (places["start"] + places["stop"]) / 2
    materials.folder.table("routed_places", places)
    words = router.which(mixed, decode=materials.pair.base.tokenizer.decode)  # type: ignore[attr-defined]
    words = words.drop(columns="share").rename(columns={"text": "token", "open": "count"})
    materials.folder.table("routed_tokens", words.assign(share=words["count"] / words["count"].sum()))
    materials.folder.json("token_view", token_view(materials.pair.base.tokenizer, mixed))
    materials.folder.figure("recovery", result.plot())


def _arms(result: router.RouteResult) -> pd.DataFrame:
    """The table of arms under the names the report reads."""
    frame = result.frame.rename(columns={"low": "recovery_low", "high": "recovery_high", "problems": "n"})
    frame["control"] = frame["kind"] != "gate"
    return frame


def _shown(result: router.RouteResult) -> str:
    """The arm with controls that the report shows: the gate nearest to JS > 0.1."""
    gates = result.frame[result.frame["kind"] == "gate"]
    nearest = int((gates["threshold"] - SHOWN).abs().to_numpy().argmin())
    return str(gates["arm"].iloc[nearest])


def _three(value: Any) -> dict[str, float] | None:
    return None if value is None else {name: float(getattr(value, name)) for name in ("value", "low", "high")}


def token_view(tokenizer: Any, mixed: Rollouts, *, shown: int = SHOWN_TEXTS) -> list[dict[str, Any]]:
    """Who wrote which token, for the first texts: what the report and the router's own page show."""
    texts = []
    for row in mixed.frame.head(shown).to_dict("records"):
        pieces = tokenizer.batch_decode([[token] for token in row["ids"]], skip_special_tokens=True)
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
                        "js": js,
                        "open": bool(is_open),
                        "changed": bool(changed),
                        "other": None,
                    }
                    for piece, author, js, is_open, changed in zip(
                        pieces, row["author"], row["js"], row["gate_open"], row["changed"], strict=True
                    )
                ],
            }
        )
    return texts
