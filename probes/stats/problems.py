"""Columns of samples to one number a problem, missing values left out and never read as zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

Column = Shaped[np.ndarray, "row"] | pd.Series | Sequence[Any]
"""What these functions take as a column: an array, a pandas column or a plain sequence, one entry a row."""


def as_floats(column: Column) -> Float[np.ndarray, "row"]:
    """A column as float64, with None, ``pandas.NA`` and NaN all as NaN; TypeError for what is no number."""
    try:
        return pd.to_numeric(pd.Series(column, dtype=object), errors="raise").to_numpy(dtype=float, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise TypeError(f"a column of numbers is needed, but {error}; convert the labels to numbers first") from error


def problem_codes(problems: Column | None, n_rows: int) -> tuple[Shaped[np.ndarray, "problem"], Int[np.ndarray, "row"]]:
    """The distinct problems, sorted, and for each row which of them it belongs to; None makes each row a problem.

    Sorting makes every later draw independent of the order in which the rows arrive.

    Raises:
        ValueError: if there are not as many names as rows, or one of them is missing.
    """
    if problems is None:
        return np.arange(n_rows), np.arange(n_rows)
    names = pd.Series(problems)
    if len(names) != n_rows:
        raise ValueError(f"{len(names)} problem names for {n_rows} values; give one name a value")
    if names.isna().any():
        raise ValueError("a row has no problem; name the problem of every row")
    found, codes = np.unique(names.astype(str).to_numpy(dtype=str), return_inverse=True)
    return found, codes.astype(np.int64)


def problem_means(
    values: Column, problems: Column | None = None
) -> tuple[Shaped[np.ndarray, "problem"], Float[np.ndarray, "problem"]]:
    """The mean of each problem's samples: every problem weighs the same, however many samples it has.

    Returns:
        the sorted names of the problems, and a mean for each; NaN for a problem without any value.
    """
    numbers = as_floats(values)
    names, codes = problem_codes(problems, len(numbers))
    present = ~np.isnan(numbers)
    counts = np.bincount(codes[present], minlength=len(names))
    sums = np.bincount(codes[present], weights=numbers[present], minlength=len(names))
    return names, np.divide(sums, counts, out=np.full(len(names), np.nan), where=counts > 0)
