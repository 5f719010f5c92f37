"""Section "Is it already there?": can the strategy about to come be read in the base model, and used by steering it."""

from __future__ import annotations

import re

import pandas as pd

from probes.report.beforehand import beforehand
from probes.report.blocks import Absent, Block, Fold, Heading, Section, Text
from probes.report.drawings import dose_response
from probes.report.folder import StudyReader
from probes.report.heatmap import heat_map
from probes.report.names import VECTORS
from probes.report.pictures import picture
from probes.report.steered import dose_curve
from probes.report.tables import Column, interval, table_of
from probes.report.wording import NOT_MEASURED

PROBES = "It needs a probe sweep over base activations (stage “probes” of a study)."
STEERING = "It needs directions from base activations and steered generation (stage “steering” of a study)."

PROBE_COLUMNS = (
    Column("label", "Strategy", "text"),
    Column("place", "Place", "text"),
    Column("site", "Site", "text"),
    interval("auroc", "Probe AUROC", "auroc", ends=("low", "high")),
    Column("ceiling", "Best possible", "auroc", setting=True),
    Column("shuffled", "Shuffled", "auroc"),
    Column("position", "Position", "auroc"),
    Column("length", "Length", "auroc"),
    Column("bag", "Last tokens", "auroc"),
    Column("twin", "Untrained twin", "auroc"),
    Column("selectivity", "Selectivity", "auroc"),
    Column("q", "q", "p", setting=True),
)

NESTED_COLUMNS = (
    Column("label", "Strategy", "text"),
    Column("place", "Place", "text"),
    Column("layers", "Layer of most folds", "text"),
    interval("auroc", "Probe AUROC", "auroc", ends=("low", "high")),
    Column("ceiling", "Best possible", "auroc", setting=True),
    Column("baseline_tokens", "Last tokens", "auroc"),
    Column("baseline_position", "Position", "auroc"),
    Column("baseline_length", "Length", "auroc"),
    interval("over_baseline", "Over the best of these", "auroc"),
    Column("q", "q", "p", setting=True),
)
"""Of the table ``probes_selected``, whose layer each fold chose without its own problems."""

FOLDED = ("position", "length", "shuffled")
"""Columns of the whole table alone: what is reported has to fit a page."""
SIZES = (Column("n", "Rows", "count", setting=True), Column("positives", "Positives", "count", setting=True))

DECISIONS = re.compile(r"\(last_prompt \| \(after\(token_ids=\[([\d, ]+)\], regex=None\) & completion\)\)")
"""The rule of :func:`probes.latent.trial.decision_positions` as its text has it."""
IDS = re.compile(r"\[(\d[\d, ]*)\]")
LONG = 80
"""Characters of a rule that are shown as they are."""

STEERING_COLUMNS = (
    Column("arm", "Arm", "text"),
    Column("label", "Strategy", "text"),
    Column("layer", "Layer", "count", setting=True),
    Column("alpha", "Dose", setting=True),
    Column("positions", "Places", "text"),
    interval("accuracy", "Accuracy", "share", ends=("low", "high")),
    interval("recovery", "Gain recovered", "share"),
    Column("strategy_share", "Strategy used", "share"),
    Column("kl_damage", "Damage (KL)", "nats"),
    Column("p", "p", "p", setting=True),
)


def already_there(reader: StudyReader) -> Section:
    """Layer × strategy heat map, probes beside their baselines, steering beside random vectors."""
    question = (
        "If the strategies are in the base model before any RL, its own activations should say which one is about to "
        "come, and a vector built from them alone should bring it out. A probe shows that something can be read, not "
        "that the model uses it; steering shows that it can be used."
    )
    blocks = (
        Heading("Probes on base activations"),
        *_probes(reader),
        *beforehand(reader),
        Heading("Steering the base model"),
        *_steering(reader),
    )
    return Section("already-there", "Is it already there?", "Already there?", question, blocks)


def _probes(reader: StudyReader) -> list[Block]:
    frame = reader.frame("probes")
    if frame is None and reader.figure("probes") is None:
        return [Absent("Probes", PROBES)]
    caption = (
        "How well the layer tells, before its first token, that the strategy is about to come. 0.5 is chance; what any "
        "probe could reach at best stands in the table."
    )
    drawn = None if frame is None else heat_map(frame)
    title = "Probe AUROC by layer and strategy"
    blocks: list[Block] = [picture(reader, "probes", drawn, title=title, caption=caption, needs=PROBES)]
    if frame is None:
        return blocks
    frame = _bare(frame)
    note = (
        "Place: start is the first choice of a text, inner a later one. Best possible: the ceiling where the truth is "
        "known. Last tokens, position, length, shuffled: baselines that see no activation or wrong labels. Untrained "
        "twin: the same network with random weights. Selectivity: the lead over a control task with random labels. "
        "Each AUROC is of one layer: the best of them was picked after looking, so quote the reported ones. q: false "
        "discovery rate over the sweep."
    )
    whole = table_of(frame, (*PROBE_COLUMNS, *SIZES), "Every probe of the sweep", note=note, sortable=True)
    return [*blocks, _reported(reader, frame), Fold(f"All {len(frame)} probes", (whole,))]


