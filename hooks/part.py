r"""Which part of an update: a rule by name, and the choice it makes in every tensor.

====================  ==================================================================================
``whole``, ``nothing``  all of it, none of it
``layer:K``           everything in layer K; ``upto:K`` in layers 0 to K; ``outside`` in no layer
``module:NAME``       attention, mlp, norm, embedding, head or other, in all layers
``largest:X``         the share X of all parameters that changed most (by absolute difference)
``random:X``          as many parameters as ``largest:X`` takes, drawn among all that changed: the null
``rows``              every row of a matrix in which anything changed (a vector is one row)
``rows:X``            the rows that changed most (root mean square), up to the share X of all parameters
``rank:K``            of every matrix the best approximation of rank K; vectors whole
====================  ==================================================================================

``without:RULE`` is everything but that. Shares are of all parameters, tied ones counted once. What falls on the
threshold of ``largest`` is drawn at random, so that the share is kept where many entries moved by the same step of
their format. What it does not show: which of these parts the training itself would have chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

KINDS = ("attention", "mlp", "norm", "embedding", "head", "other")
"""Kinds of module."""
RULES = ("whole", "nothing", "layer", "upto", "outside", "module", "largest", "random", "rows", "rank")
_COUNTS, _SHARES, _BARE = ("layer", "upto", "rank"), ("largest", "random", "rows"), ("whole", "nothing", "outside")


@dataclass(frozen=True, eq=False)
class Weight:
    """One parameter of both models."""

    names: tuple[str, ...]
    """Its names in the bare tree; several where it is tied."""
    layer: int | None
    """None outside the layers."""
    kind: str
    """One of :data:`KINDS`."""
    base: Float[Tensor, "*shape"]
    """The base's tensor itself."""
    rl: Float[Tensor, "*rl_shape"]
    """The RL model's tensor itself; it may have other rows in the vocabulary."""

    @property
    def delta(self) -> Float[Tensor, "*common"]:
        """RL minus base in float32 over the common rows."""
        rows = min(len(self.base), len(self.rl))
        return self.rl[:rows].float() - self.base[:rows].float()


@dataclass(frozen=True)
class Part:
    """A rule for a part of an update; its text is what :meth:`parse` reads."""

    rule: str
    """One of :data:`RULES`."""
    value: float | int | str | None = None
    """The rule's layer, rank, share or kind of module."""
    without: bool = False
    """Whether everything but that is meant."""

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"there is no part {self.rule!r} of an update; there are {', '.join(RULES)}")
        value, shown = self.value, f"{self.rule}:{self.value}"
        if self.rule in _BARE and value is not None:
            raise ValueError(f"{shown} is one word too many: {self.rule} takes no number")
        if self.rule in _COUNTS and not (isinstance(value, int) and value >= (self.rule == "rank")):
            raise ValueError(f"{shown} needs a whole number, such as {self.rule}:1")
        is_share = isinstance(value, float | int) and 0 < value <= 1
        if self.rule in _SHARES and not is_share and (value is not None or self.rule != "rows"):
            raise ValueError(f"{shown} needs a share above 0 and at most 1, such as {self.rule}:0.1")
        if self.rule == "module" and value not in KINDS:
            raise ValueError(f"{shown} names no kind of module; there are {', '.join(KINDS)}")
        if self.rule == "rank" and self.without:
            raise ValueError("a rank has no rest that is taken over entry by entry; graft another rank instead")

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read ``rule``, ``rule:value`` or ``without:rule:value``.

        Raises:
            ValueError: for a rule that does not exist, or a value that does not fit it.
        """
        words = text.strip().split(":")
        without = words[0] == "without"
        rule, *rest = words[without:] or [""]
        if len(rest) > 1:
            raise ValueError(f"{text!r} has one value too many; write one part at a time, such as {rule}:{rest[0]}")
        return cls(rule, _value(rule, rest[0]) if rest else None, without)

    def __str__(self) -> str:
        value = "" if self.value is None else f":{self.value:g}" if isinstance(self.value, float) else f":{self.value}"
        return f"{'without:' * self.without}{self.rule}{value}"


def _value(rule: str, word: str) -> float | int | str:
    if rule == "module":
        return word
    try:
        return int(word) if rule in _COUNTS else float(word)
    except ValueError:
        return word
