r"""Train a vector for each strategy to bring out of the frozen base what the RL model writes where they part.

Over the RL model's own texts, at the places P_c of strategy c where the base's most probable token is not the RL
model's,

.. math:: \min_{V, W, w, b} \; \frac{1}{|C|} \sum_{c \in C} \frac{1}{|P_c|} \sum_{t \in P_c}
    -\log \pi_{\text{base}}(x_t \mid x_{<t};\; h_t \leftarrow h_t + \alpha(h_t, c) V_c)

so that a rare strategy weighs as much as a frequent one; the push acts at the place alone (:mod:`hooks.branches`).
Training stops when the same loss over problems held out has not fallen for ``patience`` epochs, and the best epoch is
kept. Strategies come from labelled spans; the reader that names them at run time is a linear classifier of the RL
model's activations on the same labels. Protocol and defaults of arXiv 2510.07364's second version.

What it does not show: that the base *chose* anything. The vectors are fitted to RL tokens, so they may carry content as
well as strategy; random vectors and wrong strategies stand beside them for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.branches import branch_logits
from hooks.capture import capture
from hooks.packing import pad_right
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from hooks.score import score
from hooks.sites import Site, expand_sites
from hooks.streams import stream
from probes.routing.vectors import StrategyVectors, initial, push

FEWEST = 8
"""Places where the models part that a strategy needs among the problems trained on."""
DEPTH = 0.375
"""Depth at which the base is pushed; published layers lie at 36 to 38 %."""
READ_DEPTH = 0.75
"""Depth at which the RL model is read."""
READER_ROWS = 20_000
"""Places that the reader is fitted on, at most."""


@dataclass(frozen=True, eq=False)
class _Plan:
    """What training is told beside the data."""

    epochs: int
    patience: int
    vector_lr: float
    mlp_lr: float
    weight_decay: float
    batch_texts: int
    seed: int


def strategy_vectors(
    pair: Pair,
    texts: Rollouts,
    spans: pd.DataFrame,
    *,
    site: str | Site | None = None,
    read_site: str | None = None,
    held_out: float = 0.2,
    most_places: int = 64,
    width: int = 512,
    epochs: int = 60,
    patience: int = 5,
    vector_lr: float = 1e-2,
    mlp_lr: float = 1e-3,
    weight_decay: float = 0.01,
    batch_texts: int = 32,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> StrategyVectors:
    """Fit strategy vectors, their coefficients and the reader of strategies.

    Args:
        pair: whose base is pushed and whose RL model is read.
        texts: of the RL model.
        spans: labelled stretches of these texts: ``problem``, ``sample``, ``strategy``, and ``start`` and ``stop`` in
            tokens of the completion.
        site: where the base is pushed; the residual stream at three eighths of the depth by default.
        read_site: where the RL model is read; three quarters of its depth by default.
        held_out: share of problems that stop the training and are not trained on.
        most_places: places of one text and strategy, at most.
        width: of the trunk.
        epochs: passes over the texts, at most.
        patience: passes without a better held-out loss before training stops.
        vector_lr: step of the vectors (AdamW).
        mlp_lr: step of the coefficients.
        weight_decay: of both.
        batch_texts: texts a step.
        seed: of split, start and order.
        progress: called with (epochs done, epochs in all).

    Raises:
        ValueError: fewer than two problems, or no strategy with enough places where the models part.

    It does not show that a vector is its strategy; run :func:`probes.routing.route` with it and read the controls.
    """
    place = Site.parse(site) if site is not None else Site.parse(f"resid_post.{int(DEPTH * pair.base.n_layers)}")
    read = read_site or f"resid_post.{min(pair.rl.n_layers - 1, int(READ_DEPTH * pair.rl.n_layers))}"
    read = str(expand_sites(read, pair.rl.n_layers)[0])
    scored = _labelled(score(pair, texts).frame, spans)
    held = _held_out(scored["problem"], held_out, seed)
    names, parting = _parting(scored, held, most_places, seed)
    parting = parting.assign(category=[names.index(one) for one in parting["strategy"]])
    reader, reader_bias, agreement = _reader(pair, texts, scored, parting, names, read, held, seed)
    train, test = parting[~_among(parting, held)], parting[_among(parting, held)]
    if test.empty:
        raise ValueError("the models never part on the problems held out; give texts of more problems")
    plan = _Plan(epochs, patience, vector_lr, mlp_lr, weight_decay, batch_texts, seed)
    data = _Data(pair, texts, place)
    parts, history, before = _fit(data, train, test, len(names), width, plan, progress)
    found = StrategyVectors(
        names=names, vectors=parts[0], trunk=parts[1], heads=parts[2], biases=parts[3], reader=reader,
        reader_bias=reader_bias, site=place, read_site=read,
        weights_hash=(pair.base.weights_hash, pair.rl.weights_hash),
        scores_held_out={
            "cross-entropy unsteered": before, "cross-entropy steered": float(history["held_out"].min()),
            "reader agrees": agreement,
        },
        history=history,
    )  # fmt: skip
    return found


def _labelled(scored: pd.DataFrame, spans: pd.DataFrame) -> pd.DataFrame:
    """The token table with the strategy that each place is in; None outside all spans."""
    strategy = np.full(len(scored), None, dtype=object)
    first = _starts(scored)
    for row in spans[["problem", "sample", "strategy", "start", "stop"]].to_dict("records"):
        key = (str(row["problem"]), int(row["sample"]))
        if key in first:
            begin, length = first[key]
            strategy[begin + int(row["start"]) : begin + min(int(row["stop"]), length)] = str(row["strategy"])
    return scored.assign(strategy=strategy)


def _among(table: pd.DataFrame, problems: set[str]) -> pd.Series:
    return table["problem"].astype(str).isin(problems)


def _starts(scored: pd.DataFrame) -> dict[tuple[str, int], tuple[int, int]]:
    """For each text its first row in the table and its number of tokens."""
    out: dict[tuple[str, int], tuple[int, int]] = {}
    for at, (problem, sample) in enumerate(zip(scored["problem"].astype(str), scored["sample"], strict=True)):
        begin, length = out.get((problem, int(sample)), (at, 0))
        out[problem, int(sample)] = (begin, length + 1)
    return out


def _parting(scored: pd.DataFrame, held: set[str], most: int, seed: int) -> tuple[tuple[str, ...], pd.DataFrame]:
    """Labelled places where the base would write another token, and the strategies with enough of them."""
    found = scored[(scored["top_base"] != scored["id"]) & scored["strategy"].notna()]
    order = stream(seed, "places of a text").permutation(len(found))
    found = found.iloc[order].groupby(["problem", "sample", "strategy"], observed=True, sort=False).head(most)
    found = found.sort_index()
    counts = found.loc[~_among(found, held), "strategy"].value_counts()
    names = tuple(sorted(str(name) for name in counts.index[counts >= FEWEST]))
    if not names:
        most_found = int(counts.max()) if len(counts) else 0
        raise ValueError(
            f"no strategy has {FEWEST} places where the models part ({most_found} at most); give more texts"
        )
    return names, found[found["strategy"].isin(names)]


def _held_out(problems: pd.Series, share: float, seed: int) -> set[str]:
    named = sorted(set(problems.astype(str)))
    if len(named) < 2:
        raise ValueError("strategy vectors need texts of at least two problems, one of them to be held out")
    count = min(len(named) - 1, max(1, round(share * len(named))))
    return {named[at] for at in stream(seed, "held out").permutation(len(named))[:count]}


def _reader(
    pair: Pair,
    texts: Rollouts,
    scored: pd.DataFrame,
    parting: pd.DataFrame,
    names: tuple[str, ...],
    site: str,
    held: set[str],
    seed: int,
) -> tuple[Float[Tensor, "category d_other"], Float[Tensor, "category"], float]:
    """A linear classifier of the RL model's activations, and how often it names the label on problems held out."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    acts = capture(pair.rl, texts, sites=site, positions="generated")
    rows = acts.rows.assign(row=np.arange(len(acts.rows)), problem=acts.rows["problem"].astype(str))
    # The activation at one position chooses the token of the next.
    rows = rows.assign(index=rows["index"] + 1)[["problem", "sample", "index", "row"]]
    wanted = scored[scored["strategy"].isin(names)].assign(problem=lambda table: table["problem"].astype(str))
    wanted = wanted.merge(rows, on=["problem", "sample", "index"], how="inner")
    if len(wanted) > READER_ROWS:
        wanted = wanted.iloc[np.sort(stream(seed, "reader").permutation(len(wanted))[:READER_ROWS])]
    hidden = acts[site].float().cpu().numpy()[wanted["row"].to_numpy()]
    labels = wanted["strategy"].astype(str).to_numpy()
    out = wanted["problem"].isin(held).to_numpy()
    d_other = hidden.shape[1]
    if len(names) == 1:
        return torch.zeros(1, d_other), torch.zeros(1), 1.0
    fit = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)).fit(hidden[~out], labels[~out])
    scale, line = fit.named_steps["standardscaler"], fit.named_steps["logisticregression"]
    weight = np.zeros((len(names), d_other))
    bias = np.full(len(names), -np.inf)
    coefficients = line.coef_ if len(line.classes_) > 2 else np.concatenate([-line.coef_, line.coef_]) / 2
    intercepts = line.intercept_ if len(line.classes_) > 2 else np.concatenate([-line.intercept_, line.intercept_]) / 2
    for at, name in enumerate(line.classes_):
        weight[names.index(name)] = coefficients[at] / scale.scale_
        bias[names.index(name)] = intercepts[at] - weight[names.index(name)] @ scale.mean_
    agreement = float((fit.predict(hidden[out]) == labels[out]).mean()) if out.any() else float("nan")
    return torch.from_numpy(weight).float(), torch.from_numpy(bias).float(), agreement