def _reported(reader: StudyReader, frame: pd.DataFrame) -> Block:
    """What may be quoted: the nested values, or the marked layers of a sweep that came without them."""
    caption = "Reported probes beside their baselines"
    nested = reader.frame("probes_selected", needs=("label", "auroc", "sites"))
    if nested is not None:
        note = (
            "Each fold chose its layer on other problems than those it is scored on, so that the AUROC may be quoted. "
            "Last tokens, position, length: baselines that see no activation, on the same rows. q: false discovery "
            "rate over these. Single layers, the untrained twin and shuffled labels stand in the table below."
        )
        place = nested["label"].astype(str).str.extract(r"\((\w+)\)$", expand=False)
        shown = _bare(nested.assign(place=place, layers=nested["sites"].map(_agreed)))
        return table_of(shown, NESTED_COLUMNS, caption, note=note)
    reported = frame[frame["reported"].astype("boolean").fillna(False)] if "reported" in frame else frame.iloc[:0]
    if reported.empty:
        return Text("No layer was chosen by nested selection; the whole curve is in the table below.", "note")
    short = [column for column in PROBE_COLUMNS if column.name not in FOLDED]
    note = "AUROC at the marked layer; what choosing it won is not taken off."
    return table_of(reported, short, caption, note=note)


def _bare(frame: pd.DataFrame) -> pd.DataFrame:
    """Labels without their place, which has a column of its own."""
    if not {"label", "place"} <= set(frame.columns):
        return frame
    pairs = zip(frame["label"], frame["place"], strict=True)
    return frame.assign(label=[str(label).removesuffix(f" ({place})") for label, place in pairs])


def _agreed(sites: object) -> str:
    """From ``resid_post.3 x4, resid_post.1 x1`` to the site that most folds chose, or that there is none."""
    counts = {site: int(count) for site, count in re.findall(r"(\S+) x(\d+)", str(sites))}
    if not counts:
        return NOT_MEASURED
    site, most, folds = max(counts, key=lambda name: counts[name]), max(counts.values()), sum(counts.values())
    if 2 * most > folds:
        return f"{site} ({most} of {folds} folds)"
    return f"folds chose different layers (at most {most} of {folds} agreed)"


def _steering(reader: StudyReader) -> list[Block]:
    frame = reader.frame("steering")
    if frame is None and reader.figure("steering") is None:
        return [Absent("Steering", STEERING)]
    caption = (
        "Vectors come from base activations alone. Grey: controls of the same length. A learned vector says something "
        "only where it stands apart from them. Each mark is one vector with its interval."
    )
    drawn = None if frame is None else dose_response(frame)
    title = "Accuracy of the base model under steering"
    blocks: list[Block] = [picture(reader, "steering", drawn, title=title, caption=caption, needs=STEERING)]
    if frame is None:
        return blocks
    if "positions" in frame:
        frame = frame.assign(positions=frame["positions"].map(_places))
    one_place = "positions" in frame and frame["positions"].nunique() <= 1
    left_out = (*(() if reader.identified else ("recovery",)), *(("positions",) if one_place else ()))
    columns = [column for column in STEERING_COLUMNS if column.name not in left_out]
    note = "Damage: divergence from the unsteered model on the same text. p: against the random vectors."
    if one_place and len(places := frame["positions"].dropna()):
        note += f" Steered at {places.iloc[0]}."
    table = table_of(_ordered(frame), columns, "Steered generation beside random vectors", note=note, sortable=True)
    runs = table if len(frame) <= 14 else Fold(f"All {len(frame)} steered runs", (table,))
    return [*blocks, *dose_curve(reader), runs]


def _places(rule: object) -> object:
    """Where it was steered, in words where the rule is the usual one; a long rule without its token ids."""
    if not isinstance(rule, str):
        return rule
    if found := DECISIONS.fullmatch(rule):
        count = found[1].count(",") + 1
        return f"the last prompt token and every generated token that ends a sentence or a step ({count} token ids)"
    if len(rule) <= LONG:
        return rule
    short = IDS.sub(lambda held: f"[{held[1].count(',') + 1} token ids]", rule)
    return short if len(short) <= LONG else f"{short[: LONG - 1]}…"


def _ordered(frame: pd.DataFrame) -> pd.DataFrame:
    """References first, then learned vectors, then controls."""
    if "arm" not in frame:
        return frame
    rank = {"unsteered": 0, "rl": 1, "steered": 2}
    words = {**VECTORS, "unsteered": "base, unsteered", "rl": "tuned model"}
    ordered = frame.assign(_rank=[rank.get(str(arm), 3) for arm in frame["arm"]]).sort_values("_rank", kind="stable")
    return ordered.assign(arm=[words.get(str(arm), arm) for arm in ordered["arm"]])
