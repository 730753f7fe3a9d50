"""The methods that explain, each registered by the file that has it."""

# In the order in which they are told.
from cofire.explain.methods import discernible  # isort: skip
from cofire.explain.methods import cam, lrp  # isort: skip
from cofire.explain.methods.registry import METHODS, register_method

__all__ = ["METHODS", "cam", "discernible", "lrp", "register_method"]
