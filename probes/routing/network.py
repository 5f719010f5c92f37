"""The small residual network behind a learned router, and how it is fitted.

Blocks of ``x + W2 GELU(W1 LayerNorm(x))`` as in R2R (arXiv 2505.21600: six of width 1024, expansion 4, dropout 0.1),
smaller here, since there are fewer labels; binary cross-entropy with the rare class weighted up to the square root of
its rarity, AdamW, and the epoch with the lowest validation loss. What it does not show: how it ranks unseen problems;
:mod:`probes.routing.learned` measures that.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hooks.streams import stream

DROPOUT = 0.1
EXPANSION = 4
WEIGHT_DECAY = 5e-4
BATCH = 1024


class RouterNetwork(nn.Module):
    """From features to log-odds; standardises its input by the rows it was trained on."""

    def __init__(self, n_features: int, width: int = 128, blocks: int = 2) -> None:
        """Build the layers; ``centre`` and ``scale`` are filled in when it is fitted."""
        super().__init__()
        self.shape = {"n_features": n_features, "width": width, "blocks": blocks}
        self.centre: Tensor
        self.scale: Tensor
        self.register_buffer("centre", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self.enter = nn.Linear(n_features, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, EXPANSION * width), nn.GELU(), nn.Dropout(DROPOUT),
                nn.Linear(EXPANSION * width, width),
            )
            for _ in range(blocks)
        )  # fmt: skip
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def forward(self, features: Float[Tensor, "row feature"]) -> Float[Tensor, "row"]:
        """Log-odds a row."""
        centre, scale = self.get_buffer("centre"), self.get_buffer("scale")
        state = self.enter((features - centre) / scale)
        for block in self.blocks:
            state = state + block(state)
        said: Tensor = self.leave(state)
        return said[:, 0]


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted network and the way there."""

    network: RouterNetwork
    """At its best epoch, in evaluation mode."""
    history: pd.DataFrame
    """epoch, train, validation: mean loss."""


def fit_network(
    rows: Float[Tensor, "train feature"],
    labels: Bool[np.ndarray, "train"],
    valid_rows: Float[Tensor, "validation feature"],
    valid_labels: Bool[np.ndarray, "validation"],
    *,
    width: int = 128,
    blocks: int = 2,
    epochs: int = 200,
    patience: int = 20,
    lr: float = 1e-3,
    seed: int = 0,
) -> Fit:
    """Fit until the validation loss has not fallen for ``patience`` epochs.

    Raises:
        ValueError: training labels of one kind only.
    """
    if labels.all() or not labels.any():
        raise ValueError("a router needs both kinds of places to learn from")
    # The caller's own random state is left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(stream(seed, "router start").integers(2**31)))
        return _fit(rows, labels, valid_rows, valid_labels, RouterNetwork(rows.shape[1], width, blocks), epochs,
                    patience, lr, seed)  # fmt: skip


def _fit(
    rows: Tensor,
    labels: np.ndarray,
    valid_rows: Tensor,
    valid_labels: np.ndarray,
    network: RouterNetwork,
    epochs: int,
    patience: int,
    lr: float,
    seed: int,
) -> Fit:
    network.centre.copy_(rows.mean(dim=0))
    spread = rows.std(dim=0, unbiased=False)
    network.scale.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))
    weight = torch.tensor(float(np.sqrt((~labels).sum() / labels.sum())))
    loss_of = nn.BCEWithLogitsLoss(pos_weight=weight)
    target = torch.from_numpy(labels.astype(np.float32))
    valid_target = torch.from_numpy(valid_labels.astype(np.float32))
    optimiser = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=WEIGHT_DECAY)
    best, best_loss, history, waited = copy.deepcopy(network.state_dict()), float("inf"), [], 0
    for epoch in range(epochs):
        network.train()
        order = torch.from_numpy(stream(seed, "router epoch", str(epoch)).permutation(len(rows)))
        losses = []
        for some in order.split(BATCH):
            loss = loss_of(network(rows[some]), target[some])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        network.eval()
        with torch.no_grad():
            held = float(loss_of(network(valid_rows), valid_target))
        history.append({"epoch": epoch, "train": float(np.mean(losses)), "validation": held})
        waited = 0 if held < best_loss else waited + 1
        if held < best_loss:
            best, best_loss = copy.deepcopy(network.state_dict()), held
        if waited >= patience:
            break
    network.load_state_dict(best)
    return Fit(network.eval(), pd.DataFrame(history))
