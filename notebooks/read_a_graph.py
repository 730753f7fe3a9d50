# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Read a co-firing graph
#
# Each class is represented by the neurons that fire most for it. Two of them are joined where they fire for the same
# samples. Do the classes keep to themselves, or do they share their neurons? And is it more than chance?

# %%
import torch
from sklearn.datasets import load_digits
from torch import nn

import cofire
from cofire.study import fcnn

images, labels = map(torch.tensor, load_digits(return_X_y=True))
images = images.float() / 16

torch.manual_seed(0)
model = fcnn(64, (96, 96), 10)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(8):
    for batch in torch.randperm(1400).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()

# %% [markdown]
# ## The graph of the last layer
#
# Six representatives for each digit, and ten graphs with shuffled labels to hold it against.

# %%
network = cofire.Network(model, images[:1])
summary = cofire.summarize(
    network,
    (images[1400:], labels[1400:]),
    by_class=True,
    pairs="class",
    top=6,
    null_graphs=10,
    class_names=[str(digit) for digit in range(10)],
)
graph = summary.graph(network.activation_layers[-1].name)
graph

# %% [markdown]
# A circle is a neuron, its colour its class, its size how strongly it is joined to others; a line in colour stays within
# a class, a grey one goes across.

# %%
graph.plot()

# %% [markdown]
# ## Which classes share neurons
#
# On the diagonal: neurons that represent this class and no other. Beside it: those that two classes share. Digits that
# look alike share more.

# %%
graph.plot("unique-neurons")

# %% [markdown]
# ## Communities that nobody named
#
# Louvain's method does not know the classes. Where its communities are the classes (an *ARI* near 1), the layer has found
# them by itself.

# %%
found = graph.communities("louvain")
print(found)
print(f"agreement with the classes: ARI {found.ari:.2f}, NMI {found.nmi:.2f}")

# %% [markdown]
# ## Is it more than chance?
#
# Modularity says how far edges stay within classes; 0 is what the strengths of the neurons alone would give. The same
# number of graphs with shuffled labels says what chance gives here.

# %%
own = graph.modularity()
chance = [one.modularity() for one in graph.by_chance]
print(f"modularity {own:.3f}; with shuffled labels {min(chance):.3f} to {max(chance):.3f}")

# %% [markdown]
# ## Neurons between classes
#
# *Participation* is high for a neuron whose edges spread over many classes.

# %%
participation = graph.participation()
for vertex in participation.topk(5).indices.tolist():
    told = ", ".join(graph.class_names[number] for number in graph.classes_of()[vertex])
    print(f"neuron {graph.neurons[vertex]}: {participation[vertex]:.2f}, represents {told}")

# %% [markdown]
# For Gephi: `graph.write_gexf("last.gexf")`, or `cofire graph FOLDER --out last.gexf`.
