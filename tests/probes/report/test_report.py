"""The page: what it says of a whole study, of a sham, of nothing; and that nothing in it can run or call home."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest

from probes.report import write_report
from probes.report.folder import StudyReader
from probes.report.page import render
from probes.report.sections import sections
from probes.report.top import top
from tests.probes.report.fake import HOSTILE, RECORDS, TABLES, build


class Page(HTMLParser):
    """Text outside scripts and styles, every tag with its attributes, and the text of each script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts, self._inside = "", [], ""
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else self._inside
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.text += data + " "

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def short(root: Path, *, identified: bool = True) -> Path:
    """A study of which every table has a few rows."""
    study = build(root, tokens=8, texts=2, identified=identified)
    for path in (study / "results").glob("*.parquet"):
        pd.read_parquet(path).head(5).to_parquet(path)
    return study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def page(study: Path) -> Page:
    return Page(write_report(study).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def sham(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(render(build(tmp_path_factory.mktemp("sham"), identified=False)))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(render(tmp_path_factory.mktemp("empty")))


ORDER = ["only-when", "already-there", "what-moved", "what-it-says", "how", "claims", "method", "manifest"]


def test_sections_come_in_the_order_of_the_questions(page: Page, empty: Page) -> None:
    for each in (page, empty):
        assert [a["id"] for a in each.all("section") if "id" in a] == ORDER
        assert [a["href"] for a in each.all("a") if str(a.get("href")).startswith("#")][2:] == [
            f"#{key}" for key in ORDER
        ]


def test_key_figures_have_an_interval_or_say_what_they_lack(page: Page) -> None:
    text = page.text.replace("\u2009", " ")
    assert "97.2 % 91.4 to 103.0 %" in text
    assert "Weights changed 58.8 % one run" in text
    assert "Recovered by steering alone not measured needs directions" in text
    assert "Best next-strategy probe 0.712 0.691 to 0.733" in text


FIGURES = ["recovery", "backward", "routed-places", "probes", "steering", "weights", "ranks", "passk", "strategies"]
FIGURES += ["js-by-position"]


def test_every_figure_is_there_once_with_words(page: Page) -> None:
    names = [a["data-figure"] for a in page.all("div") if "data-figure" in a]
    assert names == FIGURES
    assert all(a.get("aria-label") for a in page.all("div") if "data-figure" in a)
    for name in names:
        assert [a for a in page.all("script") if a.get("id") == f"figure-{name}"]


def test_plotly_is_in_the_page_once(page: Page, empty: Page) -> None:
    assert sum("plotly.js v" in script for script in page.scripts) == 1
    assert not any("plotly.js v" in script for script in empty.scripts)


def test_nothing_is_fetched(page: Page) -> None:
    fetching = {"src", "srcset", "data", "poster", "background", "action", "formaction", "ping"}
    found = [(tag, a) for tag, a in page.tags if fetching & set(a)]
    assert not found
    links = [str(a["href"]) for tag, a in page.tags if tag in ("a", "link") and "href" in a]
    assert all(re.match(r"#|data:,$|https://arxiv\.org/abs/\d{4}\.\d{4,5}$", link) for link in links)
    assert [a["rel"] for a in page.all("link")] == ["icon"]


def test_only_the_pages_own_scripts_may_run(page: Page) -> None:
    (policy,) = [str(a["content"]) for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert re.fullmatch(r"'sha256-[\w+/=]+' 'sha256-[\w+/=]+'", rules["script-src"])
    running = [a for a in page.all("script") if a.get("type") != "application/json"]
    assert len(running) == 2
    assert not [name for _, a in page.tags for name in a if name.startswith("on")]


def test_what_a_model_wrote_shows_as_text(page: Page) -> None:
    # A problem's name, a token, a routed token and a paper's title are all hostile in this study.
    assert page.text.count(HOSTILE) >= 3
    assert not any(
        "window.pwned = 1" in script and "plotly" not in script and "{" not in script for script in page.scripts
    )
    assert "img" not in {tag for tag, _ in page.tags}


def test_tables_are_tables(page: Page) -> None:
    assert len(page.all("table")) == len(page.all("caption"))
    heads = page.all("th")
    assert {a.get("scope") for a in heads} == {"col", "row"}
    ids = [str(a["id"]) for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    named = [str(a["aria-labelledby"]) for _, a in page.tags if "aria-labelledby" in a]
    assert set(named) <= set(ids)


def test_landmarks_and_headings(page: Page) -> None:
    tags = [tag for tag, _ in page.tags]
    for landmark in ("header", "main", "nav", "footer", "h1"):
        assert tags.count(landmark) == 1, landmark
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert page.all("html")[0]["lang"] == "en"


def test_baselines_ceiling_and_random_vectors_stand_beside(page: Page) -> None:
    for words in ("Best possible", "Shuffled", "Position", "Length", "Last tokens", "Selectivity"):
        assert words in page.text
    assert "Steered generation beside random vectors" in page.text


def test_claims_have_badges_published_figures_and_needs(page: Page) -> None:
    assert "✓ supported" in page.text
    assert "✕ contradicted" in page.text
    assert "– not measured" in page.text
    assert "50.0 % recovered" in page.text.replace("\u2009", " ")
    assert "3 more published figures" in page.text
    assert "5–30 %" in page.text
    assert "recovered at 4 % routed: 97.2 % 91.4 to 103.0 %" in page.text.replace("\u2009", " ")
    assert "at least 3 checkpoints" in page.text
    assert "https://arxiv.org/abs/2510.07364" in {a.get("href") for a in page.all("a")}


def test_controls_are_named(page: Page) -> None:
    assert "control: random" in page.text
    assert "Gates against their controls" in page.text


def test_the_command_and_versions_are_there(page: Page) -> None:
    assert "whenlens study organism:latent --out runs/latent" in page.text
    assert "transformer-lens 4.3.0" in page.text


def test_training_says_what_it_needs(page: Page) -> None:
    assert "Training: not measured." in page.text
    assert "at least three checkpoints" in page.text


def test_a_sham_says_there_is_no_gain_and_prints_no_recovery(sham: Page) -> None:
    assert "There is no gain to explain" in sham.text
    assert "Gain recovered" not in sham.text
    assert "Routed share needed" not in sham.text
    # The ratios that this study's tables and records hold all the same.
    for ratio in ("0.931", "97.2", "12.1", "0.019", "1.9\u2009%", "0.93\n"):
        assert ratio not in sham.text, ratio
    assert "not defined" in sham.text
    assert not any('"recovery' in script and "plotly.js v" not in script for script in sham.scripts)
    assert "accuracy-by-share" in [a.get("data-figure") for a in sham.all("div")]


def test_a_sham_never_shows_a_recovery_figure_that_came_with_it(tmp_path: Path) -> None:
    study = short(tmp_path, identified=False)
    for name in ("recovery", "steering"):
        figure = go.Figure(go.Scatter(y=[0.123456])).update_yaxes(title="Recovered share of the gain")
        (study / "figures" / f"{name}.json").write_text(figure.to_json())
    assert "0.123456" not in render(study)
    _headline(study, identified=True)
    assert "0.123456" in render(study)


def _headline(study: Path, **changes: Any) -> None:
    path = study / "results/headline.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_without_a_headline_the_gap_decides(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    for gap, identified in (((-0.1, 0.1), False), ((0.1, 0.3), True), ((-0.3, -0.1), True), ((None, None), True)):
        (results / "routing.json").write_text(json.dumps({"gap": {"value": 0.0, "low": gap[0], "high": gap[1]}}))
        assert StudyReader(tmp_path).identified is identified


def test_the_least_columns_are_enough(tmp_path: Path) -> None:
    text = Page(render(build(tmp_path, lean=True, tokens=8, texts=1))).text
    assert "random places control" in text
    assert "Share of routed tokens" in text
    # What needs more runs than a pair is named, and nothing else is missing.
    for what in ("Training", "Order of domains", "Contrasts"):
        assert f"{what}: not measured." in text
    assert text.count(": not measured.") == 3


def test_an_empty_folder_is_a_page_of_needs(empty: Page) -> None:
    assert empty.text.count("not measured.") >= 12
    assert "did not run to its end" in empty.text
    assert not empty.all("table")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short(tmp_path_factory.mktemp("small"))


PARTS = ["study.json", *(f"results/{name}.json" for name in RECORDS), *(f"results/{name}.parquet" for name in TABLES)]


def test_the_list_of_parts_is_whole(small: Path) -> None:
    assert {path.name for path in (small / "results").iterdir()} == {Path(part).name for part in PARTS[1:]}


@pytest.mark.parametrize("part", PARTS)
def test_any_missing_or_broken_file_leaves_the_rest_standing(small: Path, part: str) -> None:
    held = (small / part).read_bytes()
    try:
        (small / part).unlink()
        assert [section.key for section in sections(StudyReader(small))] == ORDER
        (small / part).write_bytes(held[: len(held) // 2])
        reader = StudyReader(small)
        top(reader)
        told = {section.key: section for section in sections(reader)}
        assert f"{part} cannot be read" in str(told["method"])
    finally:
        (small / part).write_bytes(held)


def test_an_empty_table_and_a_column_of_nothing_are_not_measured(tmp_path: Path) -> None:
    study = short(tmp_path)
    path = study / "results/routing.parquet"
    frame = pd.read_parquet(path)
    frame.assign(effective=None, accuracy=None).to_parquet(path)
    assert "Not measured here: Changed, Accuracy." in render(study)
    frame.iloc[:0].to_parquet(path)
    assert "Routing: not measured." in Page(render(study)).text


def test_wrong_shapes_never_stop_the_page(tmp_path: Path) -> None:
    study = short(tmp_path)
    wrong: dict[str, Any] = {
        "headline": {"sentence": 3, "points": "none"},
        "claims": {"not": "a list"},
        "token_view": [{"tokens": None}, {"tokens": [{"text": 3}, None]}, 7],
        "pair": {"differences": None, "text": None, "shared_fraction": "half"},
        "routing": {"gap": 0.3, "share_for_90": None, "share_for_50": {"value": 0.02, "low": 0.01, "high": 0.03}},
        "passk": [],
        "weights": None,
    }
    for name, value in wrong.items():
        (study / f"results/{name}.json").write_text(json.dumps(value))
    (study / "figures/recovery.json").write_text('{"data": 3}')
    text = Page(render(study)).text.replace("\u2009", " ")
    assert "no measured point reaches it" in text
    assert "2.0 % of the tokens (1.0 to 3.0 %)" in text


def test_the_page_is_written_whole_and_the_same_twice(study: Path, page: Page) -> None:
    first = write_report(study).read_bytes()
    assert write_report(study).read_bytes() == first
    assert not list(study.glob(".report*"))


def test_half_characters_can_be_written(tmp_path: Path) -> None:
    study = short(tmp_path)
    _headline(study, sentence="half \ud83d of a character")
    assert "half &#55357; of" in write_report(study).read_text(encoding="utf-8")


def test_a_folder_that_is_not_there_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="whenlens study"):
        write_report(tmp_path / "nowhere")
