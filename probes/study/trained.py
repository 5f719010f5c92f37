"""The stage that goes along the run: samples at each checkpoint, then the scaling fit, the two phases and the variety.

Samples and scores are kept checkpoint by checkpoint, so that a killed study goes on at the next one.  Each checkpoint
reads its own samples, beside the base.  A study without checkpoints between its ends leaves this stage out.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from hooks.generate import generate
from hooks.model import Model
from hooks.organisms.chains import MARKS
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from hooks.score import TokenTable, score
from probes import tasks
from probes.evidence import Evidence
from probes.latent.offsets import Decoder
from probes.latent.strategies import annotate
from probes.stats import Estimate
from probes.study.checkpoints import Place, Way
from probes.study.materials import Materials, first_samples
from probes.study.noted import note
from probes.training import (
    ENGLISH,
    Checkpoint,
    Grams,
    Scaling,
    Series,
    TwoPhases,
    collapse,
    scaling,
    speed,
    two_phases,
)  # fmt: skip
from probes.training.phrases import Corpus
from probes.training.windows import FEWEST

PROBLEMS = 48
"""Problems that every checkpoint is asked."""
SAMPLES = 8
"""Samples of each."""
CLAIMED = 0.05
"""A bend with a larger p-value is none."""


def training(materials: Materials) -> None:
    """Sample, read and measure every checkpoint of the run; nothing where only its ends are known."""
    way = Way.of(materials.config)
    if not way.places:
        return
    series = Series.of([_checkpoint(materials, way, index) for index in range(len(way.places))])
    config = materials.config
    options: dict[str, Any] = {"n_boot": max(100, config.n_boot // 4), "seed": config.seed}
    record: dict[str, Any] = {
        "checkpoints": len(series.checkpoints), "problems": len(series.problems), "samples": series.samples,
        "counted": way.counted,
    }  # fmt: skip
    evidence = Evidence()
    fitted = _scaling(materials, way, series, options, record)
    if fitted is not None:
        evidence = replace(
            evidence, scaling_top=fitted.top, scaling_error=_size(fitted), scaling_lead=fitted.ahead_of_rival
        )
    phases = _phases(materials, series, options, record)
    if not math.isnan(phases.bend.p):
        bent = phases.bend.p <= CLAIMED
        fall = phases.bend.before
        evidence = replace(
            evidence, phase_fall=fall if bent else replace(fall, value=math.nan, low=math.nan, high=math.nan),
            phase_rise=phases.semantic_slope, phase_over_placebo=phases.over_placebo,
        )  # fmt: skip
    # These take no fit a draw, so that they can afford them all.
    drawn = options | {"n_boot": config.n_boot}
    _speed(materials, series, drawn, record)
    _variety(materials, series, drawn, record)
    note(materials.folder, "training", evidence)
    materials.folder.json("training", record)


def _checkpoint(materials: Materials, way: Way, index: int) -> Checkpoint:
    """Samples and token table of one checkpoint, from disk where they are."""
    place, last = way.places[index], len(way.places) - 1
    held = materials.path(f"series-{index:03d}")
    table = materials.folder.root / "tokens" / f"series-{index:03d}.parquet"
    if not (held.exists() and table.exists()):
        pair, side = _pair(materials, place, index, last)
        texts = _written(materials, pair.rl if side == "rl" else pair.base, place, index, last)
        if not table.exists():
            table.parent.mkdir(parents=True, exist_ok=True)
            score(pair, _once(texts), progress=materials.tell(f"{place.name} reads its samples")).save(table)
    side = "base" if index == 0 else "rl"
    texts = Rollouts.load(held)
    read = TokenTable.load(table).frame.rename(columns={f"logp_{side}": "logp", f"entropy_{side}": "entropy"})
    read = read[["problem", "sample", "index", "logp", "entropy"]].rename(columns={"sample": "first"})
    tokens = _firsts(texts).merge(read, on=["problem", "first"], how="inner")
    return Checkpoint(place.name, place.step, texts, tokens.drop(columns="first"))


def _firsts(texts: Rollouts) -> pd.DataFrame:
    """For each sample the first sample of its problem with the same tokens: a late checkpoint often repeats itself."""
    keys = [(problem, tuple(ids)) for problem, ids in zip(texts.frame["problem"], texts.frame["ids"], strict=True)]
    first: dict[tuple[str, tuple[int, ...]], int] = {}
    for key, sample in zip(keys, texts.frame["sample"], strict=True):
        first.setdefault(key, int(sample))
    return texts.frame[["problem", "sample"]].assign(first=[first[key] for key in keys])


def _once(texts: Rollouts) -> Rollouts:
    """The samples without their repetitions; an equal text has equal scores."""
    own = _firsts(texts)
    return Rollouts(texts.frame[(own["sample"] == own["first"]).to_numpy()].reset_index(drop=True))


def _pair(materials: Materials, place: Place, index: int, last: int) -> tuple[Pair, str]:
    """The base beside this checkpoint, and the side that the checkpoint stands on."""
    if index in (0, last):
        return materials.pair, "base" if index == 0 else "rl"
    base = materials.pair.base
    model = Model.load(place.path, dtype=base.dtype, device=base.device, adapter_base=materials.config.base)
    return Pair.of(base, model), "rl"


def _written(materials: Materials, model: Model, place: Place, index: int, last: int) -> Rollouts:
    """Graded samples of one checkpoint; the ends of the run have been sampled already."""
    path = materials.path(f"series-{index:03d}")
    if path.exists():
        return Rollouts.load(path)
    config = materials.config
    asked, count = materials.problems[:PROBLEMS], min(SAMPLES, config.samples)
    if index in (0, last):
        known = materials.rollouts("base_samples" if index == 0 else "rl_samples")
        texts = first_samples(known, count).subset([problem.id for problem in asked])
    else:
        settings = materials.settings(temperature=config.temperature, top_p=config.top_p, n=count)
        move = materials.tell(f"samples of {place.name}")
        texts = tasks.grade(generate(model, asked, progress=move, **settings), asked)
    texts.save(path)
    return texts


def _scaling(
    materials: Materials, way: Way, series: Series, options: dict[str, Any], record: dict[str, Any]
) -> Scaling | None:
    """Accuracy over compute; steps count as the tokens that a sample has had by then."""
    compute = series.steps
    unit = "compute"
    if way.counted == "checkpoints":
        record["scaling_needs"] = "the compute or the step of each checkpoint (--compute, or names with step numbers)"
        return None
    if len(compute) - 1 < FEWEST:
        record["scaling_needs"] = f"at least {FEWEST} checkpoints after the base; this run has {len(compute) - 1}"
        return None
    if way.counted == "steps":
        lengths = series.lengths().mean(axis=0)
        compute = np.r_[0.0, np.cumsum(np.diff(series.steps) * (lengths[1:] + lengths[:-1]) / 2)]
        unit = "steps × mean tokens of a sample"
    table = series.accuracy()
    whole = table[~np.isnan(table).any(axis=1)]
    if len(whole) < 2 or not 0 <= whole[:, 0].mean() < 1:
        record["scaling_needs"] = "graded samples, and a base that does not solve everything"
        return None
    found = scaling(compute, table, reference="F", unit=unit, **options)
    folder = materials.folder
    folder.table("training_scaling", found.frame)
    folder.table("training_points", found.points)
    folder.table("training_windows", found.windows)
    folder.figure("training_scaling", found.plot())
    record["scaling"] = {
        "sentence": found.headline(), "identified": found.identified, "asymptote": _numbers(found.top),
        "asymptote_over_problems": _numbers(found.top_over_problems), "exponent_B": _numbers(found.slope),
        "C_mid": _numbers(found.middle), "moved_between_windows": found.moved, "start": found.start,
        "sigmoid_ahead_of_power_law": _numbers(found.ahead_of_rival), "unit": unit,
    }  # fmt: skip
    return found


def _phases(materials: Materials, series: Series, options: dict[str, Any], record: dict[str, Any]) -> TwoPhases:
    """Planning and execution along the run, with phrases that fit the language of the texts."""
    decoder = Decoder(materials.pair.base.tokenizer)

    def offsets(ids: list[int]) -> tuple[str, Any, Any]:
        written = decoder(ids)
        return written.text, written.starts, written.stops

    grams, source = phrases(series, materials.config.seed)
    found = two_phases(series, offsets=offsets, grams=grams, **options)
    folder = materials.folder
    folder.table("training_phases", found.frame)
    folder.table("training_arms", found.arms)
    folder.table("training_phrases", found.grams.astype({"cluster": str}))
    folder.figure("training_phases", found.plot())
    record["phases"] = {
        "sentence": found.headline(), "bend": _numbers(found.breakpoint), "p_of_a_bend": found.bend.p,
        "phrase_entropy_slope": _numbers(found.semantic_slope), "over_placebo": _numbers(found.over_placebo),
        "planning_of_high_entropy": _numbers(found.planning_of_high), "same_signs_when_dropped": found.robust,
        "phrases": source,
    }  # fmt: skip
    return found


def phrases(series: Series, seed: int) -> tuple[Grams, str]:
    """Strategic phrases for a series, and where they are from.

    The organisms' language announces strategies by single words, which are taken as they are; else phrases are mined
    from correct samples; where these share none, a short English list stands in.
    """
    frame = series.checkpoints[0].rollouts.frame
    if np.mean([text.startswith(tuple(MARKS)) for text in frame["text"]]) > 0.5:
        kinds: dict[str, list[str]] = {}
        for mark, kind in MARKS.items():
            kinds.setdefault(kind, []).append(mark)
        return Grams.of(kinds), "the words that announce a strategy in the organisms' language"
    solutions = Corpus.of(series).solutions()
    try:
        return Grams.mine(solutions, seed=seed), f"mined from {len(solutions)} correct samples"
    except ValueError as error:
        return Grams.of(ENGLISH), f"the package's English list, because {error}"


def _speed(materials: Materials, series: Series, options: dict[str, Any], record: dict[str, Any]) -> None:
    """How soon most of the gain is there, where anything was graded."""
    if np.isnan(series.accuracy()).any(axis=1).all():
        return
    found = speed({materials.config.name: series}, **options)
    materials.folder.table("training_speed", found.frame)
    materials.folder.figure("training_speed", found.plot())
    record["speed"] = {"sentence": found.headline()}


def _variety(materials: Materials, series: Series, options: dict[str, Any], record: dict[str, Any]) -> None:
    """Variety of the samples along the run."""
    annotator, labels = materials.config.annotator, None
    if annotator in ("auto", "english", "organism"):
        tokenizer = materials.pair.base.tokenizer
        labels = {one.name: annotate(one.rollouts, annotator, tokenizer=tokenizer).frame for one in series.checkpoints}
    found = collapse(series, labels=labels, **options)
    materials.folder.table("training_variety", found.frame)
    materials.folder.table("training_changes", found.changes)
    materials.folder.figure("training_variety", found.plot())
    record["variety"] = {"sentence": found.headline()}


def _size(found: Scaling) -> Estimate:
    """Size of the signed error at the end: an interval on both sides of zero begins at zero."""
    row = pd.Series(found.frame.set_index("form").loc["sigmoid"])
    value, low, high = (float(row[f"error_end{end}"]) for end in ("", "_low", "_high"))
    least = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    n = found.top_over_problems.n
    return Estimate(abs(value), least, max(abs(low), abs(high)), n, "bootstrap over problems")


def _numbers(value: Estimate) -> dict[str, float | None]:
    return {
        name: one if math.isfinite(one) else None
        for name, one in (("value", value.value), ("low", value.low), ("high", value.high))
    }
