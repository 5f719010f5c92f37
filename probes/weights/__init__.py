"""What moved? The update between two checkpoints: how sparse, how large, of what rank, where, and in common with whom.

Read from safetensors on disk, tensor by tensor; no network is built. See :mod:`probes.weights.compare`,
:mod:`probes.weights.overlap` and :mod:`probes.weights.geometry` for the measures and their sources. It does not show
which of the changes carry the behaviour.
"""

from __future__ import annotations

from probes.weights.common_sets import Overlap
from probes.weights.compare import compare
from probes.weights.delta import Delta
from probes.weights.files import Checkpoint
from probes.weights.geometry import geometry
from probes.weights.overlap import consensus_map, overlap
from probes.weights.shapes import Geometry
from probes.weights.spectrum import Spectrum, shuffled, spectrum
from probes.weights.sufficiency import Sufficiency, sufficiency, write_mask

__all__ = [
    "Checkpoint",
    "Delta",
    "Geometry",
    "Overlap",
    "Spectrum",
    "Sufficiency",
    "compare",
    "consensus_map",
    "geometry",
    "overlap",
    "shuffled",
    "spectrum",
    "sufficiency",
    "write_mask",
]
