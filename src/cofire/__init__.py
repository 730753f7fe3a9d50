"""cofire: which neurons of a classifier fire, which fire together, and which carried a decision."""

__version__ = "0.1.0"
