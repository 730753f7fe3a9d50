"""A classifier as PyTorch sees it: operators, activation layers, neurons."""

from cofire.network.classifier import check_decides, classifier
from cofire.network.extraction import open_module, writes_in_place
from cofire.network.layers import ActivationLayer, Unit
from cofire.network.network import Network
from cofire.network.outputs import Output
from cofire.network.selection import Selector
from cofire.network.weights import digest_of, load_weights, save_weights

__all__ = [
    "ActivationLayer",
    "Network",
    "Output",
    "Selector",
    "Unit",
    "check_decides",
    "classifier",
    "digest_of",
    "load_weights",
    "open_module",
    "save_weights",
    "writes_in_place",
]
