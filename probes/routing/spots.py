"""Where in a text do the routed tokens fall, and which tokens are they?

``where`` cuts every mixed text into equal parts of its own length and gives, for each part, the share of its tokens
that were written with the gate open, pooled over texts, with an interval from resampling problems. ``which`` counts the
tokens that stand at open gates; ``lift`` is a token's share of open places over the share among all places, so that 1
is a token that the gate neither seeks nor shuns.

What it does not show: what a place *does*. A token that is often routed need not matter for the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from hooks.rollouts import Rollouts
from probes.stats.bootstrap import bootstrap_table


def _exploded(mixed: Rollouts) -> pd.DataFrame:
    """A row a token: problem, sample, index, length of its text, id, open, changed.

    Raises:
        ValueError: the texts carry no record of a gate.
    """
    if "gate_open" not in mixed.frame.columns:
        raise ValueError("These texts carry no column gate_open; they were not written by hooks.mix.mix.")
    parts = []
    for row in mixed.frame.to_dict("records"):
        n = len(row["ids"])
        changed = row.get("changed", [False] * n)
        parts.append(
            pd.DataFrame(
                {
                    "problem": row["problem"], "sample": row["sample"], "index": np.arange(n), "length": n,
                    "id": row["ids"], "open": np.asarray(row["gate_open"], bool), "changed": np.asarray(changed, bool),
                }
            )
        )  # fmt: skip
    columns = ["problem", "sample", "index", "length", "id", "open", "changed"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def where(mixed: Rollouts, *, parts: int = 10, n_boot: int = 2000, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Share of open places in each ``parts``-th of the texts: a row a part.

    Columns: ``start`` and ``stop`` (of the part, as shares of the text), ``tokens``, ``open``, ``changed`` (counts),
    ``share``, ``low``, ``high``.

    Raises:
        ValueError: fewer than one part, or texts without a record of a gate.

    It does not compare texts of one length only: the parts of a short text are few tokens.
    """
    if parts < 1:
        raise ValueError(f"A text is cut into at least one part, not {parts}.")
    tokens = _exploded(mixed)
    tokens["part"] = (tokens["index"] * parts // tokens["length"]).astype(int) if len(tokens) else 0
    rows: list[dict[str, Any]] = []
    for part in range(parts):
        inside = tokens[tokens["part"] == part]
        sums = inside.groupby("problem")["open"].agg(["sum", "size"]).to_numpy(dtype=float).reshape(-1, 2)
        share = bootstrap_table(sums, lambda o, n: o / n, n_boot=n_boot, level=level, seed=seed, label=f"part {part}")
        rows.append(
            {
                "start": part / parts, "stop": (part + 1) / parts, "tokens": len(inside),
                "open": int(inside["open"].sum()), "changed": int(inside["changed"].sum()),
                "share": share.value, "low": share.low, "high": share.high,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def which(mixed: Rollouts, *, decode: Callable[[list[int]], object] | None = None, top: int = 30) -> pd.DataFrame:
    """The tokens that stand most often at open gates: a row a token, most frequent first.

    Columns: ``id``, ``text`` (where ``decode`` is given, usually ``pair.base.decode``), ``tokens`` (all its
    occurrences), ``open``, ``changed``, ``share`` (open over occurrences) and ``lift``.

    Raises:
        ValueError: texts without a record of a gate.

    It does not show what stood there otherwise; compare the base's own texts for that.
    """
    tokens = _exploded(mixed)
    columns = ["id", "text", "tokens", "open", "changed", "share", "lift"]
    if tokens.empty or not tokens["open"].any():
        return pd.DataFrame(columns=columns)
    table = tokens.groupby("id").agg(tokens=("open", "size"), open=("open", "sum"), changed=("changed", "sum"))
    table = table.reset_index().sort_values(["open", "tokens", "id"], ascending=[False, True, True]).head(top)
    table["share"] = table["open"] / table["tokens"]
    table["lift"] = table["share"] / tokens["open"].mean()
    table["text"] = [str(decode([int(token)])) if decode is not None else None for token in table["id"]]
    return table[table["open"] > 0][columns].reset_index(drop=True)
