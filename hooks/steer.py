"""Directions into a network: what is added where, how strongly, and at which tokens.

With ``v`` the direction, ``u`` its unit vector, ``h`` the activation at the direction's site and ``alpha`` the dose, a
chosen position gets

    add      h + alpha v
    ablate   h - alpha (h . u) u              alpha 1 removes the component (Arditi et al. 2024, arXiv 2406.11717)
    project  h + (alpha - h . u) u            sets the component to alpha, in units of |h|
    rotate   (h + alpha v) |h| / |h + alpha v|    adds, then gives back the old length

and every other position is left bit for bit as it was.  Under ``relative=True`` the dose is counted in typical norms of
the activation: ``v`` becomes ``typical_norm * u`` (and ``project`` sets the component to ``alpha * typical_norm``).
Addition is that of Turner et al. 2023 (arXiv 2308.10248) and Rimsky et al. 2023 (arXiv 2312.06681).

Which positions are chosen is a :class:`hooks.positions.Positions`, and means the same with and without a KV cache,
padded or alone.  That steering changes behaviour does not show that the direction is what the model itself uses: random
vectors of the same length, at the same places, change behaviour too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hooks.direction import Direction
from hooks.positions import Positions

if TYPE_CHECKING:
    from hooks.steered import Steered

Operator = Literal["add", "ablate", "project", "rotate"]
OPERATORS: tuple[str, ...] = get_args(Operator)
Schedule = Callable[[int], float] | tuple[float, ...]
"""From the index of a generated token (0 = the first) to a factor of alpha; a tuple's last entry holds on."""


@dataclass(frozen=True, eq=False)
class Part:
    """One direction with its dose and operator."""

    direction: Direction
    alpha: float | tuple[float, ...]
    """The dose, or one a row."""
    operator: str = "add"

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise ValueError(f"there is no operator {self.operator!r}; operators are {', '.join(OPERATORS)}")
        doses = self.alpha if isinstance(self.alpha, tuple) else (self.alpha,)
        if not doses or not all(math.isfinite(dose) for dose in doses):
            raise ValueError(f"alpha is a finite number, or one a row, not {self.alpha}")


