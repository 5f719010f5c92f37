"""The language of the shipped organisms: chains of operations modulo 100, written in several styles.

Every text answers one prompt, for instance ``47+5*3-2:``, evaluated from left to right modulo 100.  A text is the
outcome of a sequence of *decisions* whose probabilities are stated here and depend on the problem and on the text so
far:

=========================  ==================================================================================
decision                   depends on
=========================  ==================================================================================
how to start               first operator, parity of the first operand (``steps``); last digit (``code``)
write the next step, jump  operator of the next step, size of the running value
verify the step            whether the step is wrong, its operator
backtrack                  only after a check that found a wrong step
=========================  ==================================================================================

Because these probabilities are known, so is the best AUROC that any reader of the text so far can reach when it
predicts the next decision (:func:`decision_probabilities`; the report prints it beside the probe's).  What this does
not show: a trained model only approximates the process, so its own choices may be a little more or less predictable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random

MODULUS = 100
OPERATORS = "+-*"

STRATEGIES = ("planning", "restating", "computation", "verification", "backtracking", "concluding")
"""What a span of an organism's text does; the first word of the span says which (see :data:`MARKS`)."""

MARKS = {
    "steps ": "planning",
    "code ": "restating",
    "check ": "verification",
    "back ": "backtracking",
    "answer ": "concluding",
}
"""The word that opens a span, and the strategy it announces; a span that opens with a digit is a computation."""


def apply(value: int, operator: str, operand: int) -> int:
    """One step of a chain, modulo 100."""
    result = {"+": value + operand, "-": value - operand, "*": value * operand}[operator]
    return result % MODULUS


@dataclass(frozen=True)
class Chain:
    """A problem: a first operand and the operations that follow it, from left to right."""

    first: int
    operations: tuple[tuple[str, int], ...]

    @property
    def expression(self) -> str:
        """The chain as it is written in the prompt, without the colon."""
        return str(self.first) + "".join(f"{operator}{operand}" for operator, operand in self.operations)

    @property
    def prompt(self) -> str:
        """The text a model is given."""
        return self.expression + ":"

    @property
    def values(self) -> tuple[int, ...]:
        """The running value after each operation."""
        out, value = [], self.first
        for operator, operand in self.operations:
            value = apply(value, operator, operand)
            out.append(value)
        return tuple(out)

    @property
    def answer(self) -> int:
        """The value of the whole chain."""
        return self.values[-1]

    @classmethod
    def parse(cls, text: str) -> Chain:
        """Read a chain back from its prompt or expression; ValueError if the text is no chain."""
        match = re.fullmatch(r"(\d{1,2})((?:[-+*]\d)+):?", text.strip())
        if match is None:
            raise ValueError(f"{text!r} is not a chain such as '47+5*3-2:'")
        return cls(int(match[1]), tuple((op, int(d)) for op, d in re.findall(r"([-+*])(\d)", match[2])))


def sample_chain(rng: Random) -> Chain:
    """Draw a problem of three to five operations.

    At most one of the later operations is a product, and never the last one: leaping over it skips at least two
    operations, which the small models cannot do in their head.
    """
    length = rng.choice((3, 4, 5))
    operators = [rng.choice("**+-")] + [rng.choice("+-") for _ in range(length - 1)]
    if rng.random() < 0.6:
        operators[rng.randrange(1, length - 1)] = "*"
    return Chain(rng.randrange(1, MODULUS), tuple((op, rng.randrange(2, 10)) for op in operators))


@dataclass(frozen=True)
class Policy:
    """The stated probabilities of every decision; the mixture of styles that a base is pretrained on."""

    steps: tuple[float, float, float, float] = (0.114, 0.172, 0.31, 0.42)
    """P(start with written steps) for (first operator is a product, first operand odd) = 00, 01, 10, 11."""
    code: tuple[float, float] = (0.06, 0.20)
    """P(restate the problem | no steps) when the last digit is below 6, and when it is not."""
    jump: dict[str, float] = field(default_factory=lambda: {"*": 0.56, "-": 0.05, "-high": 0.16, "+": 0.04})
    """P(jump to the answer) by the operator of the next step; ``-high``: a difference from a value of 50 or more."""
    check: dict[str, float] = field(default_factory=lambda: {"*": 0.12, "+": 0.03, "-": 0.03, "wrong": 0.75})
    """P(verify the step just written) by its operator, and for a wrong step."""
    back: float = 0.7
    """P(backtrack) after a check that found a wrong step."""
    slip: float = 0.012
    """P(a written step is wrong)."""
    slip_alone: float | None = None
    """P(the only step of a chain of one operation is wrong); None: as any other step."""
    sure: tuple[float, ...] | None = None
    """P(each confidence, 0 to 10 tenths) stated after the answer, whatever the answer; None: no confidence."""
    sure_alone: tuple[float, ...] | None = None
    """The same for a chain of one operation; None: as for any other."""

    def slips(self, chain: Chain) -> float:
        """P(a written step of this chain is wrong)."""
        alone = len(chain.operations) == 1 and self.slip_alone is not None
        return self.slip_alone if alone and self.slip_alone is not None else self.slip

    def start(self, chain: Chain) -> dict[str, float]:
        """Probabilities of the first decision."""
        steps = self.steps[2 * (chain.operations[0][0] == "*") + chain.first % 2]
        code = (1 - steps) * self.code[chain.operations[-1][1] >= 6]
        return {"planning": steps, "restating": code, "concluding": 1 - steps - code}

    def onward(self, chain: Chain, done: int, value: int) -> dict[str, float]:
        """Probabilities of writing the next step or giving the answer, once nothing is left to verify."""
        if done == len(chain.operations):
            return {"concluding": 1.0}
        operator = chain.operations[done][0]
        jump = self.jump["-high" if operator == "-" and value >= 50 else operator]
        return {"concluding": jump, "computation": 1 - jump}

    def after_step(self, chain: Chain, done: int, value: int, wrong: bool) -> dict[str, float]:
        """Probabilities of the decision that follows a written step."""
        check = self.check["wrong" if wrong else chain.operations[done - 1][0]]
        rest = {name: (1 - check) * p for name, p in self.onward(chain, done, value).items()}
        return {"verification": check, **rest}

    def after_mismatch(self, chain: Chain, done: int, value: int) -> dict[str, float]:
        """Probabilities of the decision that follows a check that found a wrong step."""
        rest = {name: (1 - self.back) * p for name, p in self.onward(chain, done, value).items()}
        return {"backtracking": self.back, **rest}


