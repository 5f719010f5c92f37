"""Which figure the page shows: the one that came with the study, or one drawn from its table, or none."""

from __future__ import annotations

from typing import Any

from probes.report.blocks import Absent, Figure
from probes.report.figures import embed, mentions
from probes.report.folder import StudyReader

GAIN_WORDS = ("recover",)
"""Words that mark a figure as a share of the gain; without a gain such a figure means nothing."""


def picture(
    reader: StudyReader, name: str, drawn: dict[str, Any] | None, *, title: str, caption: str, needs: str
) -> Figure | Absent:
    """The study's ``figures/NAME.json`` if it may be shown, else ``drawn``, else a word on what it needs.

    A study without a gain to explain shows no figure that speaks of recovery.
    """
    given = reader.figure(name)
    for spec in (given, drawn):
        if spec is None or (not reader.identified and any(mentions(spec, word) for word in GAIN_WORDS)):
            continue
        figure = embed(spec, name=name.replace("_", "-"), title=title, caption=caption)
        if figure is not None:
            return figure
    return Absent(title, needs)
