"""Numbers in tables: a difference of shares in points, and every number with its interval or the words "one run"."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from probes.report.blocks import Block, Cell, Fold, Table
from probes.report.folder import StudyReader
from probes.report.majority import voted
from probes.report.tables import Column, interval, measures_table, table_of, with_differences
from probes.report.verdicts import verdicts
from probes.report.what_it_says import what_it_says

THIN = "\u2009"
CURVES = pd.DataFrame(
    [("base", 1, 0.247, 0.2, 0.3), ("rl", 1, 0.579, 0.5, 0.6), ("rl - base", 1, 0.332, 0.25, 0.4),
     ("rl - base", 16, -0.05, -0.1, 0.01), ("rl - base", 32, 0.0, -0.1, 0.1)],
    columns=["model", "k", "value", "low", "high"],
)  # fmt: skip


def tables(blocks: tuple[Block, ...] | list[Block]) -> dict[str, Table]:
    found = {}
    for block in blocks:
        inner = block.blocks if isinstance(block, Fold) else (block,)
        found |= {one.caption: one for one in inner if isinstance(one, Table)}
    return found


def study(root: Path) -> StudyReader:
    (root / "results").mkdir(parents=True, exist_ok=True)
    return StudyReader(root)


def test_a_difference_among_shares_is_in_points_with_its_sign() -> None:
    column = interval("value", "pass@k", "share", ends=("low", "high"), units="unit")
    table = table_of(with_differences(CURVES), (Column("model", "Model", "text"), column), "pass@k")
    assert [row[1].text for row in table.rows] == [
        f"24.7{THIN}%", f"57.9{THIN}%", "+33.2 points", "−5.0 points", "0.0 points",
    ]  # fmt: skip
    assert table.rows[2][1].small == "25.0 to 40.0 points"
    assert table.rows[0][1].small == f"20.0 to 30.0{THIN}%"
    assert "unit" not in with_differences(CURVES.drop(columns="model"))


def test_both_curves_of_many_tries_say_points(tmp_path: Path) -> None:
    reader = study(tmp_path)
    for name in ("passk", "majority"):
        CURVES.to_parquet(tmp_path / f"results/{name}.parquet")
    for caption, blocks in (("pass@k", what_it_says(reader).blocks), ("maj@k", voted(reader))):
        cells = [row[2].text for row in tables(blocks)[caption].rows]
        assert cells[2:4] == ["+33.2 points", "−5.0 points"]


def test_a_measure_has_its_interval_or_says_that_it_has_none() -> None:
    measures = {"a": {"value": 0.5, "low": 0.4, "high": 0.6}, "b": 0.2, "c": {"value": 0.3}, "n": 664, "d": None}
    rows = {row[0].text: row[1] for row in measures_table(measures, "M", units=dict.fromkeys("abc", "share")).rows}
    assert rows["a"].small == f"40.0 to 60.0{THIN}%"
    assert (rows["b"].small, rows["c"].small) == ("one run", "one run")
    # How many tokens there were is no estimate, and what was not measured was in no run.
    assert (rows["n"].small, rows["d"].small) == ("", "")
    bare = measures_table(measures, "M", single="").rows
    assert [row[1].small for row in bare[1:]] == ["", "", "", ""]


def test_solvable_problems_and_token_shift_say_one_run(tmp_path: Path) -> None:
    reader = study(tmp_path)
    solvable = {"both": 0.7, "base_only": 0.03, "rl_only": 0.12, "neither": 0.15}
    (tmp_path / "results/passk.json").write_text(json.dumps({"solvable": solvable}))
    (tmp_path / "results/shift.json").write_text(json.dumps({"n": 664, "jaccard": 0.27}))
    found = tables(what_it_says(reader).blocks)
    assert {row[1].small for row in found["Crossing and solvable problems"].rows} == {"one run"}
    assert [row[1].small for row in found["Token shift"].rows] == ["", "one run"]


def test_a_published_bound_is_shown_as_one(tmp_path: Path) -> None:
    notes = [
        ("more than", 0.83),
        ("fewer than", 0.1),
        ("at most; the authors say so", 0.015),
        ("RL only", 0.9),
        ("", 3),
    ]
    rows = [{"paper": "P", "metric": "m", "value": value, "unit": "share", "note": note} for note, value in notes]
    rows.append({"paper": "P", "metric": "m", "value": "5–30 %"})
    study(tmp_path)
    (tmp_path / "results/claims.json").write_text(json.dumps([{"claim": "c", "published": rows}]))
    (block,) = verdicts(StudyReader(tmp_path)).blocks
    shown = [(row.value, row.metric) for row in block.claims[0].published]  # type: ignore[union-attr]
    assert shown[:4] == [
        (f"> 83.0{THIN}%", "m"), (f"< 10.0{THIN}%", "m"), (f"≤ 1.5{THIN}%", "m; the authors say so"),
        (f"90.0{THIN}%", "m; RL only"),
    ]  # fmt: skip
    assert shown[-1] == ("5–30 %", "m")


def test_a_cell_keeps_its_place_in_a_sorted_table() -> None:
    column = interval("value", "pass@k", "share", ends=("low", "high"), units="unit")
    table = table_of(with_differences(CURVES), (Column("model", "Model", "text"), column), "pass@k", sortable=True)
    assert all(isinstance(row[1], Cell) and row[1].sort is not None for row in table.rows)
