"""The sets of problems the organisms are trained on and asked: chains drawn at random, by name.

=========  ==================================================================================================
name       chains
=========  ==================================================================================================
standard   three to five operations (:func:`hooks.organisms.chains.sample_chain`)
hard       eight to ten operations, the first a product; the answer is a multiple of ten
medium     standard chains that start with a product
sums       three or four sums and differences
single     one sum or difference
both       either of the two before, at even odds
mental     one to three operations, three in five times one
brief      two operations on a number below ten, the second a sum or difference
=========  ==================================================================================================

What this does not show: a problem is hard or easy only for a given model; the bins of a study are measured.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from hooks.organisms.chains import MODULUS, Chain, sample_chain


def _chain(rng: Random, operators: list[str], below: int = MODULUS) -> Chain:
    return Chain(rng.randrange(1, below), tuple((operator, rng.randrange(2, 10)) for operator in operators))


def hard(rng: Random) -> Chain:
    """Eight to ten operations, twice as long as anything that is trained on; ten answers are possible."""
    while True:
        chain = _chain(rng, ["*", *(rng.choice("+-*") for _ in range(rng.choice((7, 8, 9))))])
        if chain.answer % 10 == 0:
            return chain


def medium(rng: Random) -> Chain:
    """A standard chain that starts with a product."""
    while True:
        chain = sample_chain(rng)
        if chain.operations[0][0] == "*":
            return chain


def sums(rng: Random) -> Chain:
    """Three or four sums and differences."""
    return _chain(rng, [rng.choice("+-") for _ in range(rng.choice((3, 4)))])


def single(rng: Random) -> Chain:
    """One sum or difference."""
    return _chain(rng, [rng.choice("+-")])


def mental(rng: Random) -> Chain:
    """One to three operations, three in five times one."""
    return _chain(rng, [rng.choice("+-*") for _ in range(rng.choice((1, 1, 1, 2, 3)))])


def brief(rng: Random) -> Chain:
    """Two operations on a number below ten, the second a sum or difference."""
    return _chain(rng, [rng.choice("+-*"), rng.choice("+-")], below=10)


def domain_of(chain: Chain) -> str:
    """Which of the two sets behind ``both`` a chain is of: ``single`` or ``sums``."""
    return "single" if len(chain.operations) == 1 else "sums"


def _one_of(*draws: Callable[[Random], Chain]) -> Callable[[Random], Chain]:
    return lambda rng: rng.choice(draws)(rng)


PROBLEMS: dict[str, Callable[[Random], Chain]] = {
    "standard": sample_chain,
    "hard": hard,
    "medium": medium,
    "sums": sums,
    "single": single,
    "both": _one_of(sums, single),
    "mental": mental,
    "brief": brief,
}
"""Draws of one problem, by the name of the set."""
