"""What does it say? Measures that need nothing but samples: pass@k, solvable sets, length, entropy, diversity.

It does not show what goes on inside a model; two models with the same samples look the same here.
"""

from __future__ import annotations

from probes.samples.counts import Samples, counts
from probes.samples.passk import PassK, crossings, pass_at_k, pass_at_ks, passk
from probes.samples.writing import Writing, writing

__all__ = ["PassK", "Samples", "Writing", "counts", "crossings", "pass_at_k", "pass_at_ks", "passk", "writing"]