class _Data:
    """Texts on the base's device, and the loss of pushes at some of their places."""

    def __init__(self, pair: Pair, texts: Rollouts, site: Site) -> None:
        self.pair, self.site = pair, site
        self.sequences = texts.sequences()
        names = zip(texts.frame["problem"].astype(str), texts.frame["sample"].astype(int), strict=True)
        self.row = {name: at for at, name in enumerate(names)}

    def losses(self, places: pd.DataFrame, move: Callable[[Tensor, Tensor], Tensor] | None) -> Float[Tensor, "place"]:
        """Cross-entropy of the RL token at each place, in the order of the table."""
        base = self.pair.base
        keys = zip(places["problem"].astype(str), places["sample"].astype(int), strict=True)
        line = np.array([self.row[key] for key in keys])
        rows, row_of = np.unique(line, return_inverse=True)
        column = np.array(places.groupby(row_of).cumcount())
        grid = np.zeros((len(rows), column.max() + 1), dtype=np.int64)
        sorts = np.zeros_like(grid)
        # The token at a position is chosen one position before it.
        grid[row_of, column] = places["pos"].to_numpy() - 1
        sorts[row_of, column] = places["category"].to_numpy()
        ids = pad_right([np.asarray(self.sequences[row][0], dtype=np.int64) for row in rows], base.pad_id)
        sort = torch.from_numpy(sorts).to(base.device)

        def change(hidden: Tensor) -> Tensor:
            if move is None:
                return hidden
            flat = move(hidden.flatten(0, 1), sort.flatten()).to(hidden.dtype)
            return hidden + flat.reshape(hidden.shape)

        logits = branch_logits(
            base, ids.to(base.device), torch.from_numpy(grid).to(base.device), site=self.site, change=change
        )
        at = (torch.from_numpy(row_of).to(base.device), torch.from_numpy(column).to(base.device))
        target = torch.tensor(places["id"].tolist(), device=base.device)
        return torch.nn.functional.cross_entropy(self.pair.cut(logits[at]).float(), target, reduction="none")