@dataclass(frozen=True, eq=False)
class Steering:
    """What is done to a network while it reads and writes; built by :func:`steering`, switched on with :meth:`on`."""

    parts: tuple[Part, ...]
    """Applied in this order; parts at later layers see what earlier ones did."""
    positions: Positions
    relative: bool = False
    """Whether alpha counts typical norms of the activation."""
    schedule: Schedule | None = None
    """Factor of alpha over the index of the generated token; prompt positions before the last get that of index 0."""
    when: Callable[[Tensor], Tensor] | None = None
    """A condition on the activation itself, [batch, pos, d_model] to truth values [batch, pos], asked at each part's
    site right before the part acts."""
    transfer: bool = False
    """Whether weights other than those the directions came from may be steered."""

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("steering needs at least one direction")
        if self.relative and any(math.isnan(part.direction.typical_norm) for part in self.parts):
            raise ValueError("a relative dose needs directions whose typical_norm was measured; give an absolute alpha")
        if isinstance(self.schedule, tuple) and not self.schedule:
            raise ValueError("a schedule needs at least one factor")
        counts = {len(part.alpha) for part in self.parts if isinstance(part.alpha, tuple)}
        if len(counts) > 1:
            raise ValueError(f"parts have alphas for different numbers of rows: {sorted(counts)}")

    @property
    def per_row(self) -> bool:
        """Whether rows get different doses."""
        return any(isinstance(part.alpha, tuple) for part in self.parts)

    @property
    def rows_differ(self) -> bool:
        """Whether equal prompts in different rows may be steered differently."""
        return self.per_row or _of_rows(self.positions)

    def for_rows(self, n_rows: int, n: int = 1) -> Steering:
        """The same steering with one alpha a row, spreading alphas a prompt over the prompt's ``n`` samples.

        Raises:
            ValueError: when the number of alphas fits neither the rows nor the prompts.
        """
        if not self.per_row:
            return self
        return replace(self, parts=tuple(replace(part, alpha=_spread(part.alpha, n_rows, n)) for part in self.parts))

    def alphas(self, n_rows: int) -> dict[str, list[float]]:
        """The doses as columns of a table, one value a row: ``alpha``, or ``alpha_0``, ... for many parts."""
        doses = [list(part.alpha) if isinstance(part.alpha, tuple) else [part.alpha] * n_rows for part in self.parts]
        return {"alpha" if len(doses) == 1 else f"alpha_{at}": one for at, one in enumerate(doses)}

    @contextmanager
    def on(self, model: Any, *, n_prompt: int | Sequence[int] | None = None) -> Iterator[Steered]:
        """Steer every forward pass of ``model.net`` inside the context, and none after it.

        Anybody's loop may run inside: ``model.net.generate(**inputs)``, plain forwards, a hand-written loop with or
        without a cache.  The first forward over an empty cache is the prompt, what follows on that cache is generated;
        without a cache, a call that repeats the last call's ids and adds one column goes on from it.  ``n_prompt`` says
        otherwise (one number, or one a row), for texts that are read in one go.  Contexts nest, several models may be
        steered at a time, and an exception leaves nothing behind.

        Keys and values computed under steering are steered: do not go on from such a cache outside.  A beam search over
        a cache changes what a row has said without saying so; rules that read the text (``Positions.after`` with a
        regular expression) then want ``use_cache=False``.

        Raises:
            ValueError: when a direction does not fit the model (width, layer, other weights without ``transfer``); and,
                from within a forward, for a padded batch without its attention mask or a cache filled elsewhere.
        """
        from hooks.steered import Steered

        for part in self.parts:
            _check_fits(part.direction, model, self.transfer)
        with Steered(self, model, n_prompt).attached() as steered:
            yield steered

    def __str__(self) -> str:
        unit = " typical norms of" if self.relative else ""
        doses = [f"{len(part.alpha)} doses" if isinstance(part.alpha, tuple) else part.alpha for part in self.parts]
        named = [
            (part.operator, part.direction.label or part.direction.kind, part.direction.site) for part in self.parts
        ]
        parts = [
            f"{kind} {dose}{unit} {name!r} at {site}" for (kind, name, site), dose in zip(named, doses, strict=True)
        ]
        extra = (", scheduled" if self.schedule else "") + (", conditional" if self.when else "")
        return f"{', '.join(parts)} on {self.positions} positions{extra}"


def steering(
    direction: Direction | Sequence[Direction],
    alpha: float | int | Sequence[float | int | Sequence[float | int]] = 1.0,
    *,
    positions: str | Positions = "generated",
    operator: str | Sequence[str] = "add",
    relative: bool = False,
    schedule: Callable[[int], float] | Sequence[float] | None = None,
    when: Callable[[Tensor], Tensor] | None = None,
    transfer: bool = False,
) -> Steering:
    """Steer along one direction or several.

    Args:
        direction: where to; each acts at its own site.
        alpha: the dose.  With one direction a sequence gives one dose a row (a sweep in one batch).  With several, one
            dose for all, or one each, which may itself be a sequence of one a row.
        positions: a name ("generated", "last_prompt", "first:8", ...) or a :class:`Positions`.
        operator: "add", "ablate", "project" or "rotate"; one for all or one a direction.
        relative: count alpha in typical norms of the activation.
        schedule: factor of alpha over the index of the generated token, a function or a list whose last entry holds on.
        when: acts only where this condition on the activation holds, see :func:`above`.
        transfer: allow weights other than those the directions came from.

    Raises:
        ValueError: for lists of different lengths, an unknown operator, or a relative dose that has no unit.
    """
    many = not isinstance(direction, Direction)
    directions: list[Direction] = list(direction) if many else [direction]  # type: ignore[arg-type,list-item]
    doses = _each(alpha, directions, many, "alpha")
    operators = _each(operator, directions, many, "operator")
    parts = tuple(
        Part(one, tuple(float(value) for value in dose) if isinstance(dose, Sequence) else float(dose), str(kind))
        for one, dose, kind in zip(directions, doses, operators, strict=True)
    )
    factors = schedule if schedule is None or callable(schedule) else tuple(float(value) for value in schedule)
    return Steering(parts, Positions.parse(positions), relative, factors, when, transfer)


