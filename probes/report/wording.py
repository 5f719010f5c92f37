"""Numbers as a reader wants them: few digits, a unit, and the interval or the words that say there is none.

A missing value reads "not measured" and never 0; a value without an interval reads "one run"; a side that nothing
bounds reads ∞.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

NOT_MEASURED = "not measured"
ONE_RUN = "one run"
THIN = "\u2009"
MINUS = "\u2212"


@dataclass(frozen=True)
class Quantity:
    """A number in words: ``text`` with its unit, ``interval`` beneath it, and whether there is a number at all."""

    text: str
    interval: str
    measured: bool


def missing(value: object) -> bool:
    """Whether a cell holds nothing: None, NaN, pandas' NA or NaT."""
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))  # type: ignore[call-overload]


def number(value: object) -> float | None:
    """The value as a float; None when it is missing or no number."""
    if missing(value) or isinstance(value, (str, bytes)):
        return None
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return None if math.isnan(found) else found


def digits(value: float, unit: str, *, size: float | None = None) -> str:
    """The bare number in its unit: ``share`` is a fraction shown in percent, ``percent`` is in percent already.

    ``size`` is the largest number that stands beside it, so that a value and its interval have the same decimals.
    """
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    beside, size = size, abs(value) if size is None else size
    if unit in ("share", "percent", "points", "relative"):
        times = 1 if unit == "percent" else 100
        text = f"{times * value:.{_decimals(times * size)}f}"
    elif unit in ("auroc", "nats"):
        text = f"{value:.3f}"
    elif unit == "p":
        return "< 0.001" if 0 <= value < 0.001 else f"{value:.3f}"
    elif unit == "count":
        text = f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"
    elif beside is not None and 1e-4 <= beside < 1e6:
        # Three figures of the largest, and as many decimals for the others.
        text = f"{value:,.{min(6, max(0, 2 - math.floor(math.log10(beside))))}f}"
    else:
        text = _significant(value)
    text = text.replace(",", THIN)
    if text.startswith("-"):
        # A rounded zero has no sign: a minus before 0.0 reads as a finding.
        text = MINUS + text[1:] if any(c in "123456789" for c in text) else text[1:]
    return text


def suffix(unit: str) -> str:
    """What stands behind the number."""
    words = {"points": " points", "nats": " nats", "tokens": " tokens"}
    return f"{THIN}%" if unit in ("share", "percent", "relative") else words.get(unit, "")


def quantity(value: object, low: object = None, high: object = None, *, unit: str = "number") -> Quantity:
    """A number with its interval, in words.

    Units: ``share`` (a fraction, shown in percent), ``percent`` (already in percent), ``points`` (a difference of
    fractions, shown in percentage points), ``relative`` (a ratio of change, shown in percent), ``auroc``, ``nats``,
    ``tokens``, ``p``, ``count``, or anything else for three digits.
    """
    found = number(value)
    if found is None:
        return Quantity(NOT_MEASURED, "", False)
    lower, upper = number(low), number(high)
    if lower is None or upper is None:
        return Quantity(digits(found, unit) + suffix(unit), ONE_RUN, True)
    size = max(abs(end) for end in (found, lower, upper) if math.isfinite(end) or end is found)
    low_text, high_text = digits(lower, unit, size=size), digits(upper, unit, size=size)
    text = digits(found, unit, size=size) + suffix(unit)
    return Quantity(text, f"{low_text} to {high_text}{suffix(unit)}", True)


def plain(value: Any) -> str:
    """Any value of a manifest as one line: lists joined, missing values named."""
    if missing(value):
        return NOT_MEASURED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return digits(value, "number")
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    return str(value)


def _decimals(percent: float) -> int:
    """One decimal; more below one, so that two figures are left of a small share."""
    if percent >= 1 or percent == 0 or math.isinf(percent):
        return 1
    return min(2 + max(0, -math.floor(math.log10(percent)) - 1), 6)


def _significant(value: float) -> str:
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
