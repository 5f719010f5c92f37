"""The claim's rule at its bar, what counts as not measured, and the part of the page."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from probes.claims import judge
from probes.evidence import Evidence
from probes.report.blocks import Figure, Heading, Table
from probes.report.folder import StudyReader
from probes.report.suppression import suppressed
from probes.rules.suppression import suppression as rule
from probes.samples import Suppression, suppression
from probes.stats import Estimate
from probes.study.suppressing import evidence
from probes.verdicts import combine
from tests.probes.samples.test_suppression import Policies


def about(value: float, half: float = 0.05, method: str = "bootstrap") -> Estimate:
    return Estimate(value, value - half, value + half, 50, method)


@pytest.mark.parametrize(
    ("share", "mass", "verdict"),
    [
        (0.7, 0.6, "supported"), (0.3, 0.4, "contradicted"), (0.8, 0.3, "mixed"), (0.8, 0.52, "not identified"),
        (math.nan, math.nan, "not identified"), (0.7, None, "supported"), (None, None, "not measured"),
    ],
)  # fmt: skip
def test_the_bar_is_one_half_on_both_shares(share: float | None, mass: float | None, verdict: str) -> None:
    first, second = (None if one is None else about(one, method="why") for one in (share, mass))
    found = rule(Evidence(suppression=first, suppression_mass=second, suppression_accuracy=about(0.15)))
    assert combine([part.verdict for part in found]) == verdict
    assert "base right on 15%" in found[0].name
    assert ("why" in found[0].rule) == (share is not None and math.isnan(share))


def result(**changes: float) -> Suppression:
    world = Policies(right=4, tilt=0.8, drift=0.1, problems=30)
    return suppression(world.sample(16), world.sample(4, who="rl"), n_boot=200, **changes)


def test_a_refused_figure_was_not_measured_and_an_undefined_one_is_not_identified() -> None:
    whole = evidence(result())
    assert whole.suppression_mass is not None
    assert whole.suppression_mass.measured
    refused = evidence(result(min_effective=1e9))
    by_text, by_mass = rule(refused)
    assert (by_text.verdict, by_mass.verdict) == ("contradicted", "not measured")
    # The reason is the refusal, not that somebody forgot to score.
    assert "refused" in by_mass.rule
    assert next(claim.needs for claim in judge(refused) if claim.key == "suppression") == ""
    null = evidence(suppression(Policies(right=4, problems=30).sample(8)))
    assert null.suppression is not None
    assert math.isnan(null.suppression.value)
    never = evidence(suppression(Policies(right=0, problems=5).sample(4)))
    assert never.suppression is None


def test_samples_of_another_distribution_give_no_mass() -> None:
    world = Policies(right=4, tilt=0.8, problems=20)
    found = suppression(world.sample(16), as_drawn=False)
    assert "not drawn from" in found.figure("moved", "to right").method
    refused = evidence(found).suppression_mass
    assert refused is not None
    assert not refused.measured


def test_the_part_of_the_page(tmp_path: Path) -> None:
    assert suppressed(StudyReader(tmp_path)) == []
    (tmp_path / "results").mkdir()
    found = result(min_effective=1e9)
    found.frame.to_parquet(tmp_path / "results" / "suppression.parquet")
    blocks = suppressed(StudyReader(tmp_path))
    assert [type(block) for block in blocks] == [Heading, Figure, Table, Table]
    table = blocks[2]
    assert isinstance(table, Table)
    assert "refused" in table.note
    share = table.rows[3]
    assert share[1].text.endswith("%")
    assert share[3].text == "not measured"
    assert "Tuned texts that the base finds" in str(blocks[3])
