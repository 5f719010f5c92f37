"""The stage of the weights and its blocks on the page: what was measured is told, what was not says what it needs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from probes.report import moved_drawings
from probes.report.blocks import Absent, Figure, Fold, Table, Text
from probes.report.folder import StudyReader
from probes.report.moved_overlap import moved_together, moved_where
from probes.report.what_moved import what_moved
from probes.study.config import StudyConfig
from probes.study.folder import StudyFolder
from probes.study.materials import Materials
from probes.study.moved import weights
from probes.weights import overlap
from probes.weights.adapter import Adapter


def staged(root: Path, organism: str) -> StudyReader:
    config = StudyConfig(base=organism, out=root)
    weights(Materials(config, StudyFolder(root), lambda title: lambda done, total: None))
    return StudyReader(root)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> StudyReader:
    return staged(tmp_path_factory.mktemp("latent"), "organism:latent")


def test_the_stage_writes_what_the_page_tells(reader: StudyReader) -> None:
    found = overlap("organism:latent")
    pairs = reader.frame("moved_overlap")
    assert pairs is not None
    assert pairs["jaccard"].tolist() == pytest.approx(found.frame["jaccard"].tolist())
    modules = reader.frame("moved_overlap_modules")
    assert modules is not None
    assert (modules["jaccard_low"] <= modules["jaccard"]).all()
    assert (modules["jaccard"] <= modules["jaccard_high"]).all()
    blocks = [*moved_where(reader), *moved_together(reader)]
    assert [block.title for block in blocks if isinstance(block, Figure)] == [
        "Does the update avoid the base's principal weights?", "Do other seeds move the same weights?",
    ]  # fmt: skip
    assert not [block for block in blocks if isinstance(block, Absent)]
    table = next(block for block in blocks if isinstance(block, Table) and block.caption == "Every pair of runs")
    assert len(table.rows) == 3
    said = " ".join(block.text for block in blocks if isinstance(block, Text) and block.tone == "finding")
    assert "overlap whatever was learned" in said
    assert f"{found.frame['cosine'].min():.2f}" in said
    section = what_moved(reader)
    findings = [block.text for block in section.blocks if isinstance(block, Text) and block.tone == "finding"]
    assert any("than rounding" in text for text in findings)
    assert sum(isinstance(block, Fold) for block in section.blocks) >= 4


def test_an_adapter_is_named_and_its_trained_tensors_stand_beside_the_rest(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    totals: dict[str, object] = {"unchanged_bf16": 0.665, "tensors": 272.0, "numerical_rank": None}
    folder.json("weights", totals)
    before = " ".join(block.text for block in what_moved(StudyReader(tmp_path)).blocks if isinstance(block, Text))
    assert "LoRA" not in before
    described = {"rank": 8, "modules": ["q_proj", "v_proj"], "tensors": 210, "size": 1e6, "unchanged_bf16": 0.576}
    folder.json("weights", {**totals, "adapter": described})
    blocks = what_moved(StudyReader(tmp_path)).blocks
    said = next(block.text for block in blocks if isinstance(block, Text) and "LoRA" in block.text)
    assert said.startswith("The update is a LoRA of rank 8 on q_proj, v_proj: its low rank, and the tensors outside it")
    assert "57.6\u2009% of the entries of the 210 trained tensors, 66.5\u2009% over all" in said
    (table,) = [block for block in blocks if isinstance(block, Table)]
    assert table.caption.endswith("shares weighted by size, ranks are means over the matrices that moved")
    cells = {row[0].text: row[1] for row in table.rows}
    assert len(cells) == 3
    assert cells["Numerical rank, share of the full one"].text == "not measured"


def test_the_stage_notes_the_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Adapter(8, ("down_proj",), frozenset({"layers.1.mlp.down_proj.weight"}))
    monkeypatch.setattr("probes.study.moved.adapter_of", lambda model: found)
    reader = staged(tmp_path, "organism:sham")
    frame = reader.frame("weights")
    assert frame is not None
    own = frame[frame["tensor"] == "model.layers.1.mlp.down_proj.weight"].iloc[0]
    noted = reader.record("weights")["adapter"]
    assert (noted["rank"], noted["modules"], noted["tensors"]) == (8, ["down_proj"], 1)
    assert noted["unchanged_bf16"] == pytest.approx(own["unchanged_bf16"])


def test_sizes_of_changes_are_drawn_where_the_files_are_wide(tmp_path: Path, reader: StudyReader) -> None:
    titles = {block.title for block in what_moved(reader).blocks if isinstance(block, Figure)}
    assert "Size of each change" not in titles
    wide = pd.DataFrame({"low": [0.0, 2**-20], "high": [0.0, 2**-19], "entries": [3, 1], "share": [0.75, 0.25]})
    folder = StudyFolder(tmp_path)
    folder.table("weights", reader.frame("weights"))
    folder.table("weights_sizes", wide)
    blocks = what_moved(StudyReader(tmp_path)).blocks
    assert "Size of each change" in {block.title for block in blocks if isinstance(block, Figure)}
    drawn = moved_drawings.changes_by_size(wide)
    assert drawn is not None
    assert drawn["data"][0]["y"] == [25.0]
    assert moved_drawings.changes_by_size(wide.head(1)) is None


def test_without_further_seeds_the_section_says_what_it_needs(tmp_path: Path) -> None:
    reader = staged(tmp_path, "organism:sham")
    (needs,) = moved_together(reader)
    assert isinstance(needs, Text)
    assert "was not measured" in needs.text
    assert "--also" in needs.text
    assert moved_where(reader)
    assert [type(block) for block in what_moved(StudyReader(tmp_path / "empty")).blocks] == [Absent]


def test_the_same_stage_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        staged(tmp_path / name, "organism:sham")
    for path in sorted((tmp_path / "one" / "results").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / "results" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("draw", [moved_drawings.jaccard_beside_nulls, moved_drawings.principal_by_matrix])
@pytest.mark.parametrize("frame", [pd.DataFrame(), pd.DataFrame({"unknown": [1.0]})])
def test_a_table_that_cannot_carry_a_figure_gives_none(draw: object, frame: pd.DataFrame) -> None:
    assert callable(draw)
    assert draw(frame) is None


def test_bars_reach_the_lowest_and_highest_pair() -> None:
    row = {"module": "up", "jaccard": 0.5, "jaccard_low": 0.4, "jaccard_high": 0.7, "jaccard_null": 0.3}
    drawn = moved_drawings.jaccard_beside_nulls(pd.DataFrame([row]))
    assert drawn is not None
    bars = drawn["data"][-1]["error_x"]
    assert (bars["array"], bars["arrayminus"]) == ([pytest.approx(0.2)], [pytest.approx(0.1)])
