# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Explain a mistake
#
# A network takes one digit for another. Which pixels carried that decision, through which neurons, and what spoke for the
# right class?

# %%
import torch
from sklearn.datasets import load_digits
from torch import nn

import cofire

images, labels = map(torch.tensor, load_digits(return_X_y=True))
images = images.float().reshape(-1, 1, 8, 8) / 16
train, test = slice(0, 1200), slice(1200, None)

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 12, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(12, 24, 3, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(384, 10),
)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(6):
    for batch in torch.randperm(1200).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()

# %% [markdown]
# ## The most confident mistakes

# %%
with torch.no_grad():
    probability = model(images[test]).softmax(dim=1)
confidence, predicted = probability.max(dim=1)
wrong = torch.nonzero(predicted != labels[test]).flatten()
wrong = wrong[confidence[wrong].argsort(descending=True)][:4]
mistaken = images[test][wrong]
for number, share in zip(wrong.tolist(), confidence[wrong].tolist(), strict=True):
    print(f"{labels[test][number]} taken for {predicted[number]} ({share:.0%})")

# %% [markdown]
# ## What spoke for the wrong class
#
# The default method traces evidence from the decision back through the neurons that carried it, to pixels.

# %%
network = cofire.Network(model, images[:1])
explanation = cofire.explain(network, mistaken)
explanation

# %% [markdown]
# ## What spoke for the right one

# %%
right = cofire.explain(network, mistaken, target=labels[test][wrong])
right

# %% [markdown]
# ## From points to neurons
#
# A point is a pixel in which evidence ended. `path` goes back up: which neurons it came through, layer by layer.

# %%
explanation.plot("points")

# %%
points = explanation.points(0)
strongest = int(points.score.argmax())
explanation.path(0, int(points.y[strongest]), int(points.x[strongest]))

# %% [markdown]
# ## Do other methods see the same?
#
# Maps that disagree are a reason to measure: `cofire evaluate` judges methods by what happens when pixels are taken away.

# %%
cofire.explain(network, mistaken, method="gradcam").plot()
