"""Several studies on one page: their headlines, one curve each, and every claim's verdict, study by study.

It reads what each study wrote and computes nothing, so a figure here is the figure there. What it does not show: a test
between studies. Intervals of two pairs that overlap, or do not, say nothing exact about their difference; measure that
on one set of problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from probes.report.blocks import Absent, Block, Cards, Cell, Section, Table, Text
from probes.report.figures import embed
from probes.report.folder import StudyReader
from probes.report.pictures import of_the_gain
from probes.report.theme import DASHES, LIGHT, MARKERS, axis, layout
from probes.report.top import Top
from probes.report.verdicts import verdicts
from probes.report.wording import quantity

INKS = ("rl", "violet", "ochre", "rose", "slate", "base")
CAPTION = (
    "One line a study: the base writes and the tuned model is let in where the two distributions part. Studies without "
    "a gain to explain have no line. Bars are intervals; values are not clipped."
)


def beside(readers: Sequence[StudyReader]) -> tuple[Top, tuple[Section, ...]]:
    """Top and sections of a page over several studies.

    It does not show whether two studies differ by more than chance.
    """
    names = _names(readers)
    curve = embed(_curves(readers, names), name="recovery", title="Gain recovered by routing", caption=CAPTION)
    said = tuple(
        Text(str(reader.headline.get("sentence") or f"{name}: this study did not run to its end."))
        for reader, name in _with(readers, names)
    )
    head = Top(
        name=f"{len(readers)} studies",
        base=", ".join(dict.fromkeys(str(reader.study.get("base") or "") for reader in readers)),
        rl=", ".join(dict.fromkeys(str(reader.study.get("rl") or "") for reader in readers)),
        created="",
        sentence=f"{len(readers)} studies, measured in the same way and judged by the same rules.",
        no_gain="",
        cards=Cards(()),
        main=curve or Absent("Routing curves", "They need at least one study with mixed decoding and a gain."),
    )
    figures = Section(
        "figures", "The figures side by side", "Figures",
        "The headline figures of every study, each with its own interval.", (*said, _points(readers, names)),
    )  # fmt: skip
    claims = Section(
        "claims", "The claims side by side", "Claims",
        "The verdict of each study by the same rules, with the figure it rests on.", (_claims(readers, names),),
    )  # fmt: skip
    return head, (figures, claims)


def _with(readers: Sequence[StudyReader], names: Sequence[str]) -> list[tuple[StudyReader, str]]:
    return list(zip(readers, names, strict=True))


def _names(readers: Sequence[StudyReader]) -> list[str]:
    """The studies' names; folders tell apart those that share one."""
    names = [reader.name for reader in readers]
    return [
        name if names.count(name) == 1 else f"{name} ({reader.root.resolve().name})"
        for reader, name in zip(readers, names, strict=True)
    ]


def _curves(readers: Sequence[StudyReader], names: Sequence[str]) -> dict[str, Any]:
    traces = []
    for place, (reader, name) in enumerate(_with(readers, names)):
        frame = reader.frame("routing", needs=("arm", "kind", "gate", "routed", "recovery"))
        if frame is None or not reader.identified:
            continue
        rows = frame[frame["kind"] == "gate"].dropna(subset=["routed", "recovery"])
        rows = rows[rows["gate"] == rows["gate"].iloc[0]].sort_values("routed") if len(rows) else rows
        if not len(rows):
            continue
        ink = LIGHT[INKS[place % len(INKS)]]
        traces.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": name,
                "x": (100 * rows["routed"]).tolist(), "y": (100 * rows["recovery"]).tolist(),
                "line": {"color": ink, "dash": DASHES[place % len(DASHES)]},
                "marker": {"color": ink, "symbol": MARKERS[place % len(MARKERS)], "size": 8},
                "error_y": _bars(rows), "text": rows["arm"].astype(str).tolist(),
                "hovertemplate": "%{text}<br>routed %{x:.1f} %<br>recovered %{y:.1f} %<extra></extra>",
            }
        )  # fmt: skip
    shape = layout(height=440, xaxis=axis("Tokens routed (%)"), yaxis=axis("Share of the gain recovered (%)"))
    return {"data": traces, "layout": shape}


def _bars(rows: pd.DataFrame) -> dict[str, Any]:
    if not {"recovery_low", "recovery_high"} <= set(rows.columns):
        return {"visible": False}
    up, down = rows["recovery_high"] - rows["recovery"], rows["recovery"] - rows["recovery_low"]
    return {"type": "data", "symmetric": False, "array": (100 * up).tolist(), "arrayminus": (100 * down).tolist()}


def _points(readers: Sequence[StudyReader], names: Sequence[str]) -> Block:
    rows: dict[str, dict[str, Cell]] = {}
    for reader, name in _with(readers, names):
        points = reader.headline.get("points")
        for point in points if isinstance(points, list) else []:
            label = str(point.get("name"))
            if not reader.identified and of_the_gain(label):
                rows.setdefault(label, {})[name] = Cell("no gain to share", kind="none")
                continue
            words = quantity(
                point.get("value"), point.get("low"), point.get("high"), unit=str(point.get("unit") or "number")
            )
            rows.setdefault(label, {})[name] = Cell(words.text, words.interval, "number" if words.measured else "none")
    if not rows:
        return Absent("Figures", "No study here ran to its end.")
    return _grid("Headline figures", "Figure", rows, names, "number")


def _claims(readers: Sequence[StudyReader], names: Sequence[str]) -> Block:
    rows: dict[str, dict[str, Cell]] = {}
    for reader, name in _with(readers, names):
        for block in verdicts(reader).blocks:
            for claim in getattr(block, "claims", ()):
                figure = "" if claim.figure.kind == "none" else f"{claim.figure.text} ({claim.figure.small})"
                rows.setdefault(claim.title, {})[name] = Cell(f"{claim.sign} {claim.verdict}", figure)
    if not rows:
        return Absent("Claims", "No study here judged its claims.")
    return _grid("Verdicts by the same rules", "Claim", rows, names, "text")


def _grid(caption: str, first: str, rows: dict[str, dict[str, Cell]], names: Sequence[str], kind: str) -> Table:
    lines = tuple(
        (Cell(label), *(found.get(name, Cell("not measured", kind="none")) for name in names))
        for label, found in rows.items()
    )
    return Table(caption, (first, *names), ("text", *[kind] * len(names)), lines)
