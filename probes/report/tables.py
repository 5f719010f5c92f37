"""From a data frame to a table in words: chosen columns, intervals beside their value, missing cells named.

A column that the frame lacks, or that is missing in every row, is left out and named under the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from probes.report.blocks import Cell, Table
from probes.report.wording import NOT_MEASURED, ONE_RUN, Quantity, missing, number, plain, quantity

FLAG = "flag"


@dataclass(frozen=True)
class Column:
    """A column of the page: where its value is, how it is called and in which unit it is written.

    Attributes:
        name: column of the frame.
        title: head of the column.
        unit: a unit of :func:`probes.report.wording.quantity`, ``text``, or ``flag`` (a badge in the first column).
        low, high: columns of the interval; None where the value never has one (a setting, a count).
        bar: draw a bar beside the number, as long as its part of the largest value of the column.
        setting: the column was chosen or counted, not estimated: an empty cell does not apply, and no interval is due.
        units: column that names the unit of each row, where rows differ; ``unit`` where it is missing or empty.
    """

    name: str
    title: str
    unit: str = "number"
    low: str | None = None
    high: str | None = None
    bar: bool = False
    setting: bool = False
    units: str | None = None


def interval(
    name: str, title: str, unit: str, *, ends: tuple[str, str] | None = None, units: str | None = None
) -> Column:
    """A column whose interval is in ``NAME_low`` and ``NAME_high`` unless told otherwise."""
    low, high = ends or (f"{name}_low", f"{name}_high")
    return Column(name, title, unit, low, high, units=units)


def with_differences(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with a column ``unit``: ``points`` where the row's model is a difference of two, empty elsewhere."""
    if "model" not in frame:
        return frame
    units = ["points" if " - " in str(model) else "" for model in frame["model"]]
    return frame.assign(unit=units)


def table_of(
    frame: pd.DataFrame, columns: Sequence[Column], caption: str, *, note: str = "", sortable: bool = False
) -> Table:
    """The frame as a table; the first column that is there becomes the head of each row."""
    shown = [column for column in columns if _measured(frame, column.name)]
    absent = [column.title for column in columns if column not in shown and column.unit != FLAG]
    flags = [column for column in shown if column.unit == FLAG]
    shown = [column for column in shown if column.unit != FLAG]
    tops = {column.name: max(frame[column.name].map(number).dropna(), default=1.0) for column in shown if column.bar}
    rows = []
    for record in frame.to_dict("records"):
        badges = tuple(str(record[flag.name]) for flag in flags if not missing(record[flag.name]))
        cells = [_cell(record, column, tops.get(column.name, 1.0)) for column in shown]
        if cells and badges:
            cells[0] = Cell(cells[0].text, cells[0].small, cells[0].kind, cells[0].bar, badges, cells[0].sort)
        rows.append(tuple(cells))
    left_out = f"Not measured here: {', '.join(absent)}." if absent else ""
    single = [
        column.title for column in shown if not (column.setting or column.unit == "text" or _has_ends(frame, column))
    ]
    one_run = f"One run, without an interval: {', '.join(single)}." if single else ""
    return Table(
        caption=caption,
        titles=tuple(column.title for column in shown),
        kinds=tuple("text" if column.unit == "text" else "number" for column in shown),
        rows=tuple(rows),
        note=" ".join(part for part in (note, one_run, left_out) if part),
        sortable=sortable and len(rows) > 3,
    )


def pairs_table(entries: Mapping[str, Any], caption: str, *, titles: tuple[str, str] = ("Name", "Value")) -> Table:
    """A mapping as a table of two columns; nested mappings become dotted names."""
    rows = [(Cell(name), Cell(plain(value))) for name, value in _flat(entries)]
    return Table(caption, titles, ("text", "text"), tuple(rows))


def measures_table(
    entries: Mapping[str, Any],
    caption: str,
    *,
    units: Mapping[str, str] | None = None,
    words: Mapping[str, str] | None = None,
    note: str = "",
    single: str = ONE_RUN,
) -> Table:
    """A mapping of measures: names in words, ``{value, low, high}`` as a number with its interval.

    Args:
        entries: measures by name; nested mappings become ``outer: inner``, empty lists are left out.
        caption: of the table.
        units: unit by the name of a measure or of the mapping that it is in; whole numbers are counts without one.
        words: what a measure is called; one that is not in it keeps its own name.
        note: under the table.
        single: what stands under a number without an interval; empty where the page says it of the whole table.
    """
    rows = []
    for name, value in _flat(entries):
        if isinstance(value, (list, str)) and not value:
            continue
        unit = (units or {}).get(name) or (units or {}).get(name.split(".")[0])
        said = (words or {}).get(name) or name.replace(".", ": ").replace("_", " ")
        rows.append((Cell(said), _measure(value, unit, single)))
    return Table(caption, ("Measure", "Value"), ("text", "number"), tuple(rows), note)


def _measure(value: Any, unit: str | None, single: str) -> Cell:
    if missing(value):
        return Cell(NOT_MEASURED, kind="none")
    if isinstance(value, dict):
        words = quantity(value.get("value"), value.get("low"), value.get("high"), unit=unit or "number")
        return Cell(words.text, single if words.interval == ONE_RUN else words.interval, _kind(words))
    if isinstance(value, bool) or number(value) is None:
        return Cell(plain(value))
    # A whole number that nobody gave a unit says how much there was to measure; it is no estimate.
    counted = unit is None and isinstance(value, int)
    words = quantity(value, unit=unit or ("count" if counted else "number"))
    return Cell(words.text, "" if counted else single, _kind(words))


def _kind(words: Quantity) -> str:
    return "number" if words.measured else "none"


def _flat(entries: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in entries.items():
        if isinstance(value, dict) and value and "value" not in value:
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found


def _measured(frame: pd.DataFrame, name: str) -> bool:
    return name in frame.columns and not frame[name].map(missing).all()


def _has_ends(frame: pd.DataFrame, column: Column) -> bool:
    return column.low is not None and column.low in frame.columns and bool(frame[column.low].notna().any())


def _cell(record: Mapping[Any, Any], column: Column, top: float) -> Cell:
    value = record[column.name]
    if missing(value):
        return Cell("–" if column.setting or column.unit == "text" else NOT_MEASURED, kind="none")
    found = number(value)
    if column.unit == "text" or found is None:
        return Cell(plain(value))
    if column.low is None or column.high is None:
        bar = min(max(found / top, 0.0), 1.0) if column.bar and top > 0 else None
        return Cell(quantity(found, unit=column.unit).text, kind="number", bar=bar, sort=found)
    own = record.get(column.units) if column.units else None
    unit = column.unit if missing(own) or not own else str(own)
    words = quantity(found, record.get(column.low), record.get(column.high), unit=unit)
    return Cell(_signed(words.text) if unit != column.unit else words.text, words.interval, kind="number", sort=found)


def _signed(text: str) -> str:
    """A difference among levels shows its sign; a rounded zero has none."""
    return f"+{text}" if text[0].isdigit() and any(c in "123456789" for c in text) else text
