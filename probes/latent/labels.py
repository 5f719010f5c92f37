"""Labels as a table: one row a label, 1 where it holds, 0 where it does not, NaN where the question does not arise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from probes.stats.problems import as_floats

Labels = Mapping[str, Any] | pd.DataFrame | pd.Series | Shaped[np.ndarray, "..."] | Sequence[Any]
"""One name a row (each name becomes a label against the rest), one truth value a row, or a column for each label."""


def label_table(labels: Labels, n_rows: int) -> tuple[tuple[str, ...], Float[np.ndarray, "label row"]]:
    """Names of the labels and their values.

    A column of names gives one label a name, sorted, each against all other rows that have a name; a column of truth
    values gives the one label ``"label"``; a table or mapping gives its columns.

    Raises:
        ValueError: when a column has not one entry a row, or a label has values other than 0, 1 and missing.
    """
    if isinstance(labels, (pd.DataFrame, Mapping)):
        columns = {str(name): column for name, column in labels.items()}
    else:
        columns = _one_column(pd.Series(labels, dtype=object))
    if not columns:
        raise ValueError("there is no label to read; give a column of names or a mapping of columns")
    out = np.empty((len(columns), n_rows))
    for at, (name, column) in enumerate(columns.items()):
        values = as_floats(column)
        if len(values) != n_rows:
            raise ValueError(f"label {name!r} has {len(values)} values for {n_rows} rows; give one a row")
        if not np.isin(values[~np.isnan(values)], (0.0, 1.0)).all():
            raise ValueError(f"label {name!r} has values other than 0, 1 and missing; make it a truth value")
        out[at] = values
    return tuple(columns), out


def score_table(scores: Any, names: tuple[str, ...], n_rows: int) -> dict[str, Float[np.ndarray, "row"]]:
    """Scores of the caller's for some of the labels: a column for each label, or one column if there is one label.

    Raises:
        ValueError: for a label that does not exist or a column of another length.
    """
    if scores is None:
        return {}
    columns = scores if isinstance(scores, (pd.DataFrame, Mapping)) else {names[0]: scores}
    if columns is not scores and len(names) > 1:
        raise ValueError(f"one column of scores for the labels {', '.join(names)}; give a mapping from label to column")
    out = {}
    for name, column in columns.items():
        values = as_floats(column)
        if name not in names or len(values) != n_rows:
            known = ", ".join(names)
            raise ValueError(f"scores for {name!r} ({len(values)} values) fit no label of {n_rows} rows: {known}")
        out[str(name)] = values
    return out


def _one_column(column: pd.Series) -> dict[str, Any]:
    present = column.dropna()
    if all(isinstance(value, (bool, np.bool_, int, float, np.integer, np.floating)) for value in present):
        return {"label": column}
    names = sorted({str(value) for value in present})
    return {name: (column.map(str) == name).astype(float).where(column.notna()) for name in names}
