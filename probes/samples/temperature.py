r"""At which temperature is the RL model as uncertain as the base, and how does it do there?

RL lowers the entropy of what a model writes, so that at one temperature the base explores more, and more explored means
more solved at large k. The entropy-matched comparison (arXiv 2504.13837) raises the RL model's temperature until the
mean entropy of its next token, over its own samples, equals the base's at the base's temperature:

.. math:: H_{RL}(T^*) = H_{base}(T_0), \qquad
          H(T) = \mathrm{E}_{y \sim \pi_T}\, \tfrac{1}{|y|} \sum_t H\!\left(\pi_T(\cdot | y_{<t})\right),

where :math:`\pi_T` is the distribution that is sampled from, temperature and nucleus applied; here the mean is over all
tokens of all samples. :math:`T^*` is found by Brent's method (scipy) on the logarithms of temperature and entropy, over
anything that gives the entropy at a temperature: sampling anew (:func:`sampled_entropy`) or a table of both.

Assumes that the entropy rises with the temperature between the ends of the search. What it does not show: that equal
entropy is equal exploration; a model may be uncertain about words and sure of the plan. The interval of :math:`T^*` is
not given (one run): with few samples :math:`H` is noisy, and the tolerance says how closely it was met.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from scipy.optimize import brentq

from hooks import divergence
from hooks.generate import generate
from hooks.model import Model
from hooks.packing import by_length, pad_right, tokens_a_batch
from hooks.rollouts import Rollouts
from hooks.sampling import check_sampling, tempered
from probes.results import Result, manifest
from probes.samples.counts import Samples
from probes.samples.passk import PassK, passk

Entropy = Callable[[float], float]
"""Mean entropy in nats at a temperature."""
PLACES = 1 << 22
"""Logits held at a time."""
FLOOR = 1e-6
"""Least ratio of an entropy to its target that the search tells from smaller ones."""


@dataclass(frozen=True, repr=False, eq=False)
class MatchedTemperature(Result):
    """The temperature at which the RL model's entropy is the base's."""

    temperature: float
    """Of the RL model; NaN where the entropy was not met within the tolerance."""
    target: float
    """Entropy of the base at its temperature, nats a token."""
    reached: float
    """Entropy of the RL model at that temperature, nats a token; NaN where it was not met."""
    frame: pd.DataFrame
    """Every temperature that was tried, sorted: ``temperature``, ``entropy``."""
    note: str
    """How it was found, or why it was not."""
    passk: PassK | None
    """pass@k of the base against the RL model at that temperature, where samples were given."""
    contrasts: pd.DataFrame | None = None
    """Of each contrast ``contrast``, ``temperature``, and ``ratio``, our temperature over it (one run each); None
    without any. 1 where RL made the model no surer than the other training did."""

    def headline(self) -> str:
        """The temperature and both entropies."""
        if math.isnan(self.temperature):
            return f"no matched temperature: {self.note}"
        return (
            f"RL at temperature {self.temperature:.3g} has an entropy of {self.reached:.3g} nats a token, the base "
            f"{self.target:.3g} (one run; {self.note})"
        )

    def plot(self) -> go.Figure:
        """Entropy over temperature, with the base's entropy and the matched temperature."""
        figure = go.Figure()
        figure.add_scatter(
            x=list(self.frame["temperature"]), y=list(self.frame["entropy"]), mode="lines+markers", name="RL"
        )
        figure.add_hline(y=self.target, line_dash="dot", annotation_text="base")
        if not math.isnan(self.temperature):
            figure.add_vline(x=self.temperature, line_dash="dot", annotation_text=f"T = {self.temperature:.3g}")
        return figure.update_layout(
            template="plotly_white", xaxis_title="temperature", yaxis_title="entropy (nats a token)",
            title=self.headline(),
        )  # fmt: skip


