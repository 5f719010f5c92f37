"""A number with the interval that belongs to it, and how both are printed."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A confidence interval; an unbounded side is infinite, an interval nobody could compute is NaN on both sides."""

    low: float
    high: float
    level: float = 0.95

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def width(self) -> float:
        """``high - low``."""
        return self.high - self.low

    @property
    def known(self) -> bool:
        """Whether the interval says anything: both ends are numbers and at least one of them is finite."""
        ends = (self.low, self.high)
        return not any(math.isnan(end) for end in ends) and any(math.isfinite(end) for end in ends)

    def __format__(self, spec: str) -> str:
        return f"[{_show(self.low, spec)}, {_show(self.high, spec)}]" if self.known else "[not known]"

    def __str__(self) -> str:
        return format(self, ".2f")


@dataclass(frozen=True)
class Estimate:
    """A value, its interval, what it rests on and how it was made; prints as ``0.82 [0.77, 0.86]``.

    ``format(estimate, ".1%")`` applies a format to all three numbers.  A value that does not exist is NaN and prints as
    ``not measured``; the method then says why.
    """

    value: float
    low: float
    high: float
    n: int
    """Problems that the value rests on; the units that were resampled."""
    method: str
    level: float = 0.95

    @property
    def interval(self) -> Interval:
        """The interval alone."""
        return Interval(self.low, self.high, self.level)

    @property
    def measured(self) -> bool:
        """Whether there is a value at all."""
        return not math.isnan(self.value)

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval is known and lies on one side of zero."""
        return self.interval.known and 0.0 not in self.interval

    def as_dict(self) -> dict[str, float | int | str]:
        """Value, ends, number of problems, method and level: the columns of a table row."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "method": self.method,
            "level": self.level,
        }

    def __format__(self, spec: str) -> str:
        spec = spec or ".2f"
        if not self.measured:
            return "not measured"
        return f"{_show(self.value, spec)} {format(self.interval, spec)}"

    def __str__(self) -> str:
        return format(self, "")


def _show(value: float, spec: str) -> str:
    if math.isinf(value):
        return "-∞" if value < 0 else "∞"
    text = format(value, spec or ".2f")
    # A rounded zero has no sign: "-0.00" reads as a finding.
    return text.removeprefix("-") if text.startswith("-") and not any(c in "123456789" for c in text) else text
