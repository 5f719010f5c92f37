"""What moved? The update between two checkpoints: how sparse, how large, of what rank.

Read from safetensors on disk, tensor by tensor; no network is built. See :mod:`probes.weights.compare` for the measures
and their sources. It does not show which of the changes carry the behaviour.
"""

from __future__ import annotations

from probes.weights.compare import compare
from probes.weights.delta import Delta
from probes.weights.files import Checkpoint
from probes.weights.spectrum import Spectrum, shuffled, spectrum

__all__ = ["Checkpoint", "Delta", "Spectrum", "compare", "shuffled", "spectrum"]
