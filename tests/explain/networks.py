"""Small networks to explain, and CNN-Fixations as a loop over single neurons."""

import torch
from torch import nn
from torch.nn import functional as F

from cofire.network import Network


class SmallResidual(nn.Module):
    """Convolution, batch norm with both signs, shortcut, gate, concatenation, pools; some of it functional."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.squeeze = nn.Conv2d(8, 8, 1)
        self.left, self.right = (
            nn.Conv2d(8, 6, 1),
            nn.Conv2d(8, 6, 3, stride=2, padding=1, dilation=1),
        )
        self.head = nn.Linear(12, 4)
        with torch.no_grad():
            self.norm.weight.copy_(torch.linspace(-1, 1.5, 8))
            self.norm.running_mean.copy_(torch.linspace(-0.2, 0.2, 8))

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        y = self.relu(self.depthwise(x))
        y = y * torch.sigmoid(self.squeeze(F.adaptive_avg_pool2d(y, 1)))
        y += x
        y = F.relu_(y)
        y = torch.cat([F.max_pool2d(F.silu(self.left(y)), 2), F.gelu(self.right(y))], 1)
        return self.head(torch.flatten(F.adaptive_avg_pool2d(y, 1), 1))


def plain_cnn():
    """Convolutions, ReLU, max pools and two fully connected layers."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(125, 9),
        nn.ReLU(),
        nn.Linear(9, 3),
    )


@torch.no_grad()
def fixations_by_loop(model, image, target):
    """The set of pixels (y, x) that CNN-Fixations reaches in a network as `plain_cnn` makes it, neuron by neuron.

    A neuron is wanted large (1) or small (-1): small where the best that there is speaks against
    the one above it.
    """
    values = [image[None]]
    for module in model:
        values.append(module(values[-1]))
    values = [value[0] for value in values]
    chosen = {((target,), 1)}
    for number in range(len(model) - 1, -1, -1):
        module, given = model[number], values[number]
        before = set()
        for neuron, wanted in chosen:
            if isinstance(module, nn.Linear):
                weights = (wanted * module.weight[neuron[0]]).tolist()
                before.update(
                    _through_linear(weights, given.tolist(), last_resort=number < len(model) - 1)
                )
            elif isinstance(module, nn.Flatten):
                channel, rest = divmod(neuron[0], given.shape[1] * given.shape[2])
                before.add(((channel, *divmod(rest, given.shape[2])), wanted))
            elif isinstance(module, nn.MaxPool2d):
                channel, y, x = neuron
                window = [(channel, 2 * y + i, 2 * x + j) for i in range(2) for j in range(2)]
                before.add((max(window, key=lambda place: float(given[place])), wanted))
            elif isinstance(module, nn.Conv2d):
                before.update(_through_convolution(module, given, neuron, wanted))
            else:
                before.add((neuron, wanted))
        chosen = before
    return {(y, x) for (_, y, x), _ in chosen}


def _through_linear(weights, given, last_resort):
    products = {
        i: value * weight for i, (value, weight) in enumerate(zip(given, weights, strict=True))
    }
    found = [i for i, product in products.items() if product > 0]
    matter = [i for i, product in products.items() if product != 0]
    if not found and matter and last_resort:
        found = [max(matter, key=products.__getitem__)]
    return [((i,), -1 if weights[i] < 0 else 1) for i in found]


def _through_convolution(module, given, neuron, wanted):
    output, y, x = neuron
    sums, places = {}, {}
    for channel in range(given.shape[0]):
        products = {}
        for i in range(3):
            for j in range(3):
                at = (y + i - module.padding[0], x + j - module.padding[1])
                if 0 <= at[0] < given.shape[1] and 0 <= at[1] < given.shape[2]:
                    weight = wanted * float(module.weight[output, channel, i, j])
                    products[at] = (float(given[channel][at]) * weight, -1 if weight < 0 else 1)
        if any(product != 0 for product, _ in products.values()):
            sums[channel] = sum(product for product, _ in products.values())
            # Of equal products the one nearest to the middle of the window, then the first.
            places[channel] = max(
                products, key=lambda at: (products[at][0], -_distance(at, y, x, module.padding[0]))
            )
            places[channel] = (places[channel], products[places[channel]][1])
    if not sums:
        return []
    best = max(sums, key=sums.__getitem__)
    place, direction = places[best]
    return [((best, *place), direction)]


def _distance(at, y, x, padding):
    return (at[0] - (y - padding + 1)) ** 2 + (at[1] - (x - padding + 1)) ** 2


class Written(nn.Module):
    """Modules, and a function that calls them."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x):
        return self.function(self, x)


def overflowing():
    """A network whose logits are finite, and no gradient of them."""
    model = nn.Sequential(
        nn.Conv2d(1, 1, 1, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4, 1, bias=False),
        nn.ReLU(),
        nn.Linear(1, 2, bias=False),
    )
    for part, size in ((0, 1e-30), (3, 1e30), (5, 1e30)):
        nn.init.constant_(model[part].weight, size)
    return Network(model.eval(), torch.zeros(1, 1, 2, 2))
