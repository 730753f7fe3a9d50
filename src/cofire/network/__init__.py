"""A classifier as PyTorch sees it: operators, activation layers, neurons."""

from cofire.network.classifier import check_decides, classifier
from cofire.network.layers import ActivationLayer, Selector, Unit
from cofire.network.network import Network
from cofire.network.outputs import Output
from cofire.network.receptive import ReceptiveField, receptive_field
from cofire.network.weights import digest_of, load_weights, save_weights
from cofire.renamed import removed

__all__ = [
    "ActivationLayer",
    "Network",
    "Output",
    "ReceptiveField",
    "Selector",
    "Unit",
    "check_decides",
    "classifier",
    "digest_of",
    "load_weights",
    "receptive_field",
    "save_weights",
]

__getattr__ = removed(__name__)
