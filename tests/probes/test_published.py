"""The published figures that ship are those of the notes they were taken from, each with its arXiv id and status."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROWS = json.loads((Path(__file__).parents[2] / "probes" / "published.json").read_text(encoding="utf-8"))["rows"]
NOTES = Path(__file__).parents[3] / "shared" / "measures.md"
SECTIONS = {
    "2510.13786": ("1",), "2509.03646": ("2",), "2505.11711": ("3",), "2511.08567": ("3",), "2605.07330": ("13",),
    "2506.01347": ("4",), "2510.07364": ("0", "5"), "2504.13837": ("6",), "2602.06717": ("10",),
    "2512.07783": ("13",), "2506.10947": ("0", "13"), "2507.16806": ("8",), "2507.14783": ("0", "9"),
    "2605.28388": ("10",), "2506.13351": ("0", "11"), "2603.22446": ("12",), "2312.01552": ("12",),
    "2505.21600": ("12",), "2506.01939": ("12",),
}  # fmt: skip
"""Sections of the notes that hold the figures of each paper."""
READ = re.compile(
    r"^(\||Rows|Reference rows|bf16-aware rows|Cross-run|Overlap:|Rank:|GRPO steps|Delta_SE in|Solvable sets|v1 abl|"
    r"HotpotQA-trained:|Big-Math-trained:| TriviaQA|Paper headline|Means:|Paper-table|Divergence-weighted|Headline:)"
)
"""Lines of the notes that are tables of figures."""
LAYERS = re.compile(r"^\| (orz|r1)-")
"""Rows of a table of layers, which are settings."""
NAMES = re.compile(
    r"20\d\d-\d\d|\d{4}\.\d{5}|(?:pass|Delta_SE|mean|maj)@\d+|MATH-?500|AIME ?2[45](?:/25)?|AMC ?23|GSM8K|GPT-\d\w*|"
    r"top-\d+|OMI\d|Qwen-?\d?(?:\.5)?(?:-Math)?(?:-\d+(?:\.\d+)?B)?|(?:Llama|Tulu|Eurus|Klear|Polaris)-\d[\w.]*|UloRL-\S+|"
    r"R1-\S*\d\S*|(?:orz|r1|qwq|ORZ|QwQ)-[\w./{},-]+|\d+(?:\.\d+)?x\d+\w*|\b\d+(?:\.\d+)?B\b|Math-1\.5B|Deep\w+-1\.5B|ProRL-v2|"
    r"1e-\d|JS>0\.1|-1/2|k[ =>]+\d+|rho=0\.2|ICML-\d+|\bv\d\b|\(\d+(?:,\d+k?)?\)|COLM|section \d[\d.]*|"
    r"[A-Z]\d|k>=2|n=\d+",
)
"""Names, sizes and settings whose digits are no figures."""
NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d*\.?\d+)k?")
SETTINGS = {
    # 1.4: windows, step counts, the margin of noise; 2.4: years; 12.1 and 12.3: settings.
    "1": {0.0, 1500.0, 50_000.0, 100_000.0, 3.0, 0.02, 7400.0, 7100.0, 16_000.0, 45_000.0, 17.0, 16.0, 8.0},
    "3": {13.0, 5.0},
    "4": {256.0, 1.0},
    "5": {3.0, 1000.0},
    "6": {150.0, 300.0, 450.0, 128.0, 1024.0, 1e-3, 1.0, 7.0, 32.0},
    "8": {7.0, 500.0, 1.0},
    "9": {4.0, 7.0},
    "11": {4.0, 16.0, 1.0},
    "12": {24.0, 25.0, 1.0, 14.0, 1.5, 32.0, 2.0, 7.0},
}
"""Numbers of these lines that are settings, or stand in the text of a row."""
REPEATED = {
    "5": [17.7, 59.8, 71.3, 82.7, 93.6],  # the full method again above its ablations, and a cell that a note refutes
    "6": [26.1, 66.3, 25.1, 68.3, 74.4, 97.2, 69.1, 28.1],  # GRPO at step 150 is the GRPO row; a difference spelled out
}
"""Figures that the notes tell twice."""


@cache
def sections() -> dict[str, str]:
    if not NOTES.exists():
        pytest.skip("the notes that the figures were taken from are not beside this checkout")
    parts = re.split(r"^## (\d+)\. ", NOTES.read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def figures(text: str) -> list[float]:
    """Numbers of a text that are no part of a name; 50k is fifty thousand."""
    bare = NAMES.sub(" ", text.replace("+-", " ").replace("~", " "))
    found = []
    for number in NUMBER.findall(bare):
        plain = number.replace(",", "").removesuffix("k")
        found.append(float(plain) * (1000 if number.endswith("k") else 1))
    return found


def forms(row: dict) -> set[float]:
    """A row's value as it may be written: as a share or in per cent."""
    value = row["value"]
    return {round(one, 6) for one in (value, 100 * value, -value, -100 * value)}


