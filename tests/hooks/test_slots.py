"""The cache that is cut for nothing: reads in pieces, cuts and catch-ups equal reading the text in one go."""

import numpy as np
import torch

from hooks.model import Model
from hooks.reader import Reader
from hooks.streams import stream
from tests.families import tiny


@torch.no_grad()
def test_any_order_of_reading_cutting_and_dropping_equals_one_forward() -> None:
    model = Model.load(tiny("llama"), dtype=torch.float64, device="cpu")
    draw = stream(0, "slots")
    text = torch.from_numpy(draw.integers(4, 60, (5, 90)))
    lengths = draw.integers(1, 9, 5)
    rows, reader = np.arange(5), Reader(model, np.full(5, 90), lambda logits: logits)
    for turn in range(40):
        lengths = lengths + draw.integers(1, 5, len(rows))
        some = np.flatnonzero(draw.random(len(rows)) < 0.7) if turn % 3 else np.arange(len(rows))
        if len(some):
            asked = None if len(some) == len(rows) else some
            last = int(min(3, lengths[some].min()))
            logits, hidden = reader.read(text, lengths[some], last=last, rows=asked)
            assert hidden is None
            for at, row in enumerate(some):
                alone = model.net(text[row : row + 1, : lengths[row]]).logits[0, -last:]
                torch.testing.assert_close(logits[at], alone, atol=1e-9, rtol=1e-9)
        # The tail of every row is rejected somewhere else, and what follows it is another text.
        lengths = np.maximum(1, lengths - draw.integers(0, 4, len(rows)))
        reader.cut_back(lengths)
        for row, length in enumerate(lengths):
            text[row, length:] = torch.from_numpy(draw.integers(4, 60, text.shape[1] - length))
        if turn in (15, 25):
            stay = np.delete(np.arange(len(rows)), 1)
            rows, lengths, text = rows[stay], lengths[stay], text[torch.from_numpy(stay)]
            reader.keep(stay, torch.from_numpy(stay))
    assert reader.slots.capacity >= lengths.max()


@torch.no_grad()
def test_prompts_that_rows_share_are_read_once() -> None:
    model = Model.load(tiny("llama"), dtype=torch.float64, device="cpu")
    prompts = torch.tensor([[5, 6, 7, 8, 0], [9, 10, 0, 0, 0]])
    source = np.array([0, 1, 0, 1, 1])
    reader = Reader(model, np.full(5, 90), lambda logits: logits)
    reader.prefill(prompts, np.array([3, 1]), source)
    logits, _ = reader.read(prompts[torch.from_numpy(source)], np.array([4, 2])[source], last=1)
    for row, at in enumerate(source):
        alone = model.net(prompts[at : at + 1, : (4, 2)[at]]).logits[0, -1:]
        torch.testing.assert_close(logits[row], alone, atol=1e-9, rtol=1e-9)
