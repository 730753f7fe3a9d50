"""Pure maths on counts and means: tensors in, tensors out; no model, no file, no screen."""

from cofire.patterns.entropy import entropy_of_counts
from cofire.patterns.information import information_floor, mutual_information
from cofire.patterns.selectivity import class_selectivity

__all__ = ["class_selectivity", "entropy_of_counts", "information_floor", "mutual_information"]
