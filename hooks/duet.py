"""Two authors, one text: the loop that drafts with one, consults the other, and cuts where it is overruled.

A round, for every row of a batch at once:

1. *Draft.* The primary writes k tokens, each chosen from its logits with the random number of that position.
2. *Judge.* The gate scores the k positions. A gate that looks at both models has the other read the draft in one
   forward first; after any other gate the second author reads only in rows where the gate opened, and catches up on
   whatever it has not read. Each open position gets the second author's token, chosen with the same random number.
3. *Cut.* Up to and with the first position where an open gate's token differs from the drafted one, everything is
   what step-by-step decoding would have written: every logit there was computed on exactly the text that stands. The
   rest is forgotten, row by row.

So k changes the number of forwards and nothing else. An open gate whose token is the drafted one costs no cut, which is
why the rate that matters for speed is that of *changed* tokens. The scheme is that of speculative decoding (Leviathan
et al. 2023, arXiv 2211.17192) with a gate in place of the acceptance test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooks.gate import Sight
from hooks.generate import Ending
from hooks.judge import FACTS, Facts, Judge
from hooks.ledger import Grid, Ledger, Settled
from hooks.pace import Pace
from hooks.placed import Placed
from hooks.reader import Reader
from hooks.requests import Row
from hooks.sampling import choose, uniforms
from hooks.sites import Site
from hooks.streams import stream

BLOCK = 1 << 24
"""Logits of one model that are judged at a time."""


@dataclass(frozen=True)
class Setting:
    """Who writes, who decides, and the options; checked by :func:`hooks.mix.mix`."""

    primary: Any
    other: Any
    """The intervening model; None when neither gate nor second author asks for one."""
    judge: Judge
    cut: Callable[[Tensor], Tensor]
    """Logits of either model to the ids that both have."""
    max_new_tokens: int
    seed: int
    pace: Pace
    site: Site | None = None
    """Activation of the primary that the gate sees."""
    strings: tuple[str, ...] = ()
    """Stop strings."""
    other_steering: Any = None
    steering: Any = None
    at_place: bool = False
    """Whether ``steering`` acts at the open place alone, over a text that was read without it."""


@dataclass(frozen=True)
class _Draft:
    """k tokens of the primary in every row, and what they were chosen from."""

    token: Int[Tensor, "row draft"]
    logits: Float[Tensor, "row draft vocab"]
    hidden: Float[Tensor, "row draft d_model"] | None


@torch.no_grad()
def play(setting: Setting, rows: Sequence[Row]) -> list[Settled]:
    """Write a batch of rows to their ends; results in their order."""
    return _Duet(setting, rows).play()


class _Duet:
    """One batch being written; its rows leave as they end."""

    def __init__(self, setting: Setting, rows: Sequence[Row]) -> None:
        self.setting, self.judge, self.pace = setting, setting.judge, setting.pace
        self.device = setting.primary.device
        self.samples = tuple((row.problem, row.sample) for row in rows)
        self.live = np.arange(len(rows))
        self.n_prompt = np.array([len(row.ids) for row in rows])
        self.length = self.n_prompt.copy()
        self.ended = np.zeros(len(rows), dtype=bool)
        self.ledger = Ledger(len(rows), setting.max_new_tokens)
        width = int(self.n_prompt.max()) + setting.max_new_tokens + self.pace.longest
        text = np.zeros((len(rows), width), dtype=np.int64)
        for at, row in enumerate(rows):
            text[at, : len(row.ids)] = row.ids
        self.text = torch.from_numpy(text).to(self.device)
        self.reads_all = self.judge.gate.needs == "both"
        self._open_streams()
        self._seat_readers(rows)
        self._eos = np.array(setting.primary.eos_ids, dtype=np.int64)
        second = setting.other if self.judge.asks_other else setting.primary
        self._second_eos = np.array(second.eos_ids, dtype=np.int64)

    def play(self) -> list[Settled]:
        while len(self.live):
            self._round()
        return [self.ledger.settled(at) for at in range(len(self.samples))]

    def _open_streams(self) -> None:
        judge, length, seed = self.judge, self.setting.max_new_tokens, self.setting.seed
        sampled = max(judge.temperature, judge.write_temperature) > 0

        def numbers(of_sample: Callable[[str, int], np.ndarray]) -> Tensor:
            return torch.from_numpy(np.stack([of_sample(*sample) for sample in self.samples])).to(self.device)

        self.u = {"gate": numbers(lambda problem, sample: stream(seed, "gate", problem, sample).random(length))}
        if sampled:
            self.u["token"] = numbers(lambda problem, sample: uniforms(seed, problem, sample, length))
        if sampled and judge.write == "resample":
            self.u["again"] = numbers(lambda problem, sample: stream(seed, "again", problem, sample).random(length))

    def _seat_readers(self, rows: Sequence[Row]) -> None:
        setting = self.setting
        # A text's last token is written and never read.
        limits = self.n_prompt + setting.max_new_tokens - 1
        index, prompts = [row.index for row in rows], [row.ids for row in rows]

        def placed(steering: Any, model: Any, last_only: bool = False) -> Placed | None:
            if steering is None:
                return None
            return Placed(steering, model, index, self.n_prompt.tolist(), last_only=last_only)

        self.primary = Reader(setting.primary, limits, setting.cut)
        self.other = self.steered = None
        self._prefill(self.primary, prompts)
        if setting.other is not None:
            steering = placed(setting.other_steering, setting.other)
            self.other = Reader(setting.other, limits, setting.cut, steering=steering)
            if self.reads_all and steering is None:
                self._prefill(self.other, prompts)
        if self.judge.write == "steered":
            steering = placed(setting.steering, setting.primary, setting.at_place)
            shared = self.primary.slots if setting.at_place else None
            self.steered = Reader(setting.primary, limits, setting.cut, steering=steering, shared=shared)

    def _prefill(self, reader: Reader, prompts: Sequence[tuple[int, ...]]) -> None:
        """Read each distinct prompt once, all but its last token, where several samples begin with it."""
        distinct = list(dict.fromkeys(prompts))
        if len(distinct) == len(prompts):
            return
        where = {ids: at for at, ids in enumerate(distinct)}
        source = np.array([where[ids] for ids in prompts])
        first = np.unique(source, return_index=True)[1]
        reader.prefill(self.text[self._there(first)], self.n_prompt[first] - 1, source)

    def _round(self) -> None:
        room = self.n_prompt + self.setting.max_new_tokens - self.length
        k = min(self.pace.length(), int(room[~self.ended].max()))
        began = self.pace.now()
        draft = self._draft(k)
        drafted = self.pace.now()
        within = (np.arange(k) < room[:, None]) & ~self.ended[:, None]
        token = draft.token.cpu().numpy()
        # What stands behind an end of the draft is never taken, so no gate there is worth a consultation.
        within &= np.arange(k) <= _first(np.isin(token, self._eos))[:, None]
        facts, opened = self._facts(draft, within)
        read = self.pace.now() - drafted if self.reads_all or opened.any() else None
        rows = len(self.live)
        written, at_open, replaced = self._settle(token, within, facts, opened)
        self.pace.note(
            k, rows=rows, written=written, opened=at_open, replaced=replaced, drafted_s=drafted - began, read_s=read
        )

    def _draft(self, k: int) -> _Draft:
        """Let the primary write k tokens in every row."""
        judge, token_u = self.judge, self._numbers("token", k)
        tokens, logits, hidden = [], [], []
        at = self._there(self.length)[:, None]
        for j in range(k):
            out, seen = self.primary.read(self.text, self.length + j, last=1, site=self.setting.site)
            u = None if token_u is None else token_u[:, j]
            tokens.append(choose(out[:, 0], judge.temperature, judge.top_p, u))
            self.text.scatter_(1, at + j, tokens[-1][:, None])
            logits.append(out[:, 0])
            if seen is not None:
                hidden.append(seen[:, 0])
        return _Draft(torch.stack(tokens, 1), torch.stack(logits, 1), torch.stack(hidden, 1) if hidden else None)

    def _facts(self, draft: _Draft, within: Bool[np.ndarray, "row draft"]) -> tuple[dict[str, Grid], Grid]:
        """What is known of the drafted positions, and at which of them the gate is open and was consulted."""
        k, judge = draft.token.shape[1], self.judge
        facts = {name: np.full(within.shape, blank) for name, blank in FACTS.items()}
        other = None
        if self.reads_all and self.other is not None:
            other, _ = self.other.read(self.text, self.length + k - 1, last=k)
        for rows in self._blocks(np.arange(len(self.live)), draft.logits):
            sight = self._sight(draft, other, rows)
            found = judge.first(sight, draft.token[rows].flatten())
            if other is not None:
                found |= self._second(draft, other[rows], None, rows, np.arange(k), sight.primary_logp)
            _enter(facts, found, rows[:, None], np.arange(k))
        score = facts["gate_score"]
        if np.isnan(score[within]).any():
            raise ValueError(f"gate {judge.gate.name!r} gave a score that is not a number; a gate is open or closed")
        opened = (score > judge.gate.threshold) & within
        if self.setting.at_place:
            # The steered reader leaves no keys behind, so only the first open place of a row can be looked at.
            opened &= np.arange(k) <= _first(opened)[:, None]
        if judge.write == "steered" or other is None:
            self._consult(facts, draft, opened)
        return facts, opened

    def _consult(self, facts: dict[str, Grid], draft: _Draft, opened: Bool[np.ndarray, "row draft"]) -> None:
        """Let the second author read the rows where a gate opened, and enter what it would write there."""
        asked, k = np.flatnonzero(opened.any(axis=1)), draft.token.shape[1]
        if not len(asked):
            return
        rows = None if len(asked) == len(self.live) else asked
        other = steered = None
        at = np.broadcast_to(np.arange(k), (len(asked), k))
        if self.judge.asks_other and self.other is not None:
            other, _ = self.other.read(self.text, self.length[asked] + k - 1, last=k, rows=rows)
        if self.steered is not None and self.setting.at_place:
            at = _first(opened)[asked][:, None]
            self.steered.held[asked] = self.length[asked] + at[:, 0] - 1
            steered, _ = self.steered.read(self.text, self.length[asked] + at[:, 0], last=1, rows=rows)
        elif self.steered is not None:
            steered, _ = self.steered.read(self.text, self.length[asked] + k - 1, last=k, rows=rows)
        for part in self._blocks(np.arange(len(asked)), draft.logits):
            found = self._second(
                draft,
                None if other is None else other[part],
                None if steered is None else steered[part],
                asked[part],
                at[part],
            )
            _enter(facts, found, asked[part][:, None], at[part])

    def _second(
        self,
        draft: _Draft,
        other: Tensor | None,
        steered: Tensor | None,
        rows: Int[np.ndarray, "some"],
        at: Int[np.ndarray, "..."],
        primary_logp: Tensor | None = None,
    ) -> Facts:
        """What the second author would write at the places ``at`` of these rows, laid end to end."""
        k = draft.token.shape[1]
        where, columns = self._there(rows)[:, None], self._there(at)
        u = {name: self._numbers(name, k) for name in ("token", "again")}
        return self.judge.second(
            draft.logits[where, columns].flatten(0, 1),
            other=None if other is None else other.flatten(0, 1),
            steered=None if steered is None else steered.flatten(0, 1),
            token_u=None if u["token"] is None else u["token"][where, columns].flatten(),
            again_u=None if u["again"] is None else u["again"][where, columns].flatten(),
            primary_logp=primary_logp,
        )

    def _settle(
        self, token: Grid, within: Bool[np.ndarray, "row draft"], facts: dict[str, Grid], opened: Grid
    ) -> tuple[int, int, int]:
        """Take what stands, forget the rest; returns how many tokens were written, at open gates, and replaced."""
        k = token.shape[1]
        changed = opened & (facts["written"] != token)
        final = np.where(changed, facts["written"], token)
        ends = np.where(opened, np.isin(final, self._second_eos), np.isin(final, self._eos))
        halts = changed | ends | opened if self.setting.at_place else changed | ends
        taken = (np.arange(k) <= _first(halts)[:, None]) & within
        index = self.length - self.n_prompt
        self._stop_at_strings(final, taken, index)
        self.ledger.enter(
            self.live, index, taken,
            facts | {
                "ids": final, "primary_choice": token, "gate_open": opened, "changed": changed,
                "logp": np.where(opened, facts["logp_written"], facts["logp_primary"]),
            },
        )  # fmt: skip
        if changed.any():
            self.text.scatter_(1, self._there(self.length[:, None] + np.arange(k)), self._there(final))
        self.length = self.length + taken.sum(axis=1)
        self._cut_back(opened)
        self._close(ends & taken)
        return int(taken.sum()), int((opened & taken).sum()), int((changed & taken).sum())

    def _stop_at_strings(self, final: Grid, taken: Grid, index: Int[np.ndarray, "row"]) -> None:
        """Shorten ``taken`` where a text holds a stop string, and end those rows."""
        if not self.setting.strings:
            return
        ending = Ending((), self.setting.strings, self.setting.max_new_tokens + 1)
        for row in np.flatnonzero(taken.any(axis=1)):
            said = self.ledger.ids(int(self.live[row])) + final[row, taken[row]].tolist()
            place = ending.place(said, self.setting.primary.tokenizer, int(index[row]))
            if place is not None:
                taken[row, place[0] - index[row] :] = False
                self.ended[row] = True
                self.ledger.close(int(self.live[row]), "string")

    def _cut_back(self, opened: Grid) -> None:
        limit = self.length - 1
        if self.other is not None:
            self.other.cut_back(limit)
        if self.steered is not None and not self.setting.at_place:
            self.steered.cut_back(limit)
        # A look under steering has overwritten the keys of the place it looked at; the primary reads it again.
        self.primary.cut_back(limit - opened.any(axis=1) if self.setting.at_place else limit)

    def _close(self, ended: Bool[np.ndarray, "row draft"]) -> None:
        """End rows at an end-of-sequence token or at full length, and drop ended rows once they are an eighth."""
        for row in np.flatnonzero(ended.any(axis=1)):
            self.ledger.close(int(self.live[row]), "eos")
        self.ended |= ended.any(axis=1) | (self.length - self.n_prompt >= self.setting.max_new_tokens)
        if int(self.ended.sum()) * 8 < len(self.ended):
            return
        stay = np.flatnonzero(~self.ended)
        there = self._there(stay)
        self.live, self.n_prompt, self.length = self.live[stay], self.n_prompt[stay], self.length[stay]
        self.ended = self.ended[stay]
        self.text = self.text[there]
        self.u = {name: table[there] for name, table in self.u.items()}
        for reader in (self.primary, self.other, self.steered):
            if reader is not None:
                reader.keep(stay, there)

    def _sight(self, draft: _Draft, other: Tensor | None, rows: Int[np.ndarray, "some"]) -> Sight:
        """What the gate may see of these rows' drafted positions, laid end to end."""
        k, there = draft.token.shape[1], self._there(rows)
        columns = torch.arange(k, device=self.device)
        length, n_prompt = self._there(self.length[rows])[:, None], self._there(self.n_prompt[rows])[:, None]

        def context(position: int) -> list[int]:
            row = int(rows[position // k])
            said: list[int] = self.text[row, self.n_prompt[row] : self.length[row] + position % k].tolist()
            return said

        gate_u = self._numbers("gate", k)
        assert gate_u is not None
        return Sight(
            primary_logits=draft.logits[there].flatten(0, 1),
            other_logits=None if other is None else other[there].flatten(0, 1),
            index=(length - n_prompt + columns).flatten(),
            uniform=gate_u[there].flatten(),
            hidden=None if draft.hidden is None else draft.hidden[there].flatten(0, 1),
            last_ids=self.text[there].gather(1, length - 1 + columns).flatten(),
            row=self._there(np.repeat(self.live[rows], k)),
            samples=self.samples,
            context=context,
        )

    def _numbers(self, name: str, k: int) -> Float[Tensor, "row draft"] | None:
        """The random numbers of the next k tokens; behind the last token any number will do."""
        if name not in self.u:
            return None
        index = (self.length - self.n_prompt)[:, None] + np.arange(k)
        return self.u[name].gather(1, self._there(index.clip(max=self.setting.max_new_tokens - 1)))

    def _blocks(self, rows: Int[np.ndarray, "some"], logits: Float[Tensor, "row draft vocab"]) -> list[np.ndarray]:
        """Rows in portions whose logits fit a bounded scratch space."""
        size = max(1, BLOCK // (logits.shape[1] * logits.shape[2]))
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def _there(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, device=self.device)


def _first(flags: Bool[np.ndarray, "row draft"]) -> Int[np.ndarray, "row"]:
    """Place of each row's first true entry; the number of columns where there is none."""
    return np.where(flags.any(axis=1), flags.argmax(axis=1), flags.shape[1])


def _enter(facts: dict[str, Grid], found: Facts, rows: np.ndarray, columns: np.ndarray) -> None:
    shape = np.broadcast_shapes(rows.shape, columns.shape)
    for name, values in found.items():
        facts[name][rows, columns] = values.cpu().numpy().reshape(shape)
