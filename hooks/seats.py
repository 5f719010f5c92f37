"""Who sits where while many rows are written a few at a time: a row that has ended gives its seat to the next.

A row is a function of its prompt and of its own named random numbers, so nothing depends on when it begins or beside
whom it is written.  What is gained is time: the seats stay filled until no row is left to begin, where batches that
begin and end together wait for their slowest row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.requests import Row
from hooks.sampling import uniforms
from hooks.setting import Setting
from hooks.streams import stream


class Seats:
    """The rows being written: their texts, their random numbers and how far they have come."""

    def __init__(self, setting: Setting, rows: Sequence[Row], n_seats: int) -> None:
        """Seat the first ``n_seats`` rows; the others wait in their order."""
        self.setting, self.rows, self.device = setting, rows, setting.primary.device
        self.samples = tuple((row.problem, row.sample) for row in rows)
        """Problem and sample of every row, seated or not."""
        self.live = np.arange(min(n_seats, len(rows)))
        """Which row sits in each seat."""
        self.begun = len(self.live)
        """Rows that have been given a seat so far."""
        self.n_prompt = np.array([len(rows[at].ids) for at in self.live.tolist()])
        self.length = self.n_prompt.copy()
        """Tokens of each text so far, its prompt included."""
        self.ended = np.zeros(len(self.live), dtype=bool)
        width = max(len(row.ids) for row in rows) + setting.max_new_tokens + setting.pace.longest
        self.text = torch.zeros(len(self.live), width, dtype=torch.long, device=self.device)
        self._draws = _draws(setting)
        self.u = {name: self._numbers_of(draw, self.live) for name, draw in self._draws.items()}
        self._write_prompts(np.arange(len(self.live)))

    @property
    def room(self) -> Int[np.ndarray, "seat"]:
        """Tokens that each text may still grow by."""
        room: np.ndarray = self.n_prompt + self.setting.max_new_tokens - self.length
        return room

    @property
    def limits(self) -> Int[np.ndarray, "seat"]:
        """The most tokens of each text that are ever read: its last token is written and never read."""
        limits: np.ndarray = self.n_prompt + self.setting.max_new_tokens - 1
        return limits

    @property
    def anyone_waits(self) -> bool:
        """Whether a row has no seat yet."""
        return self.begun < len(self.rows)

    def prompt(self, seat: int) -> tuple[int, ...]:
        """The prompt of the text in one seat."""
        return self.rows[self.live[seat]].ids

    def numbers(self, name: str, k: int, start: int = 0) -> Float[Tensor, "seat draft"] | None:
        """The random numbers of k tokens, ``start`` from now; behind the last token any number will do."""
        if name not in self.u:
            return None
        index = (self.length - self.n_prompt)[:, None] + np.arange(start, start + k)
        index = index.clip(max=self.setting.max_new_tokens - 1)
        return self.u[name].gather(1, torch.from_numpy(index).to(self.device))

    def seat(self, free: Int[np.ndarray, "free"]) -> tuple[Int[np.ndarray, "new"], Int[np.ndarray, "new"]]:
        """Give free seats to the rows that wait.

        Returns:
            The seats that were taken, and for each the seat whose text began with the very same prompt before (it may
            be the seat itself), -1 where there is none.
        """
        at = free[: len(self.rows) - self.begun]
        held = {self.rows[row].ids: seat for seat, row in enumerate(self.live.tolist())}
        self.live[at] = np.arange(self.begun, self.begun + len(at))
        self.begun += len(at)
        like = np.array([held.get(self.rows[row].ids, -1) for row in self.live[at].tolist()], dtype=np.int64)
        self.n_prompt[at] = [len(self.rows[row].ids) for row in self.live[at].tolist()]
        self.length[at], self.ended[at] = self.n_prompt[at], False
        there = torch.from_numpy(at).to(self.device)
        for name, draw in self._draws.items():
            self.u[name][there] = self._numbers_of(draw, self.live[at])
        self._write_prompts(at)
        return at, like

    def keep(self, stay: Int[np.ndarray, "stay"], there: Int[Tensor, "stay"]) -> None:
        """Take away every seat but these; ``there`` is ``stay`` on the device."""
        self.live, self.n_prompt, self.length = self.live[stay], self.n_prompt[stay], self.length[stay]
        self.ended, self.text = self.ended[stay], self.text[there]
        self.u = {name: table[there] for name, table in self.u.items()}

    def _write_prompts(self, at: Int[np.ndarray, "new"]) -> None:
        for seat in at.tolist():
            ids = self.prompt(seat)
            self.text[seat, : len(ids)] = torch.tensor(ids, device=self.device)

    def _numbers_of(self, draw: Callable[[str, int], np.ndarray], rows: Int[np.ndarray, "new"]) -> Tensor:
        drawn = np.stack([draw(*self.samples[row]) for row in rows.tolist()])
        return torch.from_numpy(drawn).to(self.device)


def _draws(setting: Setting) -> dict[str, Callable[[str, int], Float[np.ndarray, "token"]]]:
    """For each stream in use, the numbers of one problem and sample."""
    judge, length, seed = setting.judge, setting.max_new_tokens, setting.seed
    sampled = max(judge.temperature, judge.write_temperature) > 0
    draws: dict[str, Callable[[str, int], np.ndarray]] = {
        "gate": lambda problem, sample: stream(seed, "gate", problem, sample).random(length)
    }
    if sampled:
        draws["token"] = lambda problem, sample: uniforms(seed, problem, sample, length)
    if sampled and judge.write == "resample":
        draws["again"] = lambda problem, sample: stream(seed, "again", problem, sample).random(length)
    return draws
