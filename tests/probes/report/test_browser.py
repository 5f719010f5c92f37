"""The page in a real browser: silent, alone, drawn, usable by keyboard, and no wider than a phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.report import write_report
from tests.probes.report.chromium import PATH, Browser
from tests.probes.report.fake import HOSTILE, build

pytestmark = pytest.mark.skipif(PATH is None, reason="no Chromium on this machine (Debian: apt install chromium)")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(build(tmp_path_factory.mktemp("study"), tokens=1500, texts=4))


@pytest.fixture(scope="module")
def sham(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(build(tmp_path_factory.mktemp("sham"), identified=False))


WIDER = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
DRAWN = "[...document.querySelectorAll('[data-figure]')].map(b => b.querySelectorAll('.main-svg').length > 0)"
# A shape that plotly gave up on has NaN in its path.
BROKEN = "[...document.querySelectorAll('[data-figure] path')].filter(p => /NaN/.test(p.getAttribute('d'))).length"


def silent_alone_and_drawn(browser: Browser, figures: int) -> None:
    assert browser.complaints() == []
    assert browser.requests() == []
    drawn = browser.value(DRAWN)
    assert len(drawn) == figures
    assert all(drawn)
    assert browser.value(BROKEN) == 0
    assert not browser.value(WIDER)


@pytest.fixture(scope="module")
def desk(browser: Browser, report: Path) -> Browser:
    """The report, opened once at a desk in daylight."""
    browser.open(report, width=1440)
    return browser


def test_at_a_desk(desk: Browser) -> None:
    silent_alone_and_drawn(desk, 10)
    assert desk.value("typeof window.pwned") == "undefined"


def test_figures_follow_the_page_into_the_dark(desk: Browser) -> None:
    ink = "getComputedStyle(document.querySelector('#plot-recovery .xtitle')).fill"
    line = "document.querySelector('#plot-recovery .scatterlayer .js-line').style.stroke"
    light = desk.value(ink), desk.value(line)
    desk.media(dark=True)
    desk.until(lambda: desk.value(ink) != light[0])
    assert desk.value(line) != light[1]
    desk.media(dark=False)
    desk.until(lambda: (desk.value(ink), desk.value(line)) == light)
    silent_alone_and_drawn(desk, 10)


def test_tokens_are_walked_by_keyboard_and_recoloured(desk: Browser) -> None:
    reading = "document.querySelector('.reading').textContent"
    desk.value("document.querySelector('.token-text .tokens').focus()")
    desk.key("ArrowRight")
    first = desk.value(reading)
    assert "written by the tuned model" in first
    assert "JS" in first
    desk.key("ArrowRight")
    assert desk.value(reading) != first
    desk.key("ArrowLeft")
    assert desk.value(reading) == first
    desk.value("document.querySelector('.modes input[value=js]').click()")
    assert desk.value("document.querySelector('.token-text .tokens').dataset.colour") == "js"


def test_hostile_text_shows_as_text(desk: Browser) -> None:
    assert desk.value("document.querySelectorAll('.token-text summary .value')[1].textContent") == HOSTILE
    assert HOSTILE in desk.value("document.querySelectorAll('.token-text .tokens')[1].textContent")


def test_folds_open_and_tables_sort(desk: Browser) -> None:
    fold = "document.querySelector('#what-moved .fold')"
    assert desk.value(f"{fold}.open") is False
    desk.value(f"{fold}.querySelector('summary').click()")
    assert desk.value(f"{fold}.open") is True
    heads = f"[...{fold}.querySelectorAll('thead th')]"
    place = desk.value(f"{heads}.findIndex(h => h.textContent.startsWith('Unchanged'))")
    shares = f"[...{fold}.querySelectorAll('tbody tr')].map(r => Number(r.cells[{place}].dataset.sort))"
    press = f"{fold}.querySelectorAll('thead button')[{place}].click()"
    desk.value(press)
    assert desk.value(shares) == sorted(desk.value(shares), reverse=True)
    desk.value(press)
    assert desk.value(shares) == sorted(desk.value(shares))
    assert desk.value(f"{heads}[{place}].getAttribute('aria-sort')") == "ascending"


SHUT = "[...document.querySelectorAll('details:not([open])')].length"
OPEN_ALL = "document.querySelectorAll('details').forEach(one => { one.open = true })"
UNNAMED = (
    "[...document.querySelectorAll('[data-figure], .scroll, nav, section, pre')]"
    ".filter(one => !one.getAttribute('aria-label') && !document.getElementById(one.getAttribute('aria-labelledby')))"
    ".map(one => one.outerHTML.slice(0, 80))"
)


def test_everything_is_reached_and_folded_open_by_keyboard(desk: Browser) -> None:
    assert desk.value(UNNAMED) == []
    desk.value("document.querySelector('.contents a').focus()")
    hands_on = "document.activeElement.matches('a, button, input, summary, [tabindex]')"
    steps = []
    for _ in range(12):
        desk.key("Tab")
        assert desk.value(hands_on)
        steps.append(desk.value("document.activeElement.outerHTML.slice(0, 120)"))
    assert len(set(steps)) > 10
    fold = "document.querySelector('#already-there .fold')"
    desk.value(f"{fold}.open = false; {fold}.querySelector('summary').focus()")
    desk.key("Enter")
    assert desk.value(f"{fold}.open") is True
    # A link of the contents leads to its section.
    desk.value("document.querySelector('.contents a[href$=claims]').click()")
    assert desk.value("location.hash") == "#claims"


def test_it_prints(desk: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    desk.pdf(path)
    assert path.read_bytes().startswith(b"%PDF")
    assert path.stat().st_size > 50_000


def test_on_a_phone_in_the_dark(browser: Browser, report: Path) -> None:
    browser.open(report, width=360, dark=True, phone=True)
    silent_alone_and_drawn(browser, 10)
    assert browser.value("typeof window.pwned") == "undefined"
    assert HOSTILE in browser.value("document.querySelectorAll('.token-text .tokens')[1].textContent")
    assert browser.value(SHUT) > 5
    browser.value(OPEN_ALL)
    assert browser.value(SHUT) == 0
    # With every fold open the page still is no wider than the phone, and nothing is left undrawn.
    silent_alone_and_drawn(browser, 10)


def test_a_sham_is_drawn_too(browser: Browser, sham: Path) -> None:
    browser.open(sham, width=900)
    silent_alone_and_drawn(browser, 10)
