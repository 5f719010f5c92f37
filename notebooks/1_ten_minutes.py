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
# # Ten minutes
#
# A pair of small models ships with the package: `organism:latent`, a base and the same model after RL. We know the
# truth about it, so you can see whether the answer is right: every strategy is in the base, and RL only made the base
# use it. On your own pair the calls are the same.

# %%
from hooks import Pair, capture, generate, mix, steering
from probes import latent, routing, samples, tasks, weights
from probes.latent.trial import decision_positions
from probes.report import tokens_html
from probes.study import token_view

pair = Pair.load("organism:latent")
pair

# %% [markdown]
# ## One problem, two models
#
# The task is a chain of operations modulo 100. The base mostly jumps to an answer; the tuned model works it out.

# %%
problems = tasks.load("organism:latent", n=40)
write = {"max_new_tokens": 96, "batch_size": 128}
base = tasks.grade(generate(pair.base, problems, **write), problems)
rl = tasks.grade(generate(pair.rl, problems, **write), problems)
for texts in (base, rl):
    row = texts.frame.iloc[0]
    print(f"{row['model']:>24}  {row['prompt']}  {row['text']}   right: {row['correct']}")
accuracy = [texts.frame["correct"].mean() for texts in (base, rl)]
print(f"greedy accuracy: base {accuracy[0]:.0%}, tuned {accuracy[1]:.0%} (40 problems, one run)")

# %% [markdown]
# ## Is it already there?
#
# The base writes samples of its own. Each span is labelled with its strategy, and a linear probe reads, at the token
# *before* a span, which strategy comes next. Folds never share a problem; the layer is chosen inside the folds;
# shuffled labels, a control task and probes on position, length and the last tokens stand beside.

# %%
own = generate(pair.base, problems, n=16, temperature=1.0, seed=0, **write)
spans = latent.annotate(own, tokenizer=pair.base.tokenizer)
decisions = latent.decision_rows(own, spans)
labels = latent.decision_labels(decisions)
acts = capture(pair.base, own, sites="resid_post.*", positions=latent.decision_mask(own, decisions))
sweep = latent.sweep(acts, labels, tokens=own, n_boot=200)
sweep.selected[["label", "auroc", "low", "high"]]

# %% [markdown]
# `computation (inner)` is readable; whether that is evidence depends on how far it lies above the baselines.

# %%
sweep.plot()

# %% [markdown]
# ## Is it already usable?
#
# A vector from base activations alone, added where the base decides: at the end of the prompt and of each step. No RL
# model has a part in it.

# %%
switch = latent.direction(
    acts, labels["computation (inner)"], site="resid_post.2", label="computation", texts=own, model=pair.base
)
print(switch)
push = steering(switch, alpha=0.5, relative=True, positions=decision_positions(pair))
steered = tasks.grade(generate(pair.base, problems, steering=push, **write), problems)
right = steered.frame["correct"].mean()
print(f"base steered by its own vector: {right:.0%} (one dose, one run; notebook 3 has the controls)")

# %% [markdown]
# ## Is it only when?
#
# The base writes. Where the two next-token distributions part (Jensen–Shannon divergence above 0.1 nats), the tuned
# model writes one token. `recovery` says how much of the gain comes back, with an interval over problems.

# %%
mixed = tasks.grade(mix(pair, problems, gate=routing.js(0.1), **write), problems)
recovery = routing.recovery(base=base, rl=rl, mixed=mixed)
recovery

# %% [markdown]
# The same share of tokens at random places is the control that makes it evidence.

# %%
share = float(recovery.routed.value)
random = tasks.grade(mix(pair, problems, gate=routing.random(share), **write), problems)
routing.recovery(base=base, rl=rl, mixed=random)

# %% [markdown]
# Who wrote which token:

# %%
tokens_html(token_view(pair.base.tokenizer, mixed, shown=1)[0]["tokens"])

# %% [markdown]
# ## What moved, and what many tries show

# %%
weights.compare(pair)

# %%
many = {
    model.role: tasks.grade(generate(model, problems, n=16, temperature=1.0, seed=1, **write), problems)
    for model in (pair.base, pair.rl)
}
samples.passk(base=many["base"], rl=many["rl"], n_boot=200)

# %% [markdown]
# ## The verdict
#
# `whenlens study organism:latent` runs all of this with every control on 200 problems in about three minutes, holds
# twelve published claims against the pair, and writes one page.
