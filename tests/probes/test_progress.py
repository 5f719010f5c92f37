"""Progress bars: rate and time left where somebody watches, nothing at all elsewhere."""

from typing import Any

import pytest

from probes.progress import bars, rate


def test_a_terminal_sees_rate_counts_and_time(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "160")
    with bars() as tell:
        move = tell("texts")
        for done in range(1, 5):
            move(done, 4, "loss 0.5")
    written = capsys.readouterr()
    assert written.out == ""
    assert "texts" in written.err
    assert "4/4" in written.err
    assert "0:00:0" in written.err
    assert "loss 0.5" in written.err
    assert "/s" in written.err or "s each" in written.err


@pytest.mark.parametrize("options", [{}, {"quiet": True}])
def test_nobody_watching_sees_nothing(options: dict[str, Any], capsys: pytest.CaptureFixture) -> None:
    with bars(**options) as tell:
        tell("texts")(1, 2)
    assert capsys.readouterr() == ("", "")


def test_rates_read_well() -> None:
    assert [rate(speed) for speed in (None, 0.0, 1234.5, 2.0, 0.25)] == ["", "", "1,234.5/s", "2.0/s", "4 s each"]
