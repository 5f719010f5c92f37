"""The autoencoder: each step as the plain formula has it, seeds that do not disturb each other, planted latents."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hooks.streams import stream
from probes.latent.clusters import unit_rows
from probes.latent.sparse_autoencoder import fit_autoencoders


def blobs(k: int = 4, n: int = 300, d: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = stream(seed, "blobs")
    centres = np.linalg.qr(rng.standard_normal((d, k)))[0].T * 6
    label = rng.integers(0, k, n)
    rows = centres[label] + rng.standard_normal((n, d)) * 0.7
    return unit_rows((rows - rows.mean(axis=0)).astype(np.float32)), label


class Plain(torch.nn.Module):
    """The same network with ordinary modules, one vector at a time."""

    def __init__(self, start: np.ndarray) -> None:
        super().__init__()
        n, d = start.shape
        self.encoder = torch.nn.Linear(d, n)
        self.encoder.weight.data = torch.from_numpy(start).clone()
        self.encoder.bias.data.zero_()
        self.decoder = torch.nn.Parameter(torch.from_numpy(start).clone())
        self.centre = torch.nn.Parameter(torch.zeros(d))
        self.unit()

    @torch.no_grad()
    def unit(self) -> None:
        for row in self.decoder:
            row /= row.norm()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = []
        for one in x:
            latents = self.encoder(one - self.centre)
            top = latents.argsort(descending=True)[:3]
            out.append(sum(latents[at] * self.decoder[at] for at in top) + self.centre)
        return torch.stack(out)


def test_each_step_is_that_of_the_plain_formula() -> None:
    rows, _ = blobs(n=40)
    n, d, seed, batch = 6, rows.shape[1], 3, 16
    (fast,) = fit_autoencoders(rows, n, seeds=[seed], epochs=2, batch=batch)
    bound = 1 / math.sqrt(d)
    plain = Plain(stream(seed, "autoencoder", "start", n).uniform(-bound, bound, (n, d)).astype(np.float32))
    optimiser = torch.optim.Adam(plain.parameters(), lr=2e-4 / math.sqrt(n / 2**14))
    order, data, losses = stream(seed, "autoencoder", "order", n), torch.from_numpy(rows), []
    for _ in range(2):
        drawn, total = order.permutation(len(rows)), 0.0
        for start in range(0, len(rows), batch):
            x = data[drawn[start : start + batch]]
            loss = ((x - plain(x)) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            plain.unit()
            total += float(loss.detach()) * len(x) / len(rows)
        losses.append(total)
    assert losses[1] < losses[0], "the second epoch is the better one, so its weights are kept"
    assert fast.epochs == 2
    assert fast.loss == pytest.approx(losses[1], rel=1e-4)
    torch.testing.assert_close(fast.encoder, plain.encoder.weight.data, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(fast.bias, plain.encoder.bias.data, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(fast.decoder, plain.decoder.data, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(fast.centre, plain.centre.data, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(torch.from_numpy(fast.reconstruct(rows)), plain(data).detach(), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(
        fast.categories(rows), [int((plain.encoder(one - plain.centre)).argmax()) for one in data]
    )


def test_a_seed_trains_alone_as_it_trains_in_company() -> None:
    rows, _ = blobs(n=120)
    alone, together = (
        fit_autoencoders(rows, 5, seeds=[7], epochs=30),
        fit_autoencoders(rows, 5, seeds=[1, 7], epochs=30),
    )
    assert alone[0].epochs == together[1].epochs
    torch.testing.assert_close(alone[0].encoder, together[1].encoder, rtol=1e-3, atol=1e-4)
    assert float((together[0].encoder - together[1].encoder).abs().max()) > 0.05


def test_decoder_rows_have_length_one_and_training_ends_early_once_nothing_is_gained() -> None:
    rows, _ = blobs(n=100)
    (short,) = fit_autoencoders(rows, 4, seeds=[0], epochs=300, patience=1)
    assert short.epochs < 300
    torch.testing.assert_close(short.decoder.norm(dim=1), torch.ones(4))


def test_planted_blobs_are_rebuilt_and_pure_noise_is_not() -> None:
    rows, _ = blobs()
    (fit,) = fit_autoencoders(rows, 12, seeds=[0])
    share = 1 - ((rows - fit.reconstruct(rows)) ** 2).sum() / ((rows - rows.mean(0)) ** 2).sum()
    assert share > 0.8
    noise = unit_rows(stream(1, "noise").standard_normal((300, 60)).astype(np.float32))
    (null,) = fit_autoencoders(noise, 12, seeds=[0])
    assert 1 - ((noise - null.reconstruct(noise)) ** 2).sum() / ((noise - noise.mean(0)) ** 2).sum() < 0.4


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 latents"):
        fit_autoencoders(np.ones((4, 3), np.float32), 1, seeds=[0])
    with pytest.raises(ValueError, match="a row"):
        fit_autoencoders(np.ones((0, 3), np.float32), 3, seeds=[0])
