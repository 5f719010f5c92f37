"""What a study writes beyond the least: kinds of arms, contrasts, writing, ranks, findings, figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

MORE_TABLES = ("routing_contrasts", "writing", "perplexity", "weights_modules", "templates")


def enrich(root: Path) -> None:
    """Rewrite a plain fake study in the fuller shape, and add the further tables and a figure."""
    results = root / "results"
    for name, table in _tables(results).items():
        table.to_parquet(results / f"{name}.parquet", index=False)
    claims = json.loads((results / "claims.json").read_text())
    claims[0] |= _findings()
    (results / "claims.json").write_text(json.dumps(claims))
    record = json.loads((results / "routing.json").read_text())
    record["share_for_50"] = {"value": 0.019, "low": 0.015, "high": 0.024}
    (results / "routing.json").write_text(json.dumps(record))
    middle = np.linspace(0.05, 0.95, 10)
    figure = go.Figure([go.Scatter(x=middle, y=np.exp(-4 * middle) * height, name=name) for name, height in LINES])
    figure.update_layout(xaxis_title="place in the RL text (0 to 1)", yaxis_title="nats, mean over texts (one run)")
    (root / "figures/js_by_position.json").write_text(figure.to_json())


LINES = (("JS", 0.2), ("entropy, base", 0.9), ("entropy, RL", 0.3))


def _tables(results: Path) -> dict[str, pd.DataFrame]:
    routing = pd.read_parquet(results / "routing.parquet")
    kinds = {"forward": "gate", "random places": "random", "first places": "first", "backward": "backward"}
    routing["kind"] = routing["arm"].map(kinds).fillna("resample")
    routing["arm"] = [f"{row.arm} {row.gate} {row.threshold}" for row in routing.itertuples()]
    routing["effective_low"], routing["effective_high"] = routing["effective"] - 0.002, routing["effective"] + 0.002
    contrast = {"arm": "forward js 0.1", "control": "random at js 0.1", "difference": 0.41, "low": 0.36, "high": 0.46}
    share = {"recovery": 0.85, "recovery_low": 0.76, "recovery_high": 0.94, "problems": 200, "kind": "random"}
    start = np.arange(10) / 10
    places = pd.DataFrame({"start": start, "stop": start + 0.1, "share": 0.2 * np.exp(-3 * start)})
    places["low"], places["high"] = 0.8 * places["share"], 1.2 * places["share"]
    tokens = pd.read_parquet(results / "routed_tokens.parquet").rename(columns={"token": "text", "count": "open"})
    weights = pd.read_parquet(results / "weights.parquet").rename(columns={"numel": "size"})
    weights = weights.assign(numerical_rank=0.98, null_rank=1.0, stable_rank_null=19.0, entropy_rank_null=70.0)
    modules = weights.groupby("module", as_index=False)[["unchanged_bf16", "stable_rank", "stable_rank_null"]].mean()
    return {
        "routing": routing,
        "routing_contrasts": pd.DataFrame([{**contrast, **share}]),
        "routed_places": places,
        "routed_tokens": tokens.assign(changed=tokens["open"] // 2, share=0.4, lift=9.1),
        "writing": _writing(),
        "perplexity": _perplexity(),
        "weights": weights,
        "weights_modules": modules,
        "templates": pd.DataFrame([{"model": "base", "template": "chat", "accuracy": 0.4, "low": 0.3, "high": 0.5}]),
    }


def _writing() -> pd.DataFrame:
    rows = []
    for arm, factor in (("base", 1.0), ("rl", 1.3), ("rl - base", 0.3)):
        for quantity, value in (("tokens", 31.0), ("cut off", 0.02), ("entropy", 0.4), ("accuracy", 0.5)):
            found = factor * value
            rows.append({"arm": arm, "quantity": quantity, "value": found, "low": 0.9 * found, "high": 1.1 * found})
    return pd.DataFrame(rows)


def _perplexity() -> pd.DataFrame:
    rows = [(author, reader, 200, 8000, 1.4, 1.3, 1.1, 1.6) for author in ("base", "rl") for reader in ("base", "rl")]
    return pd.DataFrame(rows, columns=["author", "reader", "texts", "tokens", "ppl", "median", "q25", "q75"])


def _findings() -> dict[str, Any]:
    part = {"name": "recovered at 4 % routed", "verdict": "supported", "rule": "above 0.5", "unit": "share"}
    other = {
        "name": "read over the best baseline",
        "verdict": "not identified",
        "rule": "more than 0.02",
        "unit": "auroc",
    }
    found = [{**part, "value": 0.972, "low": 0.914, "high": 1.03}, {**other, "value": 0.1, "low": -0.01, "high": 0.2}]
    published = [
        {"paper": f"Paper {i}", "arxiv": "2510.07364", "metric": "recovered", "value": 0.5 + i / 10, "unit": "share"}
        | {"status": "G"}
        for i in range(5)
    ]
    return {"unit": "share", "findings": found, "published": published}
