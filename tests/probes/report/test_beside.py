"""Several studies on one page: what each said, no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from probes.report import render_beside, write_beside
from tests.probes.report.chromium import PATH, Browser
from tests.probes.report.fake import build


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [
        build(tmp_path_factory.mktemp("one"), tokens=40, texts=1),
        build(tmp_path_factory.mktemp("two"), tokens=40, texts=1),
        build(tmp_path_factory.mktemp("sham"), identified=False),
    ]


def test_each_study_has_its_column_and_a_study_without_gain_no_share(folders: list[Path]) -> None:
    page = render_beside(folders)
    assert "3 studies" in page
    assert page.count("no gain to share") >= 1
    assert "The claims side by side" in page
    # Studies of one name are told apart by their folders.
    assert all(folder.resolve().name in page for folder in folders[:2])


def test_a_folder_without_a_study_is_named(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no study\.json"):
        write_beside([folders[0], tmp_path], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.skipif(PATH is None, reason="no Chromium on this machine (Debian: apt install chromium)")
@pytest.mark.parametrize("width", [1440, 390])
def test_in_a_browser(folders: list[Path], tmp_path: Path, width: int) -> None:
    page = write_beside(folders, tmp_path / "page.html")
    with Browser(tmp_path / "profile") as browser:
        browser.open(page, width=width)
        assert browser.complaints() == []
        assert browser.requests() == []
        assert browser.value("document.querySelectorAll('[data-figure] .main-svg').length") > 0
        assert not browser.value("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        assert browser.value("typeof window.pwned") == "undefined"