def written(text: str) -> set[float]:
    return {round(float(n.replace(",", "").removesuffix("k")) * (1000 if n.endswith("k") else 1), 6)
            for n in re.findall(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d*\.?\d+)k?", text)}  # fmt: skip


def test_no_figure_stands_twice_and_every_row_is_whole():
    keys = Counter((row["arxiv"], row["metric"], row["setting"]) for row in ROWS)
    assert [key for key, count in keys.items() if count > 1] == []
    assert all(row["metric"] and row["setting"] and row["status"] in ("G", "G(note)", "M") for row in ROWS)
    assert {row["arxiv"] for row in ROWS} == set(SECTIONS)


def test_every_shipped_figure_stands_in_the_notes_on_its_paper():
    text = sections()
    for arxiv, places in SECTIONS.items():
        own = "\n".join(text[place] for place in places)
        assert arxiv in own, arxiv
        numbers = written(own)
        missing = [row for row in ROWS if row["arxiv"] == arxiv and not forms(row) & numbers]
        assert missing == [], missing


@pytest.mark.parametrize("section", ["1", "2", "3", "4", "5", "6", "8", "9", "11", "12"])
def test_every_figure_of_the_tables_ships_as_often_as_it_stands_there(section):
    shipped: Counter[float] = Counter()
    for row in ROWS:
        if section in SECTIONS[row["arxiv"]]:
            shipped.update(forms(row))
            shipped.update({round(scale * one, 6) for one in figures(row["note"]) for scale in (1, 100)})
    lines = [
        line.split("Pitfalls")[0]
        for line in sections()[section].splitlines()
        if READ.match(line) and not LAYERS.match(line)
    ]
    told = Counter(round(one, 6) for line in lines for one in figures(line))
    assert sum(told.values()) > 5 or section == "9"
    told -= Counter(REPEATED.get(section, []))
    settings = SETTINGS.get(section, set())
    missing = {one: n - shipped[one] for one, n in told.items() if n > shipped[one] and one not in settings}
    assert missing == {}


def test_statuses_follow_the_notes():
    text = sections()
    of = {arxiv: {row["status"] for row in ROWS if row["arxiv"] == arxiv} for arxiv in SECTIONS}
    # Where a paper's figures were all read in one way, so are its rows.
    assert of["2510.13786"] == {"G"}
    assert of["2509.03646"] == {"G(note)"}
    assert of["2505.11711"] == {"G(note)"}
    assert of["2511.08567"] == {"G"}
    assert of["2506.01347"] == {"G(note)"}
    assert "Reference rows (G note" in text["4"]
    assert of["2312.01552"] == {"G"}
    assert of["2603.22446"] == {"G(note)"}
    recalled = {(row["arxiv"], row["value"]) for row in ROWS if row["status"] == "M"}
    assert recalled == {
        ("2510.07364", 0.91), ("2506.13351", 2.0), ("2506.13351", 3.0), ("2506.01939", 0.86), ("2506.01939", 0.672),
        ("2506.01939", 0.5),
    }  # fmt: skip
