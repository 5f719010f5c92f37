"""The rows in which a pair's figures stand beside those of its contrasts, whatever measured them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from probes.stats import Estimate

COLUMNS = (
    "role", "measure", "quantity", "unit", "ours", "ours_low", "ours_high", "contrast", "contrast_low",
    "contrast_high", "difference", "difference_low", "difference_high", "n",
)  # fmt: skip
"""A row a role and quantity: the pair's figure, the contrast's, and ours minus it over the same problems."""


def lined_up(
    measure: str, beside: pd.DataFrame, ours: Mapping[str, Estimate], unit: Callable[[str], str]
) -> pd.DataFrame:
    """Rows of :data:`COLUMNS` from a measure's table of contrasts and the pair's own figures.

    Args:
        measure: what the rows belong to.
        beside: see :data:`probes.stats.contrast.COLUMNS`.
        ours: the pair's figure by quantity.
        unit: of a quantity, as the report writes it.
    """
    rows = []
    for row in beside.to_dict("records"):
        name = str(row["quantity"])
        own = ours[name]
        rows.append(
            (row["contrast"], measure, name, unit(name), own.value, own.low, own.high, row["value"], row["low"],
             row["high"], row["difference"], row["difference_low"], row["difference_high"], row["n"])
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))
