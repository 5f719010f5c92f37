"""Names of tables in a reader's words: measures of weights, of training and of samples; gates, controls and places.

A name that is not here is shown as it stands, with spaces for its underscores.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

WEIGHTS: Mapping[str, str] = MappingProxyType(
    {
        "size": "Entries",
        "tensors": "Tensors",
        "unchanged_bf16": "Unchanged when read in bf16",
        "unchanged_1e5": "Changed by at most 1e-5",
        "unchanged_relative": "Changed by at most a thousandth of itself",
        "unchanged_stored": "Unchanged in the stored precision",
        "one_ulp": "Changed by one step of bf16",
        "norm": "Norm of the update",
        "rounding_norm": "Norm that rounding alone would leave",
        "relative_norm": "Norm of the update over that of the base",
        "numerical_rank": "Numerical rank, share of the full one",
        "null_rank": "… with the same changes at shuffled places",
        "stable_rank": "Stable rank (squared norm over the largest direction's)",
        "stable_rank_null": "… with the same changes at shuffled places",
        "stable_rank_over_shuffled": "Stable rank over that at shuffled places, mean over matrices",
        "entropy_rank": "Entropy rank (directions that share the norm)",
        "entropy_rank_null": "… with the same changes at shuffled places",
        "entropy_rank_over_shuffled": "Entropy rank over that at shuffled places, mean over matrices",
        "energy_top": "Squared norm in the top 1 % of directions",
        "energy_top_null": "… with the same changes at shuffled places",
    }
)
"""Totals of a comparison of two checkpoints."""

GEOMETRY: Mapping[str, str] = MappingProxyType(
    {
        "overlap": "Changed entries among the base's principal weights",
        "overlap_null": "… at random places",
        "overlap_sizes": "… as the sizes of the weights alone explain",
        "overlap_small": "Changed entries among the smallest weights",
        "drift": "Drift of the singular values",
        "drift_null": "… under a random update of the same norm",
        "angle_left": "Largest angle of the top left subspace (°)",
        "angle_left_null": "… under a random update",
        "angle_right": "Largest angle of the top right subspace (°)",
        "angle_right_null": "… under a random update",
        "kept": "Top subspace kept",
        "kept_null": "… under a random update",
    }
)
"""Totals of where an update lies."""

PASSK: Mapping[str, str] = MappingProxyType(
    {
        "crossing": "k at which the base catches up",
        "base_at_the_largest_k_minus_tuned_at_1": "Base at the largest k minus tuned model at k = 1",
        "solved_by_both_over_solved_by_either": "Solved by both, of those that either solves",
        "solvable.both": "Problems that both solve",
        "solvable.base_only": "Problems that only the base solves",
        "solvable.rl_only": "Problems that only the tuned model solves",
        "solvable.neither": "Problems that neither solves",
    }
)
"""What pass@k comes to."""

TRAINING: Mapping[str, str] = MappingProxyType(
    {
        "identified": "Is there a ceiling to be read",
        "asymptote": "Ceiling A, interval of the fit",
        "asymptote_over_problems": "Ceiling A, interval over problems",
        "exponent_B": "Steepness B",
        "C_mid": "Compute at half of the rise (C_mid)",
        "moved_between_windows": "How far the ceiling moves with the window of the fit",
        "start": "Accuracy of the base, where the curve starts",
        "sigmoid_ahead_of_power_law": "Foresight: error of a power law minus that of the sigmoid",
        "unit": "Compute is counted in",
        "bend": "Step at which execution entropy bends",
        "p_of_a_bend": "p of a bend",
        "phrase_entropy_slope": "Slope of phrase entropy after it (nats a step)",
        "over_placebo": "… minus that of placebo phrases",
        "planning_of_high_entropy": "Planning among the uncertain tokens, last checkpoint",
        "same_signs_when_dropped": "Fits with a part of the phrases that agree in sign",
        "phrases": "Phrases are",
    }
)
"""Fits along a run."""

SHIFT: Mapping[str, str] = MappingProxyType(
    {
        "n": "Tokens",
        "jaccard": "Overlap of both models' most uncertain tokens (Jaccard)",
        "js_inside": "Of the tokens where the models differ, uncertain ones of the base",
        "threshold_base": "Entropy that counts as uncertain, base (nats)",
        "threshold_rl": "Entropy that counts as uncertain, tuned model (nats)",
    }
)
"""What a comparison token by token comes to."""

CONTROLS: Mapping[str, str] = MappingProxyType(
    {
        "random": "random places",
        "random_changed": "random places, as many changes",
        "first_k": "the first tokens",
        "entropy": "uncertain tokens",
        "resample": "base drawn again",
        "rank": "among the base's favourites",
        "steered": "steered base",
        "backward": "backward",
    }
)
"""Kinds of control of the router."""

VECTORS: Mapping[str, str] = MappingProxyType(
    {
        "steered": "learned vector",
        "random": "random vectors",
        "shuffled": "shuffled labels",
        "min_cosine": "another strategy",
    }
)
"""Arms of a steered run."""

PLACES: Mapping[str, str] = MappingProxyType({"start": "at the start of a text", "inner": "inside a text"})
"""Where a strategy is chosen."""

VARIETY: Mapping[str, str] = MappingProxyType(
    {
        "similarity_correct": "likeness of correct samples",
        "similarity": "likeness of samples",
        "strategies": "distinct strategies",
        "answers": "distinct answers",
        "passk_first": "pass@1",
        "passk_last": "pass@all",
        "passk_slope": "pass@k per doubling",
    }
)
"""Measures of variety in a sentence."""
