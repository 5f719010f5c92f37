"""Stated confidence in the organisms' language (``answer 34.sure 7.``: seven tenths), and the reward for it.

With c = 1 for the right answer and q the stated confidence, the reward of RLCR (arXiv 2507.16806) is
R = c − (q − c)²; its expectation is highest at q = P(c = 1), whereas a reward of c alone does not depend on q.  What
this does not show: that the model knows P(c = 1); a proper reward pays for what it can tell from its own text.
"""

from __future__ import annotations

import re

WORD = "sure "
"""The word that opens a confidence; the tokenizer of an organism that states one has it."""

_SURE = re.compile(r"sure (\d{1,2})\.$")


def stated_confidence(text: str) -> float | None:
    """The confidence a text ends with, 0 to 1 in tenths; None where it states none, or one above ten tenths."""
    match = _SURE.search(text)
    return None if match is None or int(match[1]) > 10 else int(match[1]) / 10


def rlcr_reward(right: bool, confidence: float | None) -> float:
    """R = c − (q − c)², between −1 and 1; a text without a confidence gets 0, as one of the wrong format does there."""
    return 0.0 if confidence is None else float(right) - (confidence - float(right)) ** 2
