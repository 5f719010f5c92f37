"""The notebooks run from top to bottom in a fresh kernel, and each stands beside its text form, cell for cell."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", reason="the notebooks need the extra notebooks")
nbclient = pytest.importorskip("nbclient", reason="the notebooks need the extra notebooks")

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]_*.py"))
LIGHT = 400_000
"""Bytes of a notebook with its outputs; a reader clones all of them."""


@pytest.mark.parametrize("script", NOTEBOOKS, ids=lambda path: path.stem)
def test_both_forms_hold_the_same_cells(script: Path) -> None:
    paired = script.with_suffix(".ipynb")
    text, book = jupytext.read(script), jupytext.read(paired)
    assert [(cell.cell_type, cell.source) for cell in text.cells] == [
        (cell.cell_type, cell.source) for cell in book.cells
    ], f"run `jupytext --sync {script.name}`"
    assert paired.stat().st_size < LIGHT
    # A warning on standard error names a path of the machine it was made on.
    assert not any(out.get("name") == "stderr" for cell in book.cells for out in cell.get("outputs", []))
    assert not any(out.output_type == "error" for cell in book.cells for out in cell.get("outputs", []))


@pytest.mark.parametrize("script", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PLOTLY_RENDERER", "json")
    book = jupytext.read(script)
    client = nbclient.NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [out for cell in book.cells if cell.cell_type == "code" for out in cell.outputs]
    assert not any(out.output_type == "error" for out in outputs)
    assert any(out.output_type in ("execute_result", "display_data") for out in outputs)


def test_all_chapters_are_there() -> None:
    assert [path.stem[0] for path in NOTEBOOKS] == [str(number) for number in range(1, len(NOTEBOOKS) + 1)]
