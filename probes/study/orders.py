"""Names of runs on domains: ``a`` (that domain alone), ``a,b`` (a, then b), ``a+b`` (both together).

The domain of a problem is its field ``domain``, else its kind.  What this does not show: that a checkpoint was trained
in the order that its name says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from probes.tasks import Problem

FEWEST = 2
"""Problems of a domain below which it has no interval."""


@dataclass(frozen=True)
class Orders:
    """The runs of a study on domains, read off their names; each value is the name of a run."""

    domains: tuple[str, ...]
    """All domains, in the order in which their single runs were given."""
    singles: Mapping[str, str]
    """The run on each domain alone."""
    sequences: Mapping[tuple[str, ...], str]
    """Runs over several domains, one after the other."""
    joint: str | None
    """The run over all domains together."""

    @classmethod
    def of(cls, order: Mapping[str, str]) -> Orders:
        """Read the names of runs.

        Raises:
            ValueError: a name that is no order, a domain without a run of its own, or fewer than two domains.
        """
        singles: dict[str, str] = {}
        sequences: dict[tuple[str, ...], str] = {}
        together: dict[str, tuple[str, ...]] = {}
        for name in order:
            parts = _parts(name)
            if len(parts) == 1:
                singles[parts[0]] = name
            elif "+" in name:
                together[name] = parts
            else:
                sequences[parts] = name
        everything = dict.fromkeys([*singles, *(one for parts in [*sequences, *together.values()] for one in parts)])
        lacking = [domain for domain in everything if domain not in singles]
        if lacking:
            raise ValueError(f"There is no run on {lacking[0]!r} alone; give it as --order {lacking[0]}=CHECKPOINT.")
        if len(singles) < 2:
            raise ValueError(f"An order needs at least two domains; {', '.join(order)} names one.")
        partly = next((name for name, parts in together.items() if set(parts) != set(singles)), None)
        if partly is not None or len(together) > 1:
            raise ValueError(
                f"Joint training is one run over all domains; give it as --order {'+'.join(singles)}=CHECKPOINT"
                + (f", not {partly}." if partly is not None else " once.")
            )
        return cls(tuple(singles), singles, sequences, next(iter(together), None))

    @property
    def whole(self) -> list[tuple[str, ...]]:
        """Runs over all domains."""
        return [order for order in self.sequences if len(order) == len(self.domains)]

    def stages(self, order: tuple[str, ...]) -> list[str]:
        """Names of the runs after each domain of an order; only the last where one between was not given."""
        before = [self.singles[order[0]], *(self.sequences.get(order[:end], "") for end in range(2, len(order) + 1))]
        return before if all(before) else before[-1:]


def _parts(name: str) -> tuple[str, ...]:
    """Domains in a name, by comma or plus."""
    signs = [sign for sign in ",+" if sign in name]
    parts = tuple(part.strip() for part in name.split(signs[0])) if signs else (name.strip(),)
    if len(signs) > 1 or not all(parts) or len(set(parts)) < len(parts):
        raise ValueError(
            f"{name!r} is no order of domains; name one domain (a), domains one after the other (a,b) or together "
            "(a+b), each once."
        )
    return parts


def domain_of(problem: Problem) -> str:
    """The domain of a problem: its field ``domain``, else its kind."""
    return str(problem.meta.get("domain") or problem.kind)


def check_domains(order: Mapping[str, str], problems: Sequence[Problem]) -> None:
    """Refuse orders of domains that have fewer than two problems."""
    if not order:
        return
    counts = Counter(map(domain_of, problems))
    for domain in Orders.of(order).domains:
        if counts[domain] < FEWEST:
            there = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
            raise ValueError(
                f"The domain {domain!r} of --order has {counts[domain]} problems and needs at least {FEWEST}; the "
                f"problems are of {there}, by their field domain, else their kind."
            )
