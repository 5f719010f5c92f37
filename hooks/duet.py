"""Two authors, one text: the loop that drafts with one, consults the other, and cuts where it is overruled.

A round, for every row of a batch at once:

1. *Draft.* The primary writes k tokens, each chosen from its logits with the random number of that position.
2. *Judge.* The gate scores the k positions. A gate that looks at both models has the other read the draft in one
   forward first. Any other gate is asked at every token, and the draft ends when enough rows wait at an open place;
   the second author reads in those rows only, all at once, and catches up on whatever it has not read. Each open
   position gets the second author's token, chosen with the same random number.
3. *Cut.* Up to and with the first position where an open gate's token differs from the drafted one, everything is
   what step-by-step decoding would have written: every logit there was computed on exactly the text that stands. The
   rest is forgotten, row by row.

So k changes the number of forwards and nothing else. An open gate whose token is the drafted one costs no cut, which is
why the rate that matters for speed is that of *changed* tokens. The scheme is that of speculative decoding (Leviathan
et al. 2023, arXiv 2211.17192) with a gate in place of the acceptance test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooks.ahead import Ahead
from hooks.gate import Sight
from hooks.generate import Ending
from hooks.judge import FACTS, Facts
from hooks.ledger import Grid, Ledger, Settled
from hooks.placed import Placed
from hooks.reader import Reader
from hooks.requests import Row
from hooks.sampling import choose
from hooks.seats import Seats
from hooks.setting import Setting
from hooks.shift import PlacedShift, Shift

BLOCK = 1 << 24
"""Logits of one model that are judged at a time."""
CACHED = 1 << 18
"""The same on a CPU, where a dozen passes over what the cache holds cost half of those over what it does not."""


@dataclass(frozen=True)
class _Draft:
    """k tokens of the primary in every row, and what they were chosen from."""

    token: Int[Tensor, "row draft"]
    logits: Float[Tensor, "row draft vocab"]
    hidden: Float[Tensor, "row draft d_model"] | None
    other_hidden: Float[Tensor, "row draft d_other"] | None = None
    start: int = 0
    """Drafted tokens that stand before these."""


Hand = Callable[[dict[int, Settled]], object]
"""Takes rows that have ended, by number, and what they became."""


@torch.no_grad()
def play(setting: Setting, rows: Sequence[Row], n_seats: int, hand: Hand) -> None:
    """Write rows to their ends, ``n_seats`` at a time, and hand each over when it has ended."""
    _Duet(setting, rows, n_seats, hand).play()


class _Duet:
    """Rows being written; whoever ends makes room for the next."""

    def __init__(self, setting: Setting, rows: Sequence[Row], n_seats: int, hand: Hand) -> None:
        self.setting, self.judge, self.pace, self.hand = setting, setting.judge, setting.pace, hand
        self.device = setting.primary.device
        self.seats = Seats(setting, rows, n_seats)
        self._sorted = {"sort": -1} if isinstance(setting.steering, Shift) else {}
        self.ledger = Ledger(len(self.seats.live), setting.max_new_tokens, also=self._sorted)
        self.reads_all = self.judge.gate.needs == "both"
        self._seat_readers([rows[at] for at in self.seats.live.tolist()])
        unsteered = self.reads_all and self.other is not None and self.other.steering is None
        self._ahead = [Ahead(reader) for reader in (self.primary, self.other if unsteered else None) if reader]
        self._eos = np.array(setting.primary.eos_ids, dtype=np.int64)
        second = setting.other if self.judge.asks_other else setting.primary
        self._second_eos = np.array(second.eos_ids, dtype=np.int64)

    def play(self) -> None:
        while len(self.seats.live):
            self._round()

    def _seat_readers(self, rows: Sequence[Row]) -> None:
        setting, limits = self.setting, self.seats.limits
        index, prompts = [row.index for row in rows], [row.ids for row in rows]

        def placed(steering: Any, model: Any, last_only: bool = False) -> Placed | PlacedShift | None:
            if steering is None:
                return None
            if isinstance(steering, Shift):
                return PlacedShift(steering, model)
            return Placed(steering, model, index, self.seats.n_prompt.tolist(), last_only=last_only)

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
        reader.prefill(self.seats.text[self._there(first)], self.seats.n_prompt[first] - 1, source)

    def _round(self) -> None:
        seats, room = self.seats, self.seats.room
        most = int(room[~seats.ended].max())
        writing = int((~seats.ended).sum())
        longest = min(self.pace.length(rows=writing, room=most, refilled=seats.anyone_waits), most)
        began = self.pace.now()
        draft, facts = self._draft(longest, room)
        drafted, k = self.pace.now(), draft.token.shape[1]
        within = (np.arange(k) < room[:, None]) & ~seats.ended[:, None]
        token = draft.token.cpu().numpy()
        # What stands behind an end of the draft is never taken, so no gate there is worth a consultation.
        within &= np.arange(k) <= _first(np.isin(token, self._eos))[:, None]
        opened = self._opened(draft, facts, within)
        reads = self.reads_all or opened.any()
        written, at_open, replaced = self._settle(token, within, facts, opened)
        self.pace.note(
            k, written=written, opened=at_open, replaced=replaced,
            drafted_s=drafted - began, read_s=self.pace.now() - drafted if reads else None,
        )  # fmt: skip

    def _draft(self, k: int, room: Int[np.ndarray, "row"]) -> tuple[_Draft, dict[str, Grid]]:
        """Let the primary write k tokens in every row, fewer if enough rows wait for the second author before that."""
        judge, token_u = self.judge, self.seats.numbers("token", k)
        facts = {name: np.full((len(room), k), blank) for name, blank in (FACTS | self._sorted).items()}
        tokens, logits, hidden = [], [], []
        at = self._there(self.seats.length)[:, None]
        going, waiting = ~self.seats.ended, np.zeros(len(room), dtype=bool)
        for j in range(k):
            # A row that is full is not read beyond its end, or the others would read their past again beside it.
            upto = np.minimum(self.seats.length + j, self.primary.limits)
            out, seen = self.primary.read(self.seats.text, upto, last=1, site=self.setting.site)
            u = None if token_u is None else token_u[:, j]
            tokens.append(choose(out[:, 0], judge.temperature, judge.top_p, u)[:, None])
            self.seats.text.scatter_(1, at + j, tokens[-1])
            logits.append(out)
            if seen is not None:
                hidden.append(seen)
            if self.reads_all:
                continue
            self._judge(_Draft(tokens[-1], out, seen, start=j), None, facts)
            waiting |= going & (facts["gate_score"][:, j] > judge.gate.threshold)
            going &= (room > j + 1) & ~np.isin(tokens[-1][:, 0].cpu().numpy(), self._eos)
            if self.pace.enough(int(waiting.sum())) or not going.any():
                break
        draft = _Draft(torch.cat(tokens, 1), torch.cat(logits, 1), torch.cat(hidden, 1) if hidden else None)
        return draft, {name: grid[:, : len(tokens)] for name, grid in facts.items()}

    def _opened(self, draft: _Draft, facts: dict[str, Grid], within: Bool[np.ndarray, "row draft"]) -> Grid:
        """At which drafted positions the gate is open and the second author was asked; completes ``facts``."""
        k, judge, other = draft.token.shape[1], self.judge, None
        if self.reads_all:
            if self.other is not None:
                other, seen = self.other.read(
                    self.seats.text, self.seats.length + k - 1, last=k, site=self.setting.other_site
                )
                draft = replace(draft, other_hidden=seen)
            self._judge(draft, other, facts)
        score = facts["gate_score"]
        if np.isnan(score[within]).any():
            raise ValueError(f"gate {judge.gate.name!r} gave a score that is not a number; a gate is open or closed")
        opened = (score > judge.gate.threshold) & within
        if self.setting.at_place:
            # The steered reader leaves no keys behind, so only the first open place of a row can be looked at.
            opened &= np.arange(k) <= _first(opened)[:, None]
        if opened.any() and (judge.write == "steered" or other is None):
            self._consult(facts, draft, opened)
        return opened

    def _judge(self, draft: _Draft, other: Tensor | None, facts: dict[str, Grid]) -> None:
        """Enter what the gate makes of the drafted positions, and what the other model does where it has read them."""
        n, k = draft.token.shape
        u = {name: self.seats.numbers(name, k, draft.start) for name in ("gate", "token", "again")}
        columns = np.arange(draft.start, draft.start + k)
        for rows in self._blocks(n, k * draft.logits.shape[2]):
            mine = {name: None if table is None else table[rows].flatten() for name, table in u.items()}
            sight = self._sight(draft, other, rows, mine["gate"])
            found = self.judge.first(sight, draft.token[rows].flatten())
            if isinstance(self.setting.steering, Shift):
                found["sort"] = self.setting.steering.sort(sight)
            if other is not None:
                found |= self.judge.second(
                    sight.primary_logits, other=sight.other_logits, steered=None,
                    token_u=mine["token"], again_u=mine["again"], sight=sight,
                )  # fmt: skip
            _enter(facts, found, np.arange(n)[rows, None], columns)

    def _consult(self, facts: dict[str, Grid], draft: _Draft, opened: Bool[np.ndarray, "row draft"]) -> None:
        """Let the second author read the rows where a gate opened, and enter what it would write at those places."""
        row, column = opened.nonzero()
        asked, which = np.unique(row, return_inverse=True)
        furthest = opened.shape[1] - 1 - opened[asked, ::-1].argmax(axis=1)
        upto, back = self.seats.length[asked] + furthest, furthest[which] - column

        def look(reader: Reader) -> Tensor:
            rows = None if len(asked) == len(self.seats.live) else asked
            return reader.read(self.seats.text, upto, last=int(back.max()) + 1, rows=rows, chosen=(which, back))[0]

        other = look(self.other) if self.judge.asks_other and self.other is not None else None
        steered = None
        if self.steered is not None:
            if self.setting.at_place:
                self.steered.held[asked] = upto - 1
            if isinstance(self.steered.steering, PlacedShift):
                self.steered.steering.aim(facts["sort"][row, column])
            steered = look(self.steered)
        u = {name: self.seats.numbers(name, opened.shape[1]) for name in ("token", "again")}
        for part in self._blocks(len(row), draft.logits.shape[2]):
            here = self._there(row[part]), self._there(column[part])
            found = self.judge.second(
                draft.logits[here],
                other=None if other is None else other[part],
                steered=None if steered is None else steered[part],
                token_u=None if u["token"] is None else u["token"][here],
                again_u=None if u["again"] is None else u["again"][here],
            )
            _enter(facts, found, row[part], column[part])

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
        index = self.seats.length - self.seats.n_prompt
        self._stop_at_strings(final, taken, index)
        self.ledger.enter(
            index, taken,
            facts | {
                "ids": final, "primary_choice": token, "gate_open": opened, "changed": changed,
                "logp": np.where(opened, facts["logp_written"], facts["logp_primary"]),
            },
        )  # fmt: skip
        if changed.any():
            self.seats.text.scatter_(1, self._there(self.seats.length[:, None] + np.arange(k)), self._there(final))
        self.seats.length = self.seats.length + taken.sum(axis=1)
        self._cut_back(opened)
        self._close(ends & taken)
        return int(taken.sum()), int((opened & taken).sum()), int((changed & taken).sum())

    def _stop_at_strings(self, final: Grid, taken: Grid, index: Int[np.ndarray, "row"]) -> None:
        """Shorten ``taken`` where a text holds a stop string, and end those rows."""
        if not self.setting.strings:
            return
        ending = Ending((), self.setting.strings, self.setting.max_new_tokens + 1)
        for row in np.flatnonzero(taken.any(axis=1)):
            said = self.ledger.ids(int(row)) + final[row, taken[row]].tolist()
            place = ending.place(said, self.setting.primary.tokenizer, int(index[row]))
            if place is not None:
                taken[row, place[0] - index[row] :] = False
                self.seats.ended[row] = True
                self.ledger.close(int(row), "string")

    def _cut_back(self, opened: Grid) -> None:
        limit = self.seats.length - 1
        if self.other is not None:
            self.other.cut_back(limit)
        if self.steered is not None and not self.setting.at_place:
            self.steered.cut_back(limit)
        # A look under steering has overwritten the keys of the place it looked at; the primary reads it again.
        self.primary.cut_back(limit - opened.any(axis=1) if self.setting.at_place else limit)

    def _close(self, ended: Bool[np.ndarray, "row draft"]) -> None:
        """End rows at an end-of-sequence token or at full length, and see to their seats once they are an eighth."""
        seats = self.seats
        for row in np.flatnonzero(ended.any(axis=1)):
            self.ledger.close(int(row), "eos")
        seats.ended |= ended.any(axis=1) | (seats.room <= 0)
        if int(seats.ended.sum()) * 8 < len(seats.ended):
            return
        free = np.flatnonzero(seats.ended)
        self.hand({int(seats.live[seat]): self.ledger.settled(seat) for seat in free.tolist()})
        taken = self._refill(free) if seats.anyone_waits else 0
        if taken == len(free):
            return
        stay = np.delete(np.arange(len(seats.live)), free[taken:])
        there = self._there(stay)
        seats.keep(stay, there)
        self.ledger.keep(stay)
        for reader in (self.primary, self.other, self.steered):
            if reader is not None:
                reader.keep(stay, there)

    def _refill(self, free: Int[np.ndarray, "free"]) -> int:
        """Give free seats to rows that wait, and read their prompts; returns how many there were."""
        seats = self.seats
        at, like = seats.seat(free)
        self.ledger.clear(at)
        index = [seats.rows[row].index for row in seats.live[at].tolist()]
        for reader in (self.primary, self.other, self.steered):
            if reader is not None:
                reader.seat(at, like, index, n_prompt=seats.n_prompt[at], limits=seats.limits[at])
        for ahead in self._ahead:
            ahead.give(seats, at[like < 0])
        if self.other is not None and self.reads_all:
            # All but the last token: that one is read with everybody's next.
            self.other.catch_up(seats.text, seats.n_prompt[at] - 1, at)
        return len(at)

    def _sight(self, draft: _Draft, other: Tensor | None, rows: slice, gate_u: Tensor | None) -> Sight:
        """What the gate may see of these rows' drafted positions, laid end to end."""
        k, first, seats = draft.token.shape[1], rows.start, self.seats
        n_prompt = seats.n_prompt[rows, None]
        length = seats.length[rows, None] + np.arange(draft.start, draft.start + k)

        def flat(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[rows].flatten(0, 1)

        def context(position: int) -> list[int]:
            row, end = first + position // k, length[position // k, position % k]
            said: list[int] = seats.text[row, seats.n_prompt[row] : end].tolist()
            return said

        assert gate_u is not None
        return Sight(
            primary_logits=draft.logits[rows].flatten(0, 1),
            other_logits=flat(other),
            index=self._there((length - n_prompt).flatten()),
            uniform=gate_u,
            hidden=flat(draft.hidden),
            last_ids=seats.text[rows].gather(1, self._there(length - 1)).flatten(),
            row=self._there(np.repeat(seats.live[rows], k)),
            samples=seats.samples,
            context=context,
            other_hidden=flat(draft.other_hidden),
        )

    def _blocks(self, n: int, each: int) -> list[slice]:
        """Portions of ``n`` things of ``each`` logits that fit a bounded scratch space."""
        size = max(1, (CACHED if self.device.type == "cpu" else BLOCK) // each)
        return [slice(start, min(n, start + size)) for start in range(0, n, size)]

    def _there(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, device=self.device)


def _first(flags: Bool[np.ndarray, "row draft"]) -> Int[np.ndarray, "row"]:
    """Place of each row's first true entry; the number of columns where there is none."""
    return np.where(flags.any(axis=1), flags.argmax(axis=1), flags.shape[1])


def _enter(facts: dict[str, Grid], found: Facts, rows: np.ndarray, columns: np.ndarray) -> None:
    shape = np.broadcast_shapes(rows.shape, columns.shape)
    for name, values in found.items():
        facts[name][rows, columns] = values.cpu().numpy().reshape(shape)
