"""A seed of strategic phrases in English, for corpora too small to mine.

Three kinds as in arXiv 2509.03646, whose own examples open each list; the others are everyday phrasings of the same.
What it does not show: strategies that are written in other words; mine them with :meth:`probes.training.Grams.mine`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ENGLISH: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "deduction": (
            "we can use the fact that", "from this it follows that", "this means that", "which tells us that",
            "we know that", "it is enough to show", "so we need to", "to find this we", "the key is to",
            "let us start by", "first we need to", "the next step is",
        ),
        "branching": (
            "let's try a different approach", "let us try another way", "another way to see this",
            "alternatively we can", "we consider two cases", "there are two cases", "what if we",
            "suppose instead that", "a better way is", "one option is to",
        ),
        "backtracking": (
            "but the problem mentions that", "wait let me check", "let me check this", "let's double check",
            "that is not right", "this does not work", "i made a mistake", "going back to the", "let me try again",
            "but wait that means",
        ),
    }
)  # fmt: skip
"""Phrases by kind."""
