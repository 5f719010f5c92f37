"""What if the other model wrote just these tokens? One text by two authors, a gate deciding who writes where.

With pi_a the primary and pi_b the other model, and S_t = 1 where the gate opens on the text so far,

    x_t  ~  pi_b( . | x_<t)  if S_t  else  pi_a( . | x_<t)

evaluated on the mixed text itself (arXiv 2603.22446). Both draws use the same random number of (seed, problem, sample,
t), the one that :func:`hooks.generate.generate` uses: a gate that never opens gives the primary's own samples, one that
always opens the other's, and a token changes only where the distributions part.

The result is that of running both models in full at every step without a cache; drafting, catching up and cutting
(:mod:`hooks.duet`) change the time it takes. Equality is exact in exact arithmetic, and token for token in double
precision on every gate tested; in half precision a logit within rounding of a tie or of the threshold may fall
otherwise, as it may between two batch sizes.

What it does not show: recovery of a gain under an oracle gate says that few places carry it, not that the base could
find them, nor that the other model's tokens bring no content of their own; for that there are base-only gates and the
other ways of writing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

from hooks.duet import play
from hooks.gate import Gate
from hooks.generate import table
from hooks.judge import Judge, Write
from hooks.ledger import Settled
from hooks.pace import Pace
from hooks.requests import Row, in_seats, rows_of
from hooks.rollouts import Rollouts
from hooks.sampling import check_sampling
from hooks.setting import Setting
from hooks.shift import Shift
from hooks.sites import Site, expand_sites

Half = Literal["base", "rl"]
Reach = Literal["text", "place"]


def mix(
    pair: Any,
    prompts: Sequence[Any],
    *,
    gate: Gate,
    primary: Half = "base",
    n: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    max_new_tokens: int = 256,
    seed: int = 0,
    draft: int | Literal["auto"] = 5,
    other_steering: Any = None,
    write: Write = "other",
    steering: Any = None,
    reach: Reach = "text",
    top_k: int = 3,
    write_temperature: float | None = None,
    stop: Sequence[str] | str = (),
    batch_size: int = 64,
    template: str = "auto",
    progress: Callable[[int, int], object] | None = None,
) -> Rollouts:
    """Let two authors write every text, the second where the gate opens.

    Args:
        pair: a :class:`hooks.pair.Pair`, also of different widths and depths.
        prompts: strings, or anything with ``id`` and ``prompt``; encoded as the primary reads them.
        gate: see :mod:`hooks.gate`.
        primary: who writes where the gate is closed.
        n: samples a prompt.
        temperature: 0 is greedy.
        top_p: nucleus, for both authors.
        max_new_tokens: length at which a text is cut off.
        seed: names the random streams.
        draft: tokens the primary writes at most before the other reads them; 1 is step by step, "auto" follows rates
            and times.  Changes the time and not the text, which is why a number, whose matrix products have the same
            shapes in every run, is the default.
        other_steering: a :class:`hooks.steer.Steering` of the other model.
        write: who writes at open gates.  "other": the other model.  "steered": the primary under ``steering``.
            "resample": the primary, drawn again with a stream of its own.  "rank_among_top_k": the other model choosing
            among the primary's ``top_k`` most probable tokens.
        steering: for "steered"; or a :class:`hooks.shift.Shift`, which pushes each place by its sort (column ``sort``).
        reach: what a steered writer has read.  "text": the whole text under ``steering``, at its positions, so that
            always open it is ``generate(primary, steering=steering)``.  "place": the text as the unsteered primary
            reads it, with ``steering`` at the open place alone (the protocol of arXiv 2510.07364).
        top_k: for "rank_among_top_k".
        write_temperature: of the second author, the same as ``temperature`` when None.
        stop: strings that end a text as soon as it holds one.
        batch_size: rows at a time, the next beginning where one has ended; halved with a warning when memory runs out.
        template: "auto", "none" or "chat", see ``Model.encode``.
        progress: called with (samples done, samples in all).

    Returns:
        One row a sample, prompts in the order given.  A text ends at an end-of-sequence token of whoever wrote it.
        Besides the usual columns a list each, one entry a token: ``gate_open``; ``changed`` (open, and not what the
        primary would have written); ``gate_score``; ``js`` (NaN where the other was not asked); ``entropy_primary``,
        ``entropy_other``; ``primary_choice`` and ``other_choice``, what each model would have written there (None where
        it was not asked).  ``author`` is "base", "rl" or "steered"; ``logp`` is under the author's untempered
        distribution, also where the author's choice was narrowed.

    Raises:
        ValueError, TypeError: for options that mean nothing or do not go together, and for models whose cache
            cannot be cut.
    """
    first, second = _authors(pair, primary)
    judge = _judge(gate, write, temperature, top_p, write_temperature, top_k)
    _check(judge, steering, other_steering, reach, max_new_tokens)
    sweeps = any(one is not None and one.per_row for one in (steering, other_steering))
    rows = rows_of(first, prompts, n=n, template=template, repeats=sweeps)
    setting = Setting(
        primary=first,
        other=second if gate.needs == "both" or judge.asks_other else None,
        judge=judge,
        cut=pair.cut,
        max_new_tokens=max_new_tokens,
        seed=seed,
        pace=Pace(draft, first.device, always_reads=gate.needs == "both"),
        site=expand_sites(gate.site, first.n_layers)[0] if gate.site else None,
        strings=_strings(stop),
        other_steering=None if other_steering is None else other_steering.for_rows(len(rows), n),
        steering=None if steering is None else steering.for_rows(len(rows), n),
        at_place=reach == "place",
        other_site=_other_site(steering, gate, second),
    )
    written: list[Settled] = in_seats(
        rows, lambda begin, seats, hand: play(setting, begin, seats, hand), batch_size=batch_size, progress=progress
    )
    return _table(setting, rows, written, primary)


def _authors(pair: Any, primary: str) -> tuple[Any, Any]:
    if primary not in get_args(Half):
        raise ValueError(f'primary is "base" or "rl", not {primary!r}')
    return (pair.base, pair.rl) if primary == "base" else (pair.rl, pair.base)


def _strings(stop: Sequence[str] | str) -> tuple[str, ...]:
    strings = (stop,) if isinstance(stop, str) else tuple(stop)
    if "" in strings:
        raise ValueError("an empty stop string would end every text at once; leave it out")
    return strings


def _judge(
    gate: Gate, write: Write, temperature: float, top_p: float, write_temperature: float | None, top_k: int
) -> Judge:
    own = temperature if write_temperature is None else write_temperature
    check_sampling(temperature, top_p)
    check_sampling(own, top_p)
    if write not in get_args(Write):
        raise ValueError(f"write is one of {', '.join(get_args(Write))}, not {write!r}")
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, not {top_k}")
    return Judge(gate, write, temperature, top_p, own, top_k)


def _check(judge: Judge, steering: Any, other_steering: Any, reach: str, max_new_tokens: int) -> None:
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, not {max_new_tokens}")
    if reach not in get_args(Reach):
        raise ValueError(f'reach is "text" or "place", not {reach!r}')
    if (judge.write == "steered") != (steering is not None):
        raise ValueError('write="steered" and steering go together; give both or neither')
    if reach == "place" and judge.write != "steered":
        raise ValueError('reach="place" is about a steered writer; use it with write="steered"')
    if other_steering is not None and judge.gate.needs != "both" and not judge.asks_other:
        raise ValueError("other_steering was given, and neither the gate nor the writer asks the other model")
    if isinstance(steering, Shift) and reach != "place":
        raise ValueError('a shift acts at single places; use it with reach="place"')
    if judge.write == "resample" and judge.write_temperature == 0:
        raise ValueError('write="resample" at temperature 0 draws the same token again; give write_temperature')


def _other_site(steering: Any, gate: Gate, second: Any) -> Site | None:
    """Where a shift looks at the other model; refuses one that could see nothing there."""
    if not isinstance(steering, Shift) or steering.other_site is None:
        return None
    if gate.needs != "both":
        raise ValueError(f'{steering} sorts places by the other model; use a gate with needs="both"')
    found: Site = expand_sites(steering.other_site, second.n_layers)[0]
    return found


def _table(setting: Setting, rows: Sequence[Row], written: Sequence[Settled], primary: Half) -> Rollouts:
    other: Half = "rl" if primary == "base" else "base"
    names = {"other": other, "rank_among_top_k": other, "steered": "steered", "resample": primary}
    authors = (primary, names[setting.judge.write])
    who = [[authors[opened] for opened in one.columns["gate_open"]] for one in written]
    rollouts = table(setting.primary, rows, written, who)
    columns = {name: [one.columns[name] for one in written] for name in (written[0].columns if written else ())}
    second = "itself" if setting.other is None else setting.other.name
    label = f"{setting.primary.name} + {second} where {setting.judge.gate}"
    return rollouts.with_columns(model=[label] * len(rows), **columns)
