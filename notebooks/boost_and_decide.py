# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Boost a trained model, and decide whether to ship it
#
# A booster reads the hidden layers of a classifier that stays as it is, and corrects its predictions. Whether that
# helps is a question to data that neither has seen, and to controls that see less: a model may gain as much from a mere
# recalibration.

# %%
import torch
from sklearn.datasets import load_digits
from torch import nn

import cofire

images, labels = map(torch.tensor, load_digits(return_X_y=True))
order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
images, labels = images[order].float() / 16, labels[order]
# The model has room to be better: it sees a quarter of its training data.
train, held_out, test = slice(0, 800), slice(800, 1200), slice(1200, None)
parts = [(images[part], labels[part]) for part in (train, held_out, test)]

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for _ in range(15):
    for batch in torch.arange(200).split(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()

# %% [markdown]
# ## Against controls
#
# Every method and every control is fitted on training and held-out data; the best is chosen there, and judged once on
# test data. Gains have 95 % intervals.

# %%
network = cofire.Network(model, images[:1])
comparison = cofire.compare(network, *parts)
comparison

# %%
comparison.plot()

# %% [markdown]
# ## The decision
#
# *better*: it beats the model and the best control. *equal*: it cannot matter. *undecided*: this much data cannot tell,
# and a larger test set would.

# %%
print("the booster:", comparison.verdict)
print("patterns, on top of values:", comparison.patterns_verdict)
print(comparison.told_of_always_active or "Who fires tells something in every layer.")

# %% [markdown]
# ## Shipping it
#
# Fitted, a booster is a module like any other: it takes images and gives probabilities. `booster.export("boosted.pt2")`
# writes model and booster as one program.

# %%
booster = comparison.booster
booster

# %%
with torch.no_grad():
    probabilities = booster(images[test])
float((probabilities.argmax(dim=1) == labels[test]).float().mean())
