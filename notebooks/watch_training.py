# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Watch a training run
#
# Accuracy says that a network learns, not what becomes of its neurons. A monitor watches them in the loop that you have.
# Here are two runs that differ in their learning rate alone; in one of them neurons die.

# %%
import logging
import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

from cofire.live import Monitor
from cofire.study import fcnn

# What a person should act on is said once, to this logger.
logging.getLogger("cofire.live").addHandler(logging.StreamHandler(sys.stdout))

images, labels = map(torch.tensor, load_digits(return_X_y=True))
images = images.float() / 16
train, test = slice(0, 1400), slice(1400, None)


def watched(rate):
    """A run, and what its neurons did."""
    torch.manual_seed(0)
    model = fcnn(64, (64, 64), 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    monitor = Monitor(model, every=5, window=100)
    for _ in range(8):
        for batch in torch.randperm(1400).split(32):
            optimizer.zero_grad()
            with monitor.step(images[batch], labels[batch]):
                loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            right = model(images[test]).argmax(dim=1) == labels[test]
        monitor.end_epoch(accuracy=float(right.float().mean()))
    return monitor.trajectory


# %%
calm = watched(0.05)
calm

# %%
wild = watched(0.5)
wild

# %% [markdown]
# ## Entropy beside accuracy

# %%
calm.plot()

# %% [markdown]
# ## Neurons that never fire
#
# Of the second run, layer by layer. A neuron that is dead gets no gradient, and rarely comes back.

# %%
wild.plot("dead-neurons")

# %%
{name: run.network()["dead"].to_pylist() for name, run in (("calm", calm), ("wild", wild))}

# %% [markdown]
# Checkpoints of a run that is over tell the same: `cofire.follow(model, checkpoints, data)`, or
# `cofire follow checkpoints/*.pt --model … --data …`. All of it as a page: `cofire.write_report(calm, "report.html")`.
