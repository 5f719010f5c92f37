"""Coloured tokens: everything a model wrote is text, and colour is never the only sign."""

import math
import re
import time
from html.parser import HTMLParser

import pytest

from probes.report import Token, tokens_html
from probes.report.tokens import authors, visible


class Reading(HTMLParser):
    """What a browser would show as text, and the tags it would see."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.attributes = "", [], []
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [dict(attrs)]


HOSTILE = ["<script>x</script>", '" onmouseover="x', "</span></div>", "&lt;b&gt;", "'><img src=x>", "<!--"]


def test_a_models_markup_shows_as_text() -> None:
    read = Reading(tokens_html([{"text": text, "other": text, "author": "rl"} for text in HOSTILE], standalone=False))
    assert read.text == "".join(HOSTILE)
    assert set(read.tags) == {"div", "span"}
    assert [a["data-other"] for a in read.attributes if "data-other" in a] == HOSTILE
    assert not any("onmouseover" in a for a in read.attributes)


def test_the_label_and_an_unknown_author_are_escaped() -> None:
    read = Reading(tokens_html([Token("a", author="<b>")], label='"><script>', standalone=False))
    assert read.attributes[0]["aria-label"] == '"><script>'
    assert "script" not in read.tags
    assert read.attributes[1] == {"class": "t", "data-by": "<b>"}


def test_author_is_told_by_class_and_underline() -> None:
    html = tokens_html(
        [Token("a", author="base"), Token("b", author="rl", open=True, changed=True), Token("c", "steered")]
    )
    assert re.findall(r'<span class="([^"]+)"', html) == ["t base", "t rl open changed", "t steered"]
    assert ".rl { border-bottom-color" in html
    assert "dashed" in html


def test_js_becomes_a_depth_between_nothing_and_ln_2() -> None:
    rows = [
        Token("a", js=0.0),
        Token("b", js=math.log(2)),
        Token("c", js=9.0),
        Token("d", js=math.nan),
        Token("e", js=0.1733),
    ]
    html = tokens_html(rows, colour="js", standalone=False)
    assert re.findall(r"--js:([\d.]+)", html) == ["0.00", "1.00", "1.00", "0.50"]
    assert html.startswith('<div class="tokens" data-colour="js"')


def test_scores_outside_zero_and_one_take_their_own_range() -> None:
    inside = tokens_html([Token("a", score=0.25), Token("b", score=1.0)], standalone=False)
    outside = tokens_html([Token("a", score=-2.0), Token("b", score=2.0)], standalone=False)
    given = tokens_html([Token("a", score=0.25)], score_range=(0.0, 0.5), standalone=False)
    depths = [re.findall(r"--score:([\d.]+)", html) for html in (inside, outside, given)]
    assert depths == [["0.25", "1.00"], ["0.00", "1.00"], ["0.50"]]


def test_strength_is_relative_to_the_strongest() -> None:
    html = tokens_html(
        [Token("a", strength=-4.0), Token("b", strength=2.0), Token("c", strength=0.0)], standalone=False
    )
    assert re.findall(r"--strength:([\d.]+)", html) == ["1.00", "0.50", "0.00"]


def test_line_breaks_stay_and_are_seen() -> None:
    read = Reading(tokens_html([Token("a\nb")], standalone=False))
    assert read.text == "a↵\nb"


def test_control_and_half_characters_become_visible() -> None:
    assert visible("\x00\x1b\t\n\ud83d") == "␀␛\t\n\ufffd"
    tokens_html([Token("\ud800", other="\udfff")]).encode("utf-8")


def test_it_shows_itself_in_a_notebook_and_empty_texts_are_texts() -> None:
    html = tokens_html([])
    assert html._repr_html_().startswith("<style>")
    assert html.endswith("></div>")


def test_a_token_without_text_is_named() -> None:
    with pytest.raises(ValueError, match="Token 1 has no text"):
        tokens_html([{"text": "a"}, {"author": "rl"}])


def test_authors_are_counted() -> None:
    assert authors([Token("a", "rl"), {"text": "b", "author": "rl"}, Token("c")]) == {"rl": 2}


def test_thousands_of_tokens_are_quick() -> None:
    rows = [Token(" word", author="rl", js=0.1, open=True, changed=True, other="x")] * 20_000
    start = time.perf_counter()
    html = tokens_html(rows, standalone=False)
    assert time.perf_counter() - start < 10
    assert html.count('class="t rl open changed"') == 20_000
