"""The curve over doses on the page: drawn from its table, silent where the study has none."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from probes.report.already_there import already_there
from probes.report.blocks import Figure, Table
from probes.report.folder import StudyReader
from probes.report.steered import dose_curve, drawn


def curve(**changes: object) -> pd.DataFrame:
    names = ("accuracy", "strategy_share", "accuracy_change", "kl", "perplexity", "anti_steered")
    columns = {name: [0.1, 0.2, 0.4] for name in names} | {"anti_steered": [0.0, math.nan, 0.1]}
    ends = {f"{name}_{end}": [value + step for value in values]
            for name, values in columns.items() for end, step in (("low", -0.05), ("high", 0.05))}  # fmt: skip
    overall = {"anti_steered_overall": 0.125, "anti_steered_overall_low": 0.05, "anti_steered_overall_high": 0.2}
    return pd.DataFrame({"alpha": [1.0, 0.0, -1.0], "relative": True, **columns, **ends, **overall, **changes})


def study(root: Path, frame: pd.DataFrame) -> StudyReader:
    (root / "results").mkdir()
    frame.to_parquet(root / "results" / "steering_dose.parquet")
    return StudyReader(root)


def test_figure_and_table_say_what_the_table_of_the_study_says(tmp_path: Path) -> None:
    blocks = dose_curve(study(tmp_path, curve()))
    assert [type(block) for block in blocks] == [Figure, Table]
    figure, table = blocks
    assert isinstance(figure, Figure)
    assert isinstance(table, Table)
    assert "12.5 % [5.0, 20.0]" in figure.caption
    assert len(table.rows) == 3
    text = str(table)
    assert "not measured" in text
    assert "Anti-steered" in text
    assert any(isinstance(block, Figure) and block.name == "steering-dose" for block in
               (*already_there(StudyReader(tmp_path)).blocks, figure))  # fmt: skip


def test_doses_are_in_order_and_each_line_has_its_own_axis() -> None:
    spec = drawn(curve())
    assert [trace["x"] for trace in spec["data"]] == [[-1.0, 0.0, 1.0]] * 3
    assert spec["data"][0]["y"] == pytest.approx([40.0, 20.0, 10.0])
    assert [trace.get("yaxis", "y") for trace in spec["data"]] == ["y", "y", "y2"]
    assert "typical norms" in str(spec["layout"]["xaxis"])
    assert "vector lengths" in str(drawn(curve(relative=False))["layout"]["xaxis"])


def test_a_study_without_the_curve_shows_nothing(tmp_path: Path) -> None:
    assert dose_curve(StudyReader(tmp_path)) == []
    assert dose_curve(study(tmp_path, curve().drop(columns=["kl"]))) == []


def test_an_unknown_share_makes_no_sentence(tmp_path: Path) -> None:
    figure = dose_curve(study(tmp_path, curve(anti_steered_overall=math.nan)))[0]
    assert isinstance(figure, Figure)
    assert "of the problems the use" not in figure.caption
