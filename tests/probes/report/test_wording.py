"""Numbers in words: nothing missing reads as zero, nothing single pretends to an interval."""

import math

import numpy as np
import pandas as pd
import pytest

from probes.report.wording import missing, number, plain, quantity


@pytest.mark.parametrize("nothing", [None, math.nan, np.float32("nan"), pd.NA, pd.NaT])
def test_missing_reads_not_measured_and_never_zero(nothing: object) -> None:
    assert missing(nothing)
    assert number(nothing) is None
    assert quantity(nothing, 0.1, 0.2, unit="share").text == "not measured"
    assert plain(nothing) == "not measured"


@pytest.mark.parametrize("something", [0, 0.0, False, "", [], np.int64(0), [None]])
def test_zero_and_empty_are_not_missing(something: object) -> None:
    assert not missing(something)


def test_a_value_without_an_interval_says_one_run() -> None:
    assert quantity(0.5, unit="share").interval == "one run"
    assert quantity(0.5, None, 0.7, unit="share").interval == "one run"


def spoken(*numbers: float, unit: str) -> str:
    words = quantity(*numbers, unit=unit)
    return f"{words.text} | {words.interval}".replace("\u2009", " ")


def test_units() -> None:
    assert spoken(0.972, 0.914, 1.03, unit="share") == "97.2 % | 91.4 to 103.0 %"
    assert spoken(97.2, 91.4, 103.0, unit="percent") == "97.2 % | 91.4 to 103.0 %"
    assert spoken(0.004, -0.016, 0.025, unit="points") == "0.4 points | −1.6 to 2.5 points"
    assert spoken(0.708, 0.69, 0.73, unit="auroc") == "0.708 | 0.690 to 0.730"
    assert spoken(482304, unit="count") == "482 304 | one run"
    assert [spoken(p, unit="p").split(" |")[0] for p in (0.0, 0.0004, 0.03, 1.0)] == [
        "< 0.001",
        "< 0.001",
        "0.030",
        "1.000",
    ]
    assert spoken(1.5, -math.inf, math.inf, unit="nats") == "1.500 nats | −∞ to ∞ nats"


def test_small_shares_keep_two_figures_and_rounded_zeros_have_no_sign() -> None:
    assert spoken(0.0014, unit="share").startswith("0.14 %")
    assert spoken(0.000041, unit="share").startswith("0.0041 %")
    assert spoken(0.0, unit="share").startswith("0.0 %")
    assert spoken(-0.00001, -0.2, 0.2, unit="share").startswith("0.0 %")
    assert spoken(-0.0001, unit="auroc").startswith("0.000")


def test_a_value_and_its_interval_have_the_same_decimals() -> None:
    assert spoken(0.011, 0.008, 0.014, unit="share") == "1.1 % | 0.8 to 1.4 %"