def matched_temperature(
    target: float,
    entropy: Entropy | pd.DataFrame,
    *,
    low: float = 0.1,
    high: float = 4.0,
    tolerance: float = 0.01,
    steps: int = 12,
    samples: tuple[Samples, Callable[[float], Samples] | Samples] | None = None,
    passk_options: Mapping[str, Any] | None = None,
    contrast: Mapping[str, MatchedTemperature] | None = None,
) -> MatchedTemperature:
    """The RL temperature at which its own samples have the base's entropy.

    Args:
        target: mean token entropy of the base's samples at its temperature, nats.
        entropy: the RL model's at a temperature (:func:`sampled_entropy` with all but the temperature filled in), or a
            table with columns ``temperature`` and ``entropy``, linear in the logarithm of the temperature between rows.
        low: least temperature of the search; of a table, its own ends count.
        high: largest temperature of the search.
        tolerance: relative error of the entropy at which the search ends.
        steps: temperatures tried between the two ends, at most.
        samples: graded samples or counts of the base, and those of the RL model at the temperature found (or what makes
            them from it); gives pass@k there.
        passk_options: further arguments of :func:`probes.samples.passk.passk`.
        contrast: by name ("random reward", "SFT") the same of another training of the base, met at the same entropy.

    Raises:
        ValueError: a target, a range or a table that means nothing, or a contrast met at another entropy.

    It does not show that equal entropy is equal exploration.
    """
    if not (math.isfinite(target) and target > 0):
        raise ValueError(f"The base's entropy is a positive number of nats, not {target}.")
    if isinstance(entropy, pd.DataFrame):
        tried, found, note = _in_table(target, entropy)
    else:
        if not 0 < low < high:
            raise ValueError(f"Search between two temperatures above 0, the lower first, not from {low} to {high}.")
        tried, found, note = _by_search(target, entropy, low, high, tolerance, steps)
    compared = None
    if samples is not None and not math.isnan(found[0]):
        base, other = samples
        compared = passk(base, other(found[0]) if callable(other) else other, **(passk_options or {}))
    return MatchedTemperature(
        temperature=found[0],
        target=float(target),
        reached=found[1],
        frame=pd.DataFrame(sorted(tried), columns=["temperature", "entropy"]),
        note=note,
        passk=compared,
        contrasts=_beside(found[0], float(target), contrast) if contrast else None,
        manifest=manifest(
            measure="samples.matched_temperature", low=low, high=high, tolerance=tolerance, steps=steps,
            contrast=sorted(contrast or {}),
        ),
    )  # fmt: skip


def _beside(temperature: float, target: float, contrast: Mapping[str, MatchedTemperature]) -> pd.DataFrame:
    for name, other in contrast.items():
        if not math.isclose(other.target, target, rel_tol=0.01):
            raise ValueError(
                f"The contrast {name!r} is met at {other.target:.3g} nats and this model at {target:.3g}; match both "
                "to one base."
            )
    rows = [(name, other.temperature, temperature / other.temperature) for name, other in contrast.items()]
    return pd.DataFrame(rows, columns=["contrast", "temperature", "ratio"])


Found = tuple[list[tuple[float, float]], tuple[float, float], str]


def _in_table(target: float, table: pd.DataFrame) -> Found:
    """The first place, from below, at which the line through the rows meets the target."""
    missing = [name for name in ("temperature", "entropy") if name not in table.columns]
    if missing:
        raise ValueError(f"A table of entropies needs the column {missing[0]!r}.")
    rows = table[["temperature", "entropy"]].dropna().sort_values("temperature").to_numpy(dtype=float)
    if len(rows) < 2 or (rows[:, 0] <= 0).any() or (np.diff(rows[:, 0]) == 0).any():
        raise ValueError("A table of entropies needs two temperatures above 0 at least, each once.")
    tried = [(float(t), float(h)) for t, h in rows]
    for (t0, h0), (t1, h1) in pairwise(tried):
        if h0 <= target <= h1 and h1 > h0:
            part = (target - h0) / (h1 - h0)
            at = math.exp(math.log(t0) + part * (math.log(t1) - math.log(t0)))
            return tried, (at, float(target)), f"between the rows {t0:g} and {t1:g}"
    return tried, (math.nan, math.nan), _outside(target, tried[0], tried[-1])


