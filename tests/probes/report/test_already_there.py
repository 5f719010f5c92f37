"""The table of reported probes holds what may be quoted; places of steering are told in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from hooks.positions import Positions
from probes.report.already_there import already_there
from probes.report.blocks import Block, Fold, Table, Text
from probes.report.folder import StudyReader

LABELS = ("computation (start)", "planning (inner)")


def sweep_table() -> pd.DataFrame:
    rows = [
        {"site": f"resid_post.{layer}", "layer": layer, "label": label, "place": label.split("(")[1][:-1],
         "auroc": 0.69, "low": 0.57, "high": 0.78, "position": 0.6, "bag": 0.67, "twin": 0.64, "q": 0.01, "n": 240,
         "positives": 58, "reported": layer == 1}
        for label in LABELS for layer in range(2)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def nested_table() -> pd.DataFrame:
    votes = ("resid_post.11 x1, resid_post.18 x1, resid_post.2 x1, resid_post.22 x1, resid_post.9 x1",
             "resid_post.1 x4, resid_post.0 x1")  # fmt: skip
    return pd.DataFrame(
        {"label": LABELS, "auroc": 0.66, "low": 0.53, "high": 0.76, "baseline_position": 0.69, "baseline_tokens": 0.67,
         "over_baseline": -0.033, "over_baseline_low": -0.107, "over_baseline_high": 0.03, "q": 0.02, "sites": votes}
    )  # fmt: skip


def blocks(root: Path, **frames: pd.DataFrame) -> tuple[Block, ...]:
    (root / "results").mkdir(parents=True)
    for name, frame in frames.items():
        frame.to_parquet(root / f"results/{name}.parquet")
    return already_there(StudyReader(root)).blocks


def cells(table: Table, row: int = 0) -> dict[str, Any]:
    return dict(zip(table.titles, table.rows[row], strict=True))


def test_reported_probes_are_those_of_nested_selection(tmp_path: Path) -> None:
    found = blocks(tmp_path, probes=sweep_table(), probes_selected=nested_table())
    (table,) = [block for block in found if isinstance(block, Table)]
    first = cells(table)
    assert (first["Strategy"].text, first["Place"].text) == ("computation", "start")
    assert (first["Probe AUROC"].text, first["Probe AUROC"].small) == ("0.660", "0.530 to 0.760")
    assert (first["Over the best of these"].text, first["Over the best of these"].small) == (
        "−0.033", "−0.107 to 0.030",
    )  # fmt: skip
    assert first["Layer of most folds"].text == "folds chose different layers (at most 1 of 5 agreed)"
    assert cells(table, 1)["Layer of most folds"].text == "resid_post.1 (4 of 5 folds)"
    assert "on other problems than those it is scored on" in table.note
    whole = next(block for block in found if isinstance(block, Fold) and "probes" in block.summary).blocks[0]
    assert isinstance(whole, Table)
    assert "on other problems" not in whole.note
    assert "On tuned" not in whole.titles
    assert "On tuned" not in whole.note


def test_a_sweep_without_nested_values_claims_nothing_of_its_layer(tmp_path: Path) -> None:
    (table,) = [block for block in blocks(tmp_path / "a", probes=sweep_table()) if isinstance(block, Table)]
    assert len(table.rows) == 2
    assert "on other problems" not in table.note
    plain = blocks(tmp_path / "b", probes=sweep_table().drop(columns="reported"))
    assert any(isinstance(block, Text) and "No layer was chosen" in block.text for block in plain)


def steered(root: Path, positions: list[str]) -> str:
    frame = pd.DataFrame(
        {"arm": ["unsteered", "steered"], "alpha": [0.0, 1.0], "accuracy": 0.5, "positions": positions}
    )
    table = next(block for block in blocks(root, steering=frame) if isinstance(block, Table))
    return table.note + "".join(cell.text for row in table.rows for cell in row)


def test_places_of_steering_are_told_in_words(tmp_path: Path) -> None:
    ends = Positions.after(token_ids=list(range(260)))
    usual = str(Positions.last_prompt() | (ends & Positions.completion()))
    said = steered(tmp_path / "a", [usual] * 2)
    assert "the last prompt token and every generated token that ends a sentence or a step (260 token ids)" in said
    assert "token_ids=[" not in said
    other = steered(tmp_path / "b", [str(ends), str(Positions.generated())])
    assert "after(token_ids=[260 token ids], regex=None)" in other
    assert "generated" in other
    long = steered(tmp_path / "c", [str(ends | Positions.after(regex="x" * 200))] * 2)
    assert "…" in long
    assert len(long) < 400
