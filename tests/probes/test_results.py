"""Results print short, escape what they show, and know how they were made."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass

import pandas as pd
import plotly.graph_objects as go
import pytest

from probes.results import Result, manifest, short_table


@dataclass(frozen=True, repr=False, eq=False)
class Sample(Result):
    """A result for the tests."""

    frame: pd.DataFrame


def test_prints_a_headline_and_a_short_table() -> None:
    sample = Sample(pd.DataFrame({"layer": range(30), "auroc": [0.123456] * 29 + [None]}), manifest={"seed": 1})
    text = str(sample)
    assert text.startswith("Sample: 30 rows")
    assert "0.123" in text
    assert "0.1234" not in text
    assert "18 more" in text
    assert repr(sample) == text
    assert sample.manifest["seed"] == 1
    assert sample.level == 0.95
    assert Sample(sample.frame, manifest={"level": 0.8}).level == 0.8


def test_missing_reads_as_not_measured() -> None:
    assert "not measured" in short_table(pd.DataFrame({"x": [float("nan")]}))
    assert "no rows" in short_table(pd.DataFrame({"x": []}))


def test_html_and_figure_escape_what_models_wrote() -> None:
    sample = Sample(pd.DataFrame({"<b>": ["<script>alert(1)</script>"]}))
    assert "<script>" not in sample._repr_html_()
    assert "<script>" not in sample.plot().to_json()


def test_a_result_is_frozen_and_needs_a_frame() -> None:
    sample = Sample(pd.DataFrame({"x": [1]}))
    with pytest.raises(FrozenInstanceError):
        sample.frame = pd.DataFrame()  # type: ignore[misc]

    @dataclass(frozen=True, repr=False, eq=False)
    class Empty(Result):
        """No frame."""

    with pytest.raises(TypeError, match="has no frame"):
        str(Empty())


def test_a_manifest_names_versions_and_no_time() -> None:
    made = manifest(seed=3)
    assert made == manifest(seed=3)
    assert made["seed"] == 3
    assert made["versions"]["torch"]
    assert not set(made["versions"]) & {"time", "host", "date"}


def test_a_notebook_shows_table_and_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[object] = []
    display = pytest.importorskip("IPython.display", reason="IPython comes with the extra notebooks")
    monkeypatch.setattr(display, "display", shown.append)

    @dataclass(frozen=True, repr=False, eq=False)
    class Drawn(Sample):
        def plot(self) -> go.Figure:
            return go.Figure(go.Scatter(y=[1, 2]))

    Sample(pd.DataFrame({"x": [1]}))._ipython_display_()
    assert len(shown) == 1
    Drawn(pd.DataFrame({"x": [1]}))._ipython_display_()
    assert isinstance(shown[-1], go.Figure)
    assert "<table" in shown[1].data