def above(
    direction: Direction, threshold: float, *, measure: Literal["projection", "cosine"] = "projection"
) -> Callable[[Float[Tensor, "batch pos d_model"]], Bool[Tensor, "batch pos"]]:
    """The condition that an activation's component along ``direction``, or their cosine, exceeds ``threshold``."""
    unit = direction.unit().vector
    there: dict[torch.device, Tensor] = {}

    def holds(hidden: Float[Tensor, "batch pos d_model"]) -> Bool[Tensor, "batch pos"]:
        if hidden.device not in there:
            # Once a device: a copy from the host at every step would make the device wait.
            there[hidden.device] = unit.to(hidden.device)
        hidden = hidden.float()
        score = hidden @ there[hidden.device]
        return (score / hidden.norm(dim=-1) if measure == "cosine" else score) > threshold

    return holds


def act(
    operator: str,
    hidden: Float[Tensor, "batch pos d_model"],
    vector: Float[Tensor, "d_model"],
    dose: Float[Tensor, "#batch #pos"] | float,
    chosen: Bool[Tensor, "batch pos"] | None,
) -> Float[Tensor, "batch pos d_model"]:
    """Apply one operator at the chosen places and nowhere else, computing in float32.

    Args:
        operator: one of :data:`OPERATORS`.
        hidden: the activation.
        vector: the direction in its full length, float32, on the device of ``hidden``.
        dose: alpha, one number or one a place; for "project" the component's new value.
        chosen: the places; None for all of them.
    """
    scale = dose[..., None] if isinstance(dose, Tensor) else dose
    if operator == "add":
        return put(hidden, hidden + (scale * vector).to(hidden.dtype), chosen)
    wide = hidden.float()
    unit = vector / vector.norm()
    if operator == "rotate":
        moved = wide + scale * vector
        # Where the sum is zero it has no direction to keep; leave it zero rather than divide by zero.
        moved = moved * (wide.norm(dim=-1, keepdim=True) / moved.norm(dim=-1, keepdim=True).clamp_min(1e-30))
    else:
        component = (wide @ unit)[..., None]
        moved = wide - scale * component * unit if operator == "ablate" else wide + (scale - component) * unit
    return put(hidden, moved.to(hidden.dtype), chosen)


def put(
    hidden: Float[Tensor, "batch pos d_model"],
    moved: Float[Tensor, "batch pos d_model"],
    chosen: Bool[Tensor, "batch pos"] | None,
) -> Float[Tensor, "batch pos d_model"]:
    """``moved`` at the chosen places (None: all of them), ``hidden`` bit for bit at the others."""
    return moved if chosen is None else torch.where(chosen[..., None], moved, hidden)


def _each(value: Any, directions: list[Direction], many: bool, name: str) -> list[Any]:
    if not many:
        return [value]
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [value] * len(directions)
    if len(value) != len(directions):
        raise ValueError(f"{len(directions)} directions were given with {len(value)} values of {name}; give one each")
    return list(value)


def _spread(alpha: float | tuple[float, ...], n_rows: int, n: int) -> float | tuple[float, ...]:
    if not isinstance(alpha, tuple) or len(alpha) == n_rows:
        return alpha
    if len(alpha) * n != n_rows:
        raise ValueError(
            f"{len(alpha)} alphas were given for {n_rows} rows ({n_rows // n} prompts); give one a row or prompt"
        )
    return tuple(value for value in alpha for _ in range(n))


def _of_rows(positions: Positions) -> bool:
    if positions.rule in ("mask", "spans"):
        return True
    return any(_of_rows(part) for part in positions.arguments if isinstance(part, Positions))


def _check_fits(direction: Direction, model: Any, transfer: bool) -> None:
    name = f"the direction {direction.label!r} at {direction.site}"
    if direction.d_model != model.d_model:
        raise ValueError(f"{name} has width {direction.d_model} and {model.name} has width {model.d_model}")
    if direction.site.layer >= model.n_layers:
        raise ValueError(f"{name} lies outside {model.name}, which has layers 0 to {model.n_layers - 1}")
    if not transfer and direction.weights_hash and direction.weights_hash != model.weights_hash:
        raise ValueError(
            f"{name} comes from other weights ({direction.model or direction.weights_hash[:12]}) than {model.name}; "
            "pass transfer=True to steering if that is meant"
        )
