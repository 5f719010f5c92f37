"""Words of a text with the characters they stand at; numbers become one sign, so that phrases are not told by figures.

It does not show meaning: two spellings of a word are two words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

NUMBER = "#"
"""Stands for every number."""
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)?|[^\w\s]|_")


@dataclass(frozen=True)
class Words:
    """The words of one text, in lower case, and the character at which each begins."""

    words: tuple[str, ...]
    starts: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> Words:
        """Cut a text into words, numbers and signs."""
        found = list(_WORD.finditer(text))
        named = tuple(NUMBER if match[0][0].isdigit() else match[0].lower().replace("’", "'") for match in found)
        return cls(named, tuple(match.start() for match in found))
