"""The stage on the order of domains: accuracies of runs on each domain alone, in orders, and on all together.

The runs and their orders come from the settings, or from an organism that ships them; all start from the study's base.
A study without such runs leaves this stage out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from hooks.rollouts import Rollouts
from probes.evidence import Evidence
from probes.stats import Estimate
from probes.study.further import sampled, samples_each
from probes.study.materials import Materials, first_samples
from probes.study.noted import note
from probes.study.orders import Orders, domain_of
from probes.training import DomainOrder, DomainRun, domain_order
from probes.training.domain_order import FEWEST_ORDERS

ByDomain = dict[str, Rollouts]


def ordering(materials: Materials) -> None:
    """Transfer between domains, the recommended order, and what orders did; nothing where no run was given."""
    config, folder = materials.config, materials.folder
    if not config.order:
        return
    orders = Orders.of(config.order)
    ids: dict[str, list[str]] = {domain: [] for domain in orders.domains}
    for problem in materials.problems:
        if domain_of(problem) in ids:
            ids[domain_of(problem)].append(problem.id)
    files = {name: f"order-{index:03d}" for index, name in enumerate(sorted(config.order))}
    kept: dict[str, ByDomain] = {}

    def on(name: str) -> ByDomain:
        if name not in kept:
            kept[name] = _split(sampled(materials, files[name], config.order[name]), ids)
        return kept[name]

    start = first_samples(materials.rollouts("base_samples"), samples_each(config))
    found = domain_order(
        _split(start, ids), *_runs(orders, on), joint=None if orders.joint is None else on(orders.joint),
        entropy=_entropies(materials, ids), n_boot=config.n_boot, seed=config.seed,
    )  # fmt: skip
    for name, frame in (
        ("training_domains", found.frame), ("training_domain_runs", found.runs),
        ("training_domain_ends", found.finals), ("training_domain_entropy", found.entropy),
        ("training_domain_accuracy", _accuracies(kept, start, ids, {"n_boot": config.n_boot, "seed": config.seed})),
    ):  # fmt: skip
        if len(frame):
            folder.table(name, frame)
    folder.figure("training_domains", found.plot())
    folder.json("training_domains", _record(found, orders, ids, samples_each(config)))
    note(folder, "order", evidence(found))


def evidence(found: DomainOrder) -> Evidence:
    """What the claim is judged by; a correlation over fewer than five orders was not measured."""
    told = found.correlation if found.correlation.n >= FEWEST_ORDERS else None
    return Evidence(order_over_joint=found.over_joint, order_over_others=found.over_others, order_foreseen=told)


def _split(texts: Rollouts, ids: Mapping[str, list[str]]) -> ByDomain:
    return {domain: texts.subset(own) for domain, own in ids.items()}


def _runs(orders: Orders, on: Callable[[str], ByDomain]) -> tuple[dict[str, ByDomain], list[DomainRun]]:
    """The run on each domain alone, and those over all domains with what is known of their stages."""
    singles = {domain: on(name) for domain, name in orders.singles.items()}
    runs = [DomainRun(order, tuple(on(name) for name in orders.stages(order))) for order in orders.whole]
    return singles, runs


def _entropies(materials: Materials, ids: Mapping[str, list[str]]) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Token entropies of both models' own greedy texts by domain, where a stage before has read them."""
    tables = []
    for role in ("base", "rl"):
        path = materials.folder.root / "tokens" / f"{role}_greedy.parquet"
        if not path.exists():
            return {}
        tables.append(pd.read_parquet(path)[["problem", f"entropy_{role}"]].set_axis(["problem", "entropy"], axis=1))
    return {domain: (_of(tables[0], own), _of(tables[1], own)) for domain, own in ids.items()}


def _of(table: pd.DataFrame, ids: list[str]) -> pd.DataFrame:
    return table[table["problem"].isin(ids)]


def _accuracies(
    runs: Mapping[str, ByDomain], start: Rollouts, ids: Mapping[str, list[str]], options: Mapping[str, Any]
) -> pd.DataFrame:
    """A row a run and domain: accuracy with its interval; the base first."""
    from probes.stats import bootstrap_problems

    rows = []
    for name, texts in {"base": _split(start, ids), **runs}.items():
        for domain, own in texts.items():
            found = bootstrap_problems(own.frame["correct"], own.frame["problem"], **options)
            rows.append((name, domain, found.value, found.low, found.high, len(ids[domain])))
    return pd.DataFrame(rows, columns=["run", "domain", "accuracy", "accuracy_low", "accuracy_high", "problems"])


def _record(found: DomainOrder, orders: Orders, ids: Mapping[str, list[str]], samples: int) -> dict[str, Any]:
    measured = {"over_joint": found.over_joint, "over_others": found.over_others}
    return {
        "sentence": found.headline(), "greedy": list(found.greedy), "steady": found.greedy_steady,
        **{name: None if one is None else _numbers(one) for name, one in measured.items()},
        "correlation": _numbers(found.correlation), "orders": [",".join(order) for order in orders.whole],
        "joint": orders.joint, "problems": {domain: len(own) for domain, own in ids.items()}, "samples": samples,
    }  # fmt: skip


def _numbers(one: Estimate) -> dict[str, float]:
    return {"value": one.value, "low": one.low, "high": one.high}
