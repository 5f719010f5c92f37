"""Which figure the page shows: one drawn from the study's table, or the one that came with the study, or none.

Drawing from the table keeps one meaning for every colour on the page; a figure that came along is shown where the page
has no drawing of its own or the table is missing.
"""

from __future__ import annotations

from typing import Any

from probes.report.blocks import Absent, Figure
from probes.report.figures import embed, mentions
from probes.report.folder import StudyReader

GAIN_WORDS = ("recover", "of the gain")
"""Words that mark a figure as a share of the gain; without a gain such a figure means nothing."""


def picture(
    reader: StudyReader, name: str, drawn: dict[str, Any] | None, *, title: str, caption: str, needs: str
) -> Figure | Absent:
    """``drawn`` if it may be shown, else the study's ``figures/NAME.json``, else a word on what it needs.

    A study without a gain to explain shows no figure that speaks of recovery.
    """
    for spec in (drawn, reader.figure(name)):
        if spec is None or (not reader.identified and of_the_gain(spec)):
            continue
        figure = embed(spec, name=name.replace("_", "-"), title=title, caption=caption)
        if figure is not None:
            return figure
    return Absent(title, needs)


def of_the_gain(said: object) -> bool:
    """Whether a text, or a figure by its texts, speaks of a share of the gain."""
    return any(mentions(said, word) for word in GAIN_WORDS)
