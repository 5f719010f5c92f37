"""Figures as files: pages and JSON always, pictures where a browser can draw them, one sentence where none can."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from probes.cli import app
from probes.report import export
from probes.report.export import NoPictures, figures_of, write_figures, write_pictures
from tests.probes.report.chromium import PATH
from tests.probes.report.fake import build


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("study"), tokens=8, texts=1)


def test_the_figures_are_those_of_the_page(study: Path) -> None:
    from probes.report import render

    page = render(study)
    found = figures_of(study)
    assert "recovery" in found
    assert len(found) == page.count('data-figure="')
    for name, figure in found.items():
        assert f'data-figure="{name}"' in page
        assert figure.layout.title.text
        assert len(figure.data)


def test_pages_and_json_need_nothing(study: Path, tmp_path: Path) -> None:
    written = write_figures(study, names=["recovery"], out=tmp_path)
    assert [path.name for path in written] == ["recovery.html", "recovery.json"]
    page, plain = (path.read_text() for path in written)
    assert "Plotly.newPlot" in page
    assert 'src="http' not in page
    assert json.loads(plain)["layout"]["title"]["text"] == "Gain recovered by routing"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recovery.html", "recovery.json"]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"formats": ["gif"]}, "as 'gif'; there are html, json, svg"), ({"names": ["nosuch"]}, "no figure 'nosuch'; it")],
)
def test_a_typo_is_named(options: dict[str, Any], said: str, study: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        write_figures(study, out=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_no_study_no_figures(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no study\.json; run `whenlens study"):
        write_figures(tmp_path)


def test_without_kaleido_the_pages_are_there_and_a_sentence(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(NoPictures, match=r"Pictures \(svg\) need kaleido: pip install kaleido; html and json"):
        write_figures(study, formats=["svg", "html"], names=["recovery"], out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["recovery.html"]


def test_without_a_browser_a_sentence_and_nothing_half_written(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("kaleido")
    import plotly.io

    def fail(figures: list[Any], paths: list[Path], **options: Any) -> None:
        paths[0].write_text("half")
        raise RuntimeError("no Chrome\n was found.")

    monkeypatch.setattr(plotly.io, "write_images", fail)
    with pytest.raises(NoPictures, match="that kaleido can run \\(RuntimeError: no Chrome was found\\); html"):
        write_pictures({"one": figures_of(study)["recovery"]}, tmp_path, ["png"])
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(PATH is None, reason="no Chromium on this machine (Debian: apt install chromium)")
def test_the_command_writes_pictures(study: Path, tmp_path: Path) -> None:
    kaleido: ModuleType = pytest.importorskip("kaleido")
    assert kaleido
    words = ["report", str(study), "--figures", "svg,png", "--figure", "recovery", "--out", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    paths = [Path(path) for path in json.loads(done.stdout)["figures"]]
    starts = {path.suffix: path.read_bytes()[:5] for path in paths}
    assert starts == {".svg": b"<svg ", ".png": b"\x89PNG\r"}
    assert "Gain recovered by routing" in paths[0].read_text()
