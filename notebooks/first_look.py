# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A first look at a network
#
# Which neurons does it have, which of them fire, for which classes, and which do nothing? The network is a small one,
# trained here on the digits of scikit-learn in a second; put yours in its place.

# %%
import torch
from sklearn.datasets import load_digits
from torch import nn

import cofire

images, labels = map(torch.tensor, load_digits(return_X_y=True))
images = images.float().reshape(-1, 1, 8, 8) / 16
train, test = slice(0, 1400), slice(1400, None)

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 12, 3),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(432, 48),
    nn.ReLU(),
    nn.Linear(48, 10),
)
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for _ in range(10):
    for batch in torch.randperm(1400).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()

# %% [markdown]
# ## What it is made of
#
# `Network` reads the model once. Nothing of the model is changed, then or later.

# %%
network = cofire.Network(model, images[:1])
network

# %% [markdown]
# ## What its neurons do
#
# One pass over the data, and a summary that does not grow with it. *Entropy* tells how much a neuron's activations vary;
# *activity* in what share of the samples it fires; a *dead* neuron never does.

# %%
summary = cofire.summarize(
    network, (images[test], labels[test]), by_class=True, pairs="class", top=5
)
summary

# %%
summary.plot()

# %% [markdown]
# ## One layer, neuron by neuron
#
# *Selectivity* is high for a neuron that fires for one class above all others. Which class is it?

# %%
layer = summary.layers[-1]
layer.plot("selectivity")

# %%
selectivity, preferred = layer.selectivity(), layer.preferred_class()
for neuron in selectivity.nan_to_num(-1).topk(5).indices.tolist():
    print(f"neuron {neuron}: {selectivity[neuron]:.2f}, fires for digit {preferred[neuron]}")

# %% [markdown]
# Neurons that do nothing could be cut, or tell that training went wrong:

# %%
[(one.layer.name, int(one.dead().sum()), int(one.always_active().sum())) for one in summary]

# %% [markdown]
# The same, with all figures and what they mean, as one page: `cofire.write_report(summary, "report.html")`.
