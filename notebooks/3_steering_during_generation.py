# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Steering during generation
#
# Build a vector from the base's own activations, add it inside plain `hf.generate`, sweep the dose, look at the damage,
# and take the vector along to another program. The question: is a strategy that RL made usual already *usable* in the
# base?

# %%
import tempfile
from pathlib import Path

import torch

from hooks import Direction, Pair, capture, generate, steering
from hooks.control_vectors import to_gguf
from probes import latent, tasks
from probes.latent.placebos import random_like
from probes.latent.trial import decision_positions

pair = Pair.load("organism:latent")
problems = tasks.load("organism:latent", n=40)
write = {"max_new_tokens": 96, "batch_size": 128}

# %% [markdown]
# ## A vector from the base alone
#
# The base's own samples, its own activations at the token before each decision, and the difference of two means. The
# artifact knows where it came from, its norm, the activation's typical norm there, and how well it separates problems
# that it was not made from.

# %%
own = generate(pair.base, problems, n=16, temperature=1.0, seed=0, **write)
decisions = latent.decision_rows(own, latent.annotate(own, tokenizer=pair.base.tokenizer))
labels = latent.decision_labels(decisions)
acts = capture(pair.base, own, sites="resid_post.2", positions=latent.decision_mask(own, decisions))
switch = latent.direction(
    acts, labels["computation (inner)"], site="resid_post.2", label="computation", texts=own, model=pair.base
)
switch

# %% [markdown]
# ## In anybody's own loop
#
# `steering(...).on(model)` hooks the bare Hugging Face model; everything inside the `with` is yours. `alpha` with
# `relative=True` counts in typical norms of the activation. It acts where the model decides: at the end of the prompt
# and of each step. The hooks are gone afterwards, also after an exception.

# %%
places = decision_positions(pair)
inputs = pair.base.tokenizer([problem.prompt for problem in problems[:4]], return_tensors="pt", padding=True)
options = {"max_new_tokens": 60, "do_sample": False, "pad_token_id": pair.base.pad_id}
plain = pair.base.net.generate(**inputs, **options)
with steering(switch, alpha=0.5, relative=True, positions=places).on(pair.base):
    steered = pair.base.net.generate(**inputs, **options)
again = pair.base.net.generate(**inputs, **options)
for name, ids in (("plain", plain), ("steered", steered)):
    for row in ids:
        print(f"{name:8}", pair.base.decode(row.tolist()))
assert torch.equal(plain, again)

# %% [markdown]
# ## A dose for every row
#
# One batch can hold a whole sweep: a list of doses gives each row its own. `dose_response` does this for the effect and
# the damage at once: accuracy, how often the strategy is used, the divergence from the unsteered model, and the
# perplexity of neutral text.

# %%
curve = latent.dose_response(pair, problems, switch, alphas=[-1.0, 0.25, 0.5, 1.0, 2.0], n_boot=300, settings=write)
curve

# %%
curve.plot()

# %% [markdown]
# ## The controls
#
# A vector proves nothing until random vectors of its norm do less. Direction and dose are chosen on one half of the
# problems and measured on the other.

# %%
graded = {model.role: tasks.grade(generate(model, problems, **write), problems) for model in (pair.base, pair.rl)}
effect = latent.steering_effect(
    pair, problems, [switch], base=graded["base"], rl=graded["rl"], n_random=10, n_boot=300, settings=write
)
effect

# %% [markdown]
# One random vector by hand, at the same dose:

# %%
noise = random_like(switch, seed=0, number=0)
push = steering(noise, alpha=0.5, relative=True, positions=places)
texts = generate(pair.base, problems, steering=push, **write)
print(
    f"a random vector of the same norm: {tasks.grade(texts, problems).frame['correct'].mean():.0%} right (one vector)"
)

# %% [markdown]
# ## Take it along
#
# Directions are safetensors with a header. `to_gguf` writes what llama.cpp and repeng read.

# %%
folder = Path(tempfile.mkdtemp())
saved = switch.save(folder / "computation.safetensors")
assert torch.equal(Direction.load(saved).vector, switch.vector)
print(to_gguf(switch, folder / "computation.gguf", model_hint="llama").stat().st_size, "bytes of GGUF")

# %% [markdown]
# What this does not show: that RL itself uses this direction. It shows that the base can be switched without any RL.
