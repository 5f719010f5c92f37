"""Problems for a real language model: short arithmetic of reasoning-gym, where SmolLM2-135M has headroom.

Sums of two or three terms and products, asked in reasoning-gym's own words and answered by a number. The last bit of a
hash of the question says whether it belongs to training or is held out, so the two can never meet, whatever the seed.

What this does not show: mathematics. The problems are easy for people and chosen because the model is neither at 0 nor
at 100 % on them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from hooks.streams import stream

Split = Literal["train", "held out"]

KINDS: dict[str, tuple[str, dict[str, int], float]] = {
    "sum of two, one digit": ("chain_sum", {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}, 0.35),
    "sum of three, one digit": ("chain_sum", {"min_terms": 3, "max_terms": 3, "min_digits": 1, "max_digits": 1}, 0.30),
    "sum of two, two digits": ("chain_sum", {"min_terms": 2, "max_terms": 2, "min_digits": 2, "max_digits": 2}, 0.10),
    "product": ("products", {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}, 0.25),
}
"""Name of a kind: reasoning-gym's task, its settings, its share of the problems."""

_NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")
_TERM = re.compile(r"([-+*]?)\s*(\d+)")


@dataclass(frozen=True)
class Sum:
    """One problem."""

    question: str
    answer: str
    expression: str
    """As reasoning-gym writes it: ``4 - 1 - 7``."""
    kind: str

    def worked(self) -> str:
        """A worked solution, step by step from the left: ``4 - 1 = 3. 3 - 7 = -4. The answer is -4.``"""
        terms = [(sign or "+", int(number)) for sign, number in _TERM.findall(self.expression)]
        total, steps = terms[0][1] * (-1 if terms[0][0] == "-" else 1), []
        for sign, number in terms[1:]:
            after = total * number if sign == "*" else total + number if sign == "+" else total - number
            steps.append(f"{total} {sign} {number} = {after}.")
            total = after
        return f"{' '.join(steps)} The answer is {total}."


def split_of(question: str) -> Split:
    """Which side a question belongs to; a quarter is held out."""
    return "held out" if hashlib.sha256(question.encode()).digest()[0] % 4 == 0 else "train"


def draw(seed: int, split: Split) -> Iterator[Sum]:
    """Problems without end, kinds at their shares, from one side of the split; a question may come again.

    It does not balance difficulty within a kind.
    """
    import reasoning_gym

    choice = stream(seed, "kinds of arithmetic", split)
    shares = [share for _, _, share in KINDS.values()]
    made = {
        kind: reasoning_gym.create_dataset(task, size=1_000_000, seed=seed, **settings)
        for kind, (task, settings, _) in KINDS.items()
    }
    places = dict.fromkeys(KINDS, 0)
    while True:
        kind = list(KINDS)[int(choice.choice(len(KINDS), p=shares))]
        while True:
            entry = made[kind][places[kind]]
            places[kind] += 1
            if split_of(entry["question"]) == split:
                break
        yield Sum(entry["question"], str(entry["answer"]), entry["metadata"]["expression"], kind)


def distinct(seed: int, split: Split, n: int) -> list[Sum]:
    """The first ``n`` different problems in the order they are drawn; fewer where the kinds seem to have no more.

    Where a kind has no more, the others fill up.
    """
    seen: dict[str, Sum] = {}
    for one in islice(draw(seed, split), 100 * n):
        seen.setdefault(one.question, one)
        if len(seen) == n:
            break
    return list(seen.values())


def final_number(text: str) -> str | None:
    """The last number in a text, without thousands separators and trailing zeros; None if there is none.

    It does not read numbers in words.
    """
    found = _NUMBER.findall(text.replace("−", "-"))
    if not found:
        return None
    number = found[-1].replace(",", "")
    return number.rstrip("0").rstrip(".") if "." in number else number


def is_right(text: str, answer: str) -> bool:
    """Whether the last number of a text is the answer."""
    return final_number(text) == answer
