"""What every result of this package is: a frozen table that prints short, draws itself and knows how it was made."""

from __future__ import annotations

import html
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import pandas as pd
import plotly.graph_objects as go

MANIFEST_PACKAGES = ("whenlens", "torch", "transformers", "transformer-lens", "numpy", "scikit-learn")
"""Distributions whose versions a manifest records."""


def manifest(**entries: Any) -> dict[str, Any]:
    """What is needed to make a result again: the caller's entries beside the versions of Python and the libraries.

    There is no time and no machine in it, so that the same run gives the same manifest.  A package that is not
    installed is None.
    """
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in MANIFEST_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {**entries, "versions": versions}


@dataclass(frozen=True, repr=False, eq=False)
class Result:
    """Base of the results; a subclass is ``@dataclass(frozen=True, repr=False, eq=False)`` and offers ``frame``.

    ``frame`` is a field or a property with the table as a :class:`pandas.DataFrame`; ``manifest`` is given by keyword.
    ``frame`` is not defined here, because a dataclass would take an inherited property for a field's default.
    """

    manifest: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    @property
    def level(self) -> float:
        """Of all intervals, as the manifest has it; 0.95 where it says nothing."""
        return float(self.manifest.get("level", 0.95))

    def plot(self) -> go.Figure:
        """The result as a figure; a result without a picture of its own is drawn as its table."""
        frame = rounded(_frame(self))
        return go.Figure(
            go.Table(
                header={"values": [html.escape(str(name)) for name in frame.columns], "align": "left"},
                cells={"values": [[html.escape(str(v)) for v in frame[name]] for name in frame], "align": "left"},
            )
        )

    def headline(self) -> str:
        """The line above the table when the result is printed."""
        rows = len(_frame(self))
        return f"{type(self).__name__}: {rows} row{'' if rows == 1 else 's'}"

    def __str__(self) -> str:
        return f"{self.headline()}\n{short_table(_frame(self))}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        table = rounded(_frame(self)).to_html(index=False, max_rows=20, escape=True, na_rep="", border=0)
        return f"<p>{html.escape(self.headline())}</p>{table}"

    def _ipython_display_(self) -> None:
        """Table and plot under each other in a notebook, the plot by whatever renderer plotly has there."""
        from IPython.display import HTML, display

        display(HTML(self._repr_html_()))
        # A result without a picture of its own would only repeat its table.
        if type(self).plot is not Result.plot:
            display(self.plot())


def _frame(result: Result) -> pd.DataFrame:
    frame = getattr(result, "frame", None)
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"{type(result).__name__} has no frame; give it a field or property `frame` with its table")
    return frame


def rounded(frame: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """A copy with floats as short text and missing values as ``not measured``; columns of other kinds stay."""
    shown = frame.copy()
    for name in shown.columns:
        if pd.api.types.is_float_dtype(shown[name]):
            values = shown[name].to_numpy(dtype=float, na_value=float("nan"))
            shown[name] = [f"{value:.{digits}g}" if value == value else "not measured" for value in values]
    return shown


def short_table(frame: pd.DataFrame, *, rows: int = 12, width: int = 40) -> str:
    """The first rows as plain text, long cells cut, with a last line that says how many rows are not shown."""
    shown = rounded(frame.head(rows))
    for name in shown.columns:
        shown[name] = [text if len(text := str(cell)) <= width else text[: width - 1] + "…" for cell in shown[name]]
    if shown.empty:
        return f"(no rows; columns {', '.join(map(str, frame.columns))})"
    left = len(frame) - len(shown)
    return shown.to_string(index=False) + (f"\n… and {left} more" if left else "")