def balanced(losses: Float[Tensor, "place"], category: Int[Tensor, "place"]) -> Float[Tensor, ""]:
    """The mean over categories of the mean over places, so that rare categories weigh as much as frequent ones."""
    present = category.unique()
    return torch.stack([losses[category == one].mean() for one in present]).mean()


def _fit(
    data: _Data,
    train: pd.DataFrame,
    test: pd.DataFrame,
    n_categories: int,
    width: int,
    plan: _Plan,
    progress: Callable[[int, int], object] | None,
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], pd.DataFrame, float]:
    device = data.pair.base.device
    start = initial(n_categories, data.pair.base.d_model, width, plan.seed)
    parts = [part.to(device).requires_grad_(True) for part in start]
    optimiser = torch.optim.AdamW(
        [{"params": parts[:1], "lr": plan.vector_lr}, {"params": parts[1:], "lr": plan.mlp_lr}],
        weight_decay=plan.weight_decay,
    )

    def loss_of(places: pd.DataFrame, *, pushed: bool = True) -> Tensor:
        category = torch.tensor(places["category"].tolist(), device=device)
        move = (lambda hidden, sorts: push(hidden, sorts, *parts)) if pushed else None
        return balanced(data.losses(places, move), category)

    with torch.no_grad():
        unsteered = float(loss_of(test, pushed=False))
    best, best_loss, rows, waited = [part.detach().clone() for part in parts], float("inf"), [], 0
    texts = train[["problem", "sample"]].drop_duplicates().reset_index(drop=True)
    for epoch in range(plan.epochs):
        order = stream(plan.seed, "epoch", str(epoch)).permutation(len(texts))
        seen = []
        for begin in range(0, len(order), plan.batch_texts):
            some = texts.iloc[order[begin : begin + plan.batch_texts]]
            loss = loss_of(train.merge(some, on=["problem", "sample"]))
            grads = torch.autograd.grad(loss, parts)
            for part, grad in zip(parts, grads, strict=True):
                part.grad = grad
            torch.nn.utils.clip_grad_norm_(parts[1:], 1.0)
            optimiser.step()
            seen.append(float(loss.detach()))
        with torch.no_grad():
            held = float(loss_of(test))
        rows.append({"epoch": epoch, "train": float(np.mean(seen)), "held_out": held})
        if progress is not None:
            progress(epoch + 1, plan.epochs)
        waited = 0 if held < best_loss else waited + 1
        if held < best_loss:
            best, best_loss = [part.detach().clone() for part in parts], held
        if waited >= plan.patience:
            break
    kept = tuple(part.cpu() for part in best)
    return (kept[0], kept[1], kept[2], kept[3]), pd.DataFrame(rows), unsteered
