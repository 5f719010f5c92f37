"""The top of the page: the headline in plain words, the key figures, and the main curve.

A study without a gain to explain says so here and shows accuracies in place of shares of the gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from probes.report.blocks import Absent, Card, Cards, Figure
from probes.report.drawings import by_routed_share
from probes.report.folder import StudyReader
from probes.report.pictures import of_the_gain, picture
from probes.report.wording import missing, quantity

NO_GAIN = (
    "There is no gain to explain: the interval of the accuracy gap between the two models covers zero. "
    "A share of nothing has no meaning, so this page gives accuracies only."
)
"""What a reader is told when the gap cannot be told from zero."""


@dataclass(frozen=True)
class Top:
    """What stands above the sections."""

    name: str
    base: str
    rl: str
    created: str
    sentence: str
    no_gain: str
    cards: Cards
    main: Figure | Absent


def top(reader: StudyReader) -> Top:
    """The top of the page of one study."""
    said = reader.headline.get("sentence")
    return Top(
        name=reader.name,
        base=_word(reader.study.get("base")),
        rl=_word(reader.study.get("rl")),
        created=_day(reader.study.get("created")),
        sentence=said
        if isinstance(said, str) and said
        else "This study has no headline yet: it did not run to its end.",
        no_gain="" if reader.identified else NO_GAIN,
        cards=Cards(tuple(_cards(reader))),
        main=main_figure(reader),
    )


def main_figure(reader: StudyReader) -> Figure | Absent:
    """The recovery curve; accuracy in its place when there is no gain to explain."""
    frame = reader.frame("routing", needs=("routed",))
    needs = "It needs mixed decoding: the tuned model is let in at some tokens (stage “routing” of a study)."
    forward = frame[frame["primary"] == "base"] if frame is not None and "primary" in frame else frame
    if reader.identified:
        levels = [("base model", 0.0), ("tuned model", 1.0)]
        drawn = None if forward is None else by_routed_share(forward, value="recovery", levels=levels)
        caption = (
            "The base model writes; at some tokens the tuned model writes instead. Across: how many. Up: how much of "
            "the accuracy gain comes back. Grey series are controls; the nearer to the upper left, the more the gain "
            "is a matter of when. Bars are intervals; values are not clipped."
        )
        return picture(reader, "recovery", drawn, title="Gain recovered by routing", caption=caption, needs=needs)
    drawn = None if forward is None else by_routed_share(forward, value="accuracy", levels=accuracy_levels(reader))
    caption = (
        "The base model writes and the tuned model is let in at some tokens. There is no gain, so this is accuracy."
    )
    return picture(reader, "accuracy-by-share", drawn, title="Accuracy under routing", caption=caption, needs=needs)


def accuracy_levels(reader: StudyReader) -> list[tuple[str, float]]:
    """Accuracy of both models alone, greedy where it was measured, as named levels for a figure."""
    frame = reader.frame("accuracy", needs=("model", "accuracy"))
    if frame is None:
        return []
    if "decoding" in frame and (frame["decoding"] == "greedy").any():
        frame = frame[frame["decoding"] == "greedy"]
    names = {"base": "base model alone", "rl": "tuned model alone"}
    found = [(names[row["model"]], row["accuracy"]) for row in frame.to_dict("records") if row["model"] in names]
    return [(name, float(value)) for name, value in found if not missing(value)]


def _cards(reader: StudyReader) -> list[Card]:
    points = reader.headline.get("points")
    cards = []
    for point in points if isinstance(points, list) else []:
        if not isinstance(point, dict):
            continue
        label, note = _word(point.get("name")), _word(point.get("note"))
        if not reader.identified and of_the_gain(label):
            continue
        unit = str(point.get("unit") or "number")
        words = quantity(point.get("value"), point.get("low"), point.get("high"), unit=unit)
        # A count is a tally of this study, not an estimate: it needs no interval.
        interval = "" if unit == "count" and words.interval == "one run" else words.interval
        cards.append(Card(label, words.text, interval, note, words.measured))
    return cards


def _day(value: Any) -> str:
    """A time stamp as a reader writes it; anything else as it is."""
    try:
        when = datetime.fromisoformat(_word(value))
    except ValueError:
        return _word(value)
    return f"{when.day} {when:%B %Y, %H:%M} {when.tzname() or ''}".strip()


def _word(value: Any) -> str:
    return "" if missing(value) else str(value)
