"""Which rows of a store have which label: from a table of the user's, or from the strategies that the texts chose.

A table of labels is joined to the rows by the columns that both have (problem, sample, pos, ...), or stands beside them
line by line.  Strategies are read as the study reads them: a row is a *decision* where it is the last token read before
a labelled stretch begins; a label is 1 where the strategy was chosen, 0 where another was, missing elsewhere.

A label says what was written next, by rules that make mistakes; see :mod:`probes.latent.strategies`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hooks.rollouts import Rollouts
from hooks.rows import KEYS, join_labels
from probes.latent.choices import FEWEST, decision_labels, decision_rows
from probes.latent.labels import label_table
from probes.latent.strategies import annotate


def read_labels(path: str | Path, rows: pd.DataFrame, *, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Labels from a file, a line a row of the store and a column a label: 1, 0, or missing.

    Args:
        path: a ``.parquet`` or ``.csv`` file.  Columns named as those of ``rows`` (problem, sample, pos, index,
            sequence, span) say which row a line is about; without any there must be a line for each row, in order.
            A column of numbers or truth values is a label; a column of names gives one label a name.
        rows: the store's table of rows.
        columns: which columns are labels; all that are no keys when empty.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: for a file of another kind, columns that are not there, or another number of lines than rows.
    """
    table = _read(Path(path))
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(map(repr, missing))}; it has {', '.join(map(str, table))}")
    keys = [name for name in KEYS if name in table and name in rows]
    wanted = list(columns) or [str(name) for name in table if name not in KEYS and name not in rows]
    if not wanted:
        raise ValueError(f"{path} has no column of labels, only {', '.join(map(str, table)) or 'nothing'}; add one")
    if keys:
        aside = table[keys + wanted].rename(columns={name: f"label {name}" for name in wanted})
        joined = join_labels(rows, aside)
        found = pd.DataFrame({name: joined[f"label {name}"] for name in wanted})
        if not found.notna().any(axis=None):
            raise ValueError(
                f"no line of {path} is about a row of the store, by {', '.join(keys)}; are both of the same texts?"
            )
    elif len(table) != len(rows):
        raise ValueError(
            f"{path} has {len(table)} lines and the store has {len(rows)} rows; give one a row, or columns to join "
            f"by ({', '.join(name for name in KEYS if name in rows)})"
        )
    else:
        found = table[wanted]
    return _truth_values(found.reset_index(drop=True), path)


def decided(texts: Rollouts, *, annotator: str | Path = "auto", tokenizer: Any = None) -> pd.DataFrame:
    """The places where a stretch of each text was chosen, in the order of a capture.

    Columns: those of :func:`probes.latent.spans.decisions`, and ``row``, the number of the text.

    Raises:
        ValueError: as :func:`probes.latent.strategies.annotate`.
    """
    return decision_rows(texts, annotate(texts, annotator, tokenizer=tokenizer))


def strategy_labels(rows: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """A column for each strategy and place that is common enough, a line a row of the store; missing off decisions.

    Raises:
        ValueError: when the store holds none of the decisions, or no strategy is common enough to be read.
    """
    held = rows[["sequence", "pos"]].assign(line=np.arange(len(rows)))
    there = found.merge(held, left_on=["row", "position"], right_on=["sequence", "pos"], how="inner")
    if there.empty:
        raise ValueError(
            "the store holds no row at a decision; capture positions 'generated' (or 'all') of the same texts"
        )
    labels = decision_labels(there)
    if labels.empty:
        raise ValueError(
            f"no strategy was chosen and not chosen at least {FEWEST} times each in the {len(there)} decisions; "
            "give more texts"
        )
    return labels.set_index(there["line"].to_numpy()).reindex(np.arange(len(rows)))


def same_texts(rows: pd.DataFrame, texts: Rollouts) -> None:
    """Check that every row of a store names a token that stands at its place in the texts.

    Raises:
        ValueError: when one does not.
    """
    if "sequence" not in rows or "id" not in rows:
        raise ValueError("the store's rows do not say which token of which text they are; capture the texts again")
    ids = [ids for ids, _ in texts.sequences()]
    numbers, places = rows["sequence"].to_numpy(), rows["pos"].to_numpy()
    lengths = np.array([len(one) for one in ids])
    inside = numbers < len(ids)
    inside[inside] = places[inside] < lengths[numbers[inside]]
    starts = np.cumsum(lengths) - lengths
    flat = np.concatenate([np.asarray(one, dtype=np.int64) for one in ids])
    if not inside.all() or (flat[starts[numbers] + places] != rows["id"].to_numpy()).any():
        raise ValueError("the store was captured from other texts than these rollouts; give the ones it was made of")


def _truth_values(table: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    """A column of names becomes a column for each name."""
    columns: dict[str, Any] = {}
    for name, column in table.items():
        numbers = pd.api.types.is_numeric_dtype(column)
        names, values = label_table({str(name): column} if numbers else column, len(table))
        for own, value in zip(names, values, strict=True):
            told = own if numbers or table.shape[1] == 1 else f"{name}={own}"
            columns[str(name) if names == ("label",) else told] = value
    out = pd.DataFrame(columns)
    for name, column in out.items():
        if column.nunique() < 2:
            raise ValueError(f"{path}: the label {name!r} is the same wherever it is known; there is nothing to read")
    return out


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"there are no labels at {path}; give a .parquet or .csv file")
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix != ".csv":
        raise ValueError(f"labels are read from .parquet and .csv, not from {path.name}")
    return pd.read_csv(path, dtype={"problem": str})