def _by_search(target: float, entropy: Entropy, low: float, high: float, tolerance: float, steps: int) -> Found:
    tried: list[tuple[float, float]] = []
    known: dict[float, float] = {}

    def missed(place: float) -> float:
        if place not in known:
            known[place] = float(entropy(math.exp(place)))
            tried.append((math.exp(place), known[place]))
            if math.isnan(known[place]):
                raise ValueError(f"The RL model wrote no token at temperature {math.exp(place):.3g}.")
        here = known[place]
        # 0 ends the search. An entropy of 0 has no logarithm; the floor keeps the side of the target on which it lies.
        return 0.0 if abs(here / target - 1) <= tolerance else math.log(max(here / target, FLOOR))

    ends = [missed(math.log(end)) for end in (low, high)]
    if ends[0] > 0 or ends[1] < 0:
        return tried, (math.nan, math.nan), _outside(target, *tried)
    if 0.0 not in ends:
        brentq(missed, math.log(low), math.log(high), maxiter=steps, disp=False, full_output=True)
    best = min(tried, key=lambda one: abs(one[1] - target))
    off = abs(best[1] / target - 1)
    if off <= tolerance:
        return tried, best, f"{len(tried)} temperatures tried, met within {tolerance:.0%}"
    why = f"of {len(tried)} temperatures the nearest, {best[0]:.3g}, gives {best[1]:.3g} nats, off by {off:.1%}"
    return tried, (math.nan, math.nan), f"{why}; {_crossing(target, tried)}"


def _crossing(target: float, tried: Sequence[tuple[float, float]]) -> str:
    """Between which two neighbours among the temperatures the entropy goes over the target, the closest such pair."""
    pairs = [(a, b) for a, b in pairwise(sorted(tried)) if a[1] <= target <= b[1]]
    (t0, h0), (t1, h1) = min(pairs, key=lambda pair: pair[1][0] / pair[0][0])
    return f"it goes from {h0:.3g} to {h1:.3g} nats between {t0:.4g} and {t1:.4g}"


def _outside(target: float, low: tuple[float, float], high: tuple[float, float]) -> str:
    return (
        f"the base's {target:.3g} nats lie outside the RL model's {low[1]:.3g} to {high[1]:.3g} between the "
        f"temperatures {low[0]:g} and {high[0]:g}"
    )


def sampled_entropy(
    model: Model, prompts: Sequence[Any], temperature: float, *, top_p: float = 1.0, n: int = 4, seed: int = 0,
    **options: Any,
) -> float:  # fmt: skip
    """Mean entropy, in nats, of the distributions that a model samples its own texts from at a temperature.

    Args:
        model: whose.
        prompts: strings, or anything with ``id`` and ``prompt``.
        temperature: above 0.
        top_p: nucleus.
        n: samples a prompt; the same random numbers at every temperature, so that the search is not shaken by chance.
        seed: names the random streams.
        **options: of :func:`hooks.generate.generate`, such as ``max_new_tokens``.

    It does not show how the entropy is spread over the text.
    """
    texts = generate(model, prompts, n=n, temperature=temperature, top_p=top_p, seed=seed, **options)
    return float(np.mean(token_entropies(model, texts, temperature, top_p=top_p)))


@torch.no_grad()
def token_entropies(
    model: Model, rollouts: Rollouts, temperature: float, *, top_p: float = 1.0
) -> Float[np.ndarray, "token"]:
    """Entropy, in nats, of the tempered distribution that each new token would be drawn from, text after text.

    Raises:
        ValueError: a temperature of 0 or below, where nothing is drawn, or texts without ids.

    It does not show what the tokens say.
    """
    check_sampling(temperature, top_p)
    if temperature <= 0:
        raise ValueError("Greedy decoding draws nothing, so it has no entropy; give a temperature above 0.")
    texts = rollouts.sequences()
    counts = np.array([len(ids) - start for ids, start in texts])
    ends = np.cumsum(counts)
    out = np.full(int(counts.sum()), np.nan)
    step = max(1, PLACES // model.d_vocab)
    for batch in by_length([len(ids) for ids, _ in texts], tokens_a_batch(None, model.device)):
        # The last token predicts nothing that is in the text.
        padded = pad_right([np.asarray(texts[row][0][:-1]) for row in batch], model.pad_id).to(model.device)
        hidden = model.backbone(padded)
        for place, row in enumerate(batch):
            ids, start = texts[row]
            own = hidden[place, start - 1 : len(ids) - 1]
            found = []
            for part in own.split(step):
                p = tempered(model.unembed(part), temperature, top_p)
                found.append(divergence.entropy(p.log()).float().cpu().numpy())
            out[ends[row] - counts[row] : ends[row]] = np.concatenate(found) if found else []
    return out
