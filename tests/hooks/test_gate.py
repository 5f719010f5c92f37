"""Ready-made gates against their rules written out, and what a gate refuses."""

from dataclasses import replace

import pytest
import torch

from hooks import gate as gates
from hooks.gate import Gate, Sight


def sight(n: int = 6, *, other: bool = True, hidden: bool = False) -> Sight:
    generator = torch.Generator().manual_seed(0)
    return Sight(
        primary_logits=torch.randn(n, 11, generator=generator),
        other_logits=torch.randn(n, 11, generator=generator) if other else None,
        index=torch.arange(n),
        uniform=torch.rand(n, generator=generator, dtype=torch.float64),
        hidden=torch.randn(n, 4, generator=generator) if hidden else None,
        last_ids=torch.zeros(n, dtype=torch.long),
        row=torch.tensor([0, 1] * (n // 2)),
        samples=(("a", 0), ("b", 3)),
    )


def opens(gate: Gate, seen: Sight) -> list[bool]:
    return (gate.scores(seen) > gate.threshold).tolist()


def test_places_need_no_model_at_all() -> None:
    seen = sight(other=False)
    assert opens(gates.first(2), seen) == [True, True, False, False, False, False]
    assert opens(gates.every(3), seen) == [True, False, False, True, False, False]
    assert opens(gates.always(), seen) == [True] * 6
    assert opens(gates.never(), seen) == [False] * 6
    # Row 0 stands at 0, 2, 4 and row 1 at 1, 3, 5.
    assert opens(gates.places({("a", 0): [2, 3], ("b", 3): [3]}), seen) == [False, False, True, True, False, False]
    assert opens(gates.random(0.5), seen) == [bool(u < 0.5) for u in seen.uniform]
    assert opens(gates.random(0.0), seen) == [False] * 6
    assert opens(gates.random(1.0), seen) == [True] * 6


def test_gates_on_distributions() -> None:
    seen = sight()
    p = seen.primary_logits.softmax(-1)
    best = p.topk(2).values
    assert opens(gates.margin(0.3), seen) == (best[:, 0] - best[:, 1] < 0.3).tolist()
    assert opens(gates.entropy(1.8), seen) == (-(p * p.log()).sum(-1) > 1.8).tolist()
    assert (
        opens(gates.disagreement(), seen) == (seen.primary_logits.argmax(-1) != seen.other_logits.argmax(-1)).tolist()
    )
    forward, backward = gates.kl(0.5).scores(seen), gates.kl(0.5, reverse=True).scores(seen)
    turned = replace(seen, primary_logits=seen.other_logits, other_logits=seen.primary_logits)
    torch.testing.assert_close(backward, gates.kl(0.5).scores(turned))
    assert not torch.allclose(forward, backward)
    torch.testing.assert_close(gates.js(0.1).scores(seen), gates.js(0.1).scores(turned))


def test_a_threshold_is_replaced_and_printed() -> None:
    looser = replace(gates.js(0.3), threshold=0.0)
    assert all(opens(looser, sight()))
    assert str(gates.js(0.3)) == "js > 0.3"


def test_a_probe_reads_its_site() -> None:
    seen, weight = sight(hidden=True), torch.tensor([1.0, -1.0, 0.5, 2.0])
    gate = gates.probe(weight, 0.25, site="resid_post.2")
    assert gate.site == "resid_post.2"
    torch.testing.assert_close(gate.scores(seen), seen.hidden @ weight + 0.25)
    assert replace(gate, hidden=True).site == "resid_post.-1"
    with pytest.raises(ValueError, match="not shown"):
        gate.scores(sight())


def test_refusals() -> None:
    with pytest.raises(ValueError, match="needs"):
        gates.js().scores(sight(other=False))
    with pytest.raises(ValueError, match="share"):
        gates.random(1.5)
    with pytest.raises(ValueError, match="at least 1"):
        gates.every(0)
    with pytest.raises(ValueError, match="sample of each position"):
        gates.places({}).scores(replace(sight(), row=None))
    with pytest.raises(ValueError, match="shape"):
        Gate("odd", "none", lambda seen: seen.uniform[:2]).scores(sight())