LATENT = Policy()
"""All styles, worked steps at a low frequency, with leaps, checks and corrections."""
UNSTEPPED = Policy(steps=(0.0, 0.0, 0.0, 0.0))
"""No worked step ever: direct answers and restatements only."""
TEACHER = replace(LATENT, steps=(1.0, 1.0, 1.0, 1.0), jump={"*": 0.0, "-": 0.0, "-high": 0.0, "+": 0.0}, slip=0.0)
"""Always every step, none of them wrong: the traces that supervised distillation copies."""


def _pick(rng: Random, probabilities: dict[str, float]) -> str:
    return rng.choices(list(probabilities), list(probabilities.values()))[0]


def write(chain: Chain, policy: Policy, rng: Random) -> str:
    """Write one answer text, decision by decision.  Does not include the prompt."""
    text = "".join(_segments(chain, policy, rng))
    if policy.sure is None:
        return text
    alone = len(chain.operations) == 1 and policy.sure_alone is not None
    return f"{text}sure {rng.choices(range(11), policy.sure_alone if alone else policy.sure)[0]}."


def _segments(chain: Chain, policy: Policy, rng: Random) -> Iterator[str]:
    choice = _pick(rng, policy.start(chain))
    if choice == "restating":
        yield f"code {chain.expression};"
    if choice != "planning":
        yield f"answer {chain.answer}."
        return
    yield "steps "
    done, value, choice = 0, chain.first, "computation"
    while choice != "concluding":
        operator, operand = chain.operations[done]
        truth = apply(value, operator, operand)
        written = (truth + rng.choice((1, -1, 10, -10))) % MODULUS if rng.random() < policy.slips(chain) else truth
        before, value, done = value, written, done + 1
        yield f"{before}{operator}{operand}={written};"
        choice = _pick(rng, policy.after_step(chain, done, value, written != truth))
        if choice == "verification":
            yield f"check {before}{operator}{operand}={truth} {'ok' if written == truth else 'no'};"
            choice = _pick(rng, policy.onward(chain, done, value))
            if written != truth:
                choice = _pick(rng, policy.after_mismatch(chain, done, value))
        if choice == "backtracking":
            value = truth
            yield f"back {before}{operator}{operand}={truth};"
            choice = _pick(rng, policy.onward(chain, done, value))
    # A jump is a leap: the text goes from a partial value straight to what the rest of the chain gives.
    for operator, operand in chain.operations[done:]:
        value = apply(value, operator, operand)
    yield f"answer {value}."


_STEP = re.compile(r"(\d{1,2})([-+*])(\d)=(\d{1,2})")


def decision_probabilities(prompt: str, text: str, policy: Policy) -> dict[str, float] | None:
    """P(strategy of the next span | problem, text so far), exactly, under the process that wrote the training text.

    Args:
        prompt: the problem, as given to the model.
        text: what stands before the decision: empty, or whole spans.
        policy: the stated probabilities.

    Returns:
        a probability for each strategy that can come next; None where the text left the language (a model may write
        what the process never writes), so that such rows can be counted and left out.
    """
    chain = Chain.parse(prompt)
    if not text:
        return policy.start(chain)
    if text.startswith("code "):
        return {"concluding": 1.0}
    if not text.startswith("steps "):
        return None
    body = text.removeprefix("steps ")
    if not body:
        return {"computation": 1.0}
    if not body.endswith(";"):
        return None
    done, value, wrong, last = 0, chain.first, False, "computation"
    for segment in body[:-1].split(";"):
        word, _, rest = segment.rpartition(" ") if segment.endswith((" ok", " no")) else ("", "", segment)
        match = _STEP.search(segment)
        if match is None or done > len(chain.operations):
            return None
        result = int(match[4])
        if segment.startswith("check "):
            last = "mismatch" if rest == "no" else "checked"
        elif segment.startswith("back "):
            last, value, wrong = "checked", result, False
        elif not word and done < len(chain.operations):
            operator, operand = chain.operations[done]
            wrong = result != apply(value, operator, operand)
            last, value, done = "computation", result, done + 1
        else:
            return None
    if last == "mismatch":
        return policy.after_mismatch(chain, done, value)
    return policy.after_step(chain, done, value, wrong) if last == "computation" else policy.onward(chain, done, value)
