"""A planted transfer matrix and its order are found, predictions hold where transfer adds up; nulls stay silent."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from hooks.rollouts import Rollouts
from probes.stats import wilson
from probes.training import DomainRun, domain_order, greedy_order

DOMAINS = ("code", "math", "write")
START = {"code": 0.30, "math": 0.35, "write": 0.40}
TRANSFER = {
    ("code", "code"): 0.30, ("code", "math"): 0.08, ("code", "write"): 0.02,
    ("math", "code"): -0.06, ("math", "math"): 0.28, ("math", "write"): 0.00,
    ("write", "code"): -0.15, ("write", "math"): -0.12, ("write", "write"): 0.25,
}  # fmt: skip


def scores(shares: dict[str, float], seed: int, n: int = 60) -> dict[str, pd.Series]:
    """Accuracy by problem over 16 samples, around a difficulty that belongs to the problem."""
    out = {}
    for place, (domain, share) in enumerate(shares.items()):
        hard = np.random.default_rng(place).normal(0, 0.08, n)
        hard -= hard.mean()
        chance = np.clip(share + hard, 0, 1)
        drawn = np.random.default_rng(1000 * seed + place).binomial(16, chance) / 16
        out[domain] = pd.Series(drawn, index=[f"{domain}-{i}" for i in range(n)])
    return out


def after(order: tuple[str, ...], adds: bool = True) -> dict[str, float]:
    """Accuracies after a series of domains whose transfers add up, or do not matter at all."""
    out = dict(START)
    for domain in order:
        for tested in DOMAINS:
            out[tested] += TRANSFER[domain, tested] if adds else 0.0
    return out


def predictable(order: tuple[str, ...]) -> dict[str, float]:
    """What the prediction says: saturated, plus what later domains do."""
    return {j: START[j] + TRANSFER[j, j] + sum(TRANSFER[i, j] for i in order[order.index(j) + 1 :]) for j in DOMAINS}


def sequence(order: tuple[str, ...], seed: int) -> DomainRun:
    """A run whose domains reach their saturated accuracy when they are trained, whatever came before."""
    stages = []
    for t in range(1, 4):
        state = after(order[:t])
        for j in order[:t]:
            state[j] = START[j] + TRANSFER[j, j] + sum(TRANSFER[i, j] for i in order[order.index(j) + 1 : t])
        stages.append(scores(state, seed * 10 + t))
    return DomainRun(order, tuple(stages))


SINGLES = {domain: scores(after((domain,)), 50 + i) for i, domain in enumerate(DOMAINS)}


def test_transfer_order_and_ends_are_what_was_planted() -> None:
    runs = [sequence(order, 7 + i) for i, order in enumerate(itertools.permutations(DOMAINS))]
    joint = scores(dict.fromkeys(DOMAINS, 0.5), 99)
    found = domain_order(scores(START, 1), SINGLES, runs, joint=joint, n_boot=300)
    for row in found.frame.to_dict("records"):
        assert row["transfer"] == pytest.approx(TRANSFER[row["trained"], row["tested"]], abs=0.04)
        assert row["transfer_low"] < row["transfer"] < row["transfer_high"]
    inside = [
        row["transfer_low"] <= TRANSFER[row["trained"], row["tested"]] <= row["transfer_high"]
        for row in found.frame.to_dict("records")
    ]
    assert sum(inside) >= 8
    # Code leaves (0.43 + 0.42) / 2 on the rest, math (0.24 + 0.40) / 2, writing (0.15 + 0.23) / 2.
    assert found.greedy == ("code", "math", "write")
    assert found.greedy_steady > 0.95
    assert found.correlation.value > 0.8
    assert found.correlation.value == pytest.approx(spearmanr(found.runs["predicted"], found.runs["final"])[0])
    assert found.correlation.low < found.correlation.value < found.correlation.high
    ends = found.runs.set_index("order")
    for order in itertools.permutations(DOMAINS):
        planned = np.mean(list(predictable(order).values()))
        assert ends.loc[" → ".join(order), "final"] == pytest.approx(planned, abs=0.03)
        assert ends.loc[" → ".join(order), "predicted"] == pytest.approx(planned, abs=0.04)
    assert ends["greedy"].sum() == 1
    assert found.over_joint is not None
    assert found.over_others is not None
    assert found.over_joint.value == pytest.approx(ends[ends["greedy"]]["final"].iloc[0] - 0.5, abs=0.02)
    assert "rank correlation" in str(found)
    assert found.plot().data[0].type == "heatmap"


def test_backward_transfer_and_forgetting_against_a_plain_loop() -> None:
    run = sequence(("write", "math", "code"), 3)
    found = domain_order(scores(START, 1), SINGLES, [run], n_boot=50)
    a = [{j: float(stage[j].mean()) for j in DOMAINS} for stage in run.stages]  # type: ignore[union-attr]
    back = np.mean([a[2][j] - a[t][j] for t, j in enumerate(run.order[:-1])])
    lost = {j: max(a[0][j], a[1][j]) - a[2][j] for j in DOMAINS}
    assert found.runs["backward"].iloc[0] == pytest.approx(back)
    assert found.runs["forgetting"].iloc[0] == pytest.approx(np.mean(list(lost.values())))
    table = found.finals.set_index("domain")
    assert table.loc["write", "forgetting"] == pytest.approx(lost["write"])
    assert "too few orders" in str(found)
    assert not found.correlation.measured
    ends = domain_order(scores(START, 1), SINGLES, [DomainRun(run.order, run.stages[-1:])], n_boot=50)
    assert ends.runs["forgetting"].isna().all()
    assert ends.runs["final"].iloc[0] == found.runs["final"].iloc[0]


def test_where_nothing_transfers_intervals_cover_zero_and_no_order_is_steady() -> None:
    same = {domain: scores(START, 60 + i) for i, domain in enumerate(DOMAINS)}
    runs = [DomainRun(order, (scores(START, 70 + i),)) for i, order in enumerate(itertools.permutations(DOMAINS))]
    found = domain_order(scores(START, 1), same, runs, n_boot=300)
    covered = (found.frame["transfer_low"] <= 0) & (found.frame["transfer_high"] >= 0)
    assert covered.sum() >= 8
    assert found.correlation.low < 0 < found.correlation.high
    assert found.over_others is not None
    assert not found.over_others.excludes_zero


def test_numbers_alone_are_one_run_without_intervals() -> None:
    found = domain_order(START, {domain: after((domain,)) for domain in DOMAINS}, n_boot=50)
    assert found.frame["transfer"].iloc[1] == pytest.approx(0.08)
    assert found.frame["transfer_low"].isna().all()
    assert math.isnan(found.greedy_steady)
    assert found.over_joint is None
    assert found.runs.empty


def test_rollouts_count_their_samples_and_entropies_change_by_domain() -> None:
    rollouts = Rollouts.of(
        {
            "problem": f"{domain}-{i}", "sample": s, "model": "m", "prompt": "?", "prompt_ids": [1], "ids": [2],
            "text": "x", "logp": [0.0], "stop": "eos", "author": ["rl"], "correct": (i + s) % 4 == 0, "answer": "x",
        }
        for domain in ("code",) for i in range(6) for s in range(4)
    )  # fmt: skip
    two = {"code": rollouts, "math": 0.3}
    found = domain_order(two, {"code": {"code": 0.6, "math": 0.3}, "math": {"code": 0.2, "math": 0.5}}, n_boot=50,
                         entropy={"code": tables(1.0, 0.4), "math": tables(0.5, 0.9)})  # fmt: skip
    value = found.frame.set_index(["trained", "tested"]).loc[("code", "code"), "transfer"]
    assert value == pytest.approx(0.35)
    change = found.entropy.set_index("domain")
    assert change.loc["code", "change"] == pytest.approx(-0.6, abs=0.05)
    assert change.loc["code", "change_high"] < 0 < change.loc["math", "change_low"]


def tables(before: float, after: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    problem = np.repeat([f"p{i}" for i in range(12)], 20)
    first, second = (
        pd.DataFrame({"problem": problem, "entropy": level + rng.normal(0, 0.1, 240)}) for level in (before, after)
    )
    return first, second


def test_the_greedy_order_by_hand() -> None:
    after_each = np.array([[0.9, 0.1, 0.2], [0.5, 0.9, 0.6], [0.3, 0.4, 0.9]])
    # The second leaves 0.55 on the rest; of the others the third leaves 0.3 on the first, the first 0.2 on the third.
    assert greedy_order(after_each) == (1, 2, 0)


def test_refusals() -> None:
    good = {domain: after((domain,)) for domain in DOMAINS}
    with pytest.raises(ValueError, match="at least 2 domains"):
        domain_order({"code": 0.3}, {"code": {"code": 0.5}})
    with pytest.raises(ValueError, match="no run on 'write' alone"):
        domain_order(START, {key: good[key] for key in ("code", "math")})
    with pytest.raises(ValueError, match="each of code, math, write once"):
        domain_order(START, good, [DomainRun(("code", "math"), (START,))])
    with pytest.raises(ValueError, match="no accuracy on 'math' for joint"):
        domain_order(START, good, joint={"code": 0.5, "write": 0.5})
    strange = {j: one.rename(lambda name: f"other {name}") for j, one in scores(START, 0).items()}
    with pytest.raises(ValueError, match="no problem of 'code' in common"):
        domain_order(scores(START, 1), dict.fromkeys(DOMAINS, strange))


def test_domains_solved_both_ways_are_no_proof_of_no_difference() -> None:
    def solved(n: int) -> dict[str, pd.Series]:
        return {j: pd.Series(1.0, index=[f"{j}-{i}" for i in range(n)]) for j in DOMAINS}

    all_right = solved(20)
    runs = [DomainRun(order, (all_right,) * 3) for order in itertools.permutations(DOMAINS)]
    found = domain_order(all_right, dict.fromkeys(DOMAINS, all_right), runs, joint=all_right, n_boot=50)
    whole, one = wilson(0, 60).high, wilson(0, 20).high
    assert found.over_joint is not None
    assert found.over_others is not None
    for gap in (found.over_joint, found.over_others):
        assert (gap.value, gap.low, gap.high) == pytest.approx((0, -whole, whole))
    # One domain's figures rest on that domain's problems, not on all.
    assert found.frame["transfer_high"].to_numpy() == pytest.approx(np.full(9, one))
    assert found.finals["actual_low"].to_numpy() == pytest.approx(np.full(18, 1 - one))
    assert found.runs["final_low"].to_numpy() == pytest.approx(np.full(6, 1 - whole))
    for name in ("backward", "forgetting", "predicted"):
        assert (found.runs[f"{name}_low"] < found.runs[name]).all()
    assert "all orders end" in str(found)
    # A mean over a large domain and small ones is no surer than its small ones let it be.
    large = {"code": all_right["code"], "math": all_right["math"], "write": solved(2000)["write"]}
    uneven = domain_order(large, dict.fromkeys(DOMAINS, large), [DomainRun(DOMAINS, (large,))], joint=large, n_boot=20)
    assert uneven.runs["final_low"].iloc[0] == pytest.approx(1 - wilson(0, 89).high)


def test_a_domain_given_as_a_number_has_no_interval_beside_one_with_samples() -> None:
    series = scores(START, 1)["code"]
    found = domain_order(
        {"code": series, "math": 0.3},
        {"code": {"code": series, "math": 0.3}, "math": {"code": series, "math": 0.5}}, n_boot=20,
    )  # fmt: skip
    rows = found.frame.set_index(["trained", "tested"])
    assert math.isnan(rows.loc[("math", "math"), "transfer_low"])
    assert rows.loc[("math", "code"), "transfer_low"] < 0
