"""Misclassified images (P3 §4.4): do the maps of the true and of the predicted class lie on the object?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cofire.arguments import validated
from cofire.evaluate.evaluation import Evaluation
from cofire.marks import choice
from cofire.statistics import Interval, mean_interval

MISTAKES = {"pointing": "mistaken_pointing", "inside": "mistaken_inside"}
"""The measures of misclassified images by the name of what they measure; of the predicted class
"_predicted" follows."""


@dataclass(frozen=True)
class BothClasses:
    """What a method shows of misclassified images for both of their classes.

    Attributes:
        true: The mean for the true class.
        predicted: The mean for the class that the network predicts, of the same images.
        difference: The first less the second, image by image.
    """

    true: Interval
    predicted: Interval
    difference: Interval


@validated
def mistakes(evaluation: Evaluation, measure: str = "pointing") -> dict[str, BothClasses]:
    """How far maps of both classes lie on the object of the images that the network gets wrong.

    Args:
        evaluation: That measured "mistakes".
        measure: "pointing", the share of images whose hottest pixel lies in a box of the object;
            "inside", the mean share of the map that does.

    Returns:
        By method; empty where no misclassified image has a box.

    Raises:
        OptionError: "mistakes" were not measured.

    Example:
        >>> from cofire.evaluate.measures import records_schema
        >>> import pyarrow as pa
        >>> row = {name: None for name in records_schema().names} | {
        ...     "label": 3, "predicted": 1, "correct": False, "probability": 0.1, "confidence": 0.9, "boxes": 1,
        ...     "split": "evaluation", "draws": [0], "evidence": True, "seconds": 0.1, "method": "gradcam"}
        >>> rows = [row | {"file": f"{at}.png", "mistaken_pointing": 1.0, "mistaken_pointing_predicted": at % 2}
        ...         for at in range(20)]
        >>> found = mistakes(Evaluation(pa.Table.from_pylist(rows, schema=records_schema()),
        ...                             {"methods": ["gradcam"], "measures": ["mistakes"]}))["gradcam"]
        >>> found.true.value, found.predicted.value, found.difference.value, found.difference.counted
        (1.0, 0.5, 0.5, 20)
    """
    choice(tuple(MISTAKES)).of("measure", measure)
    own = evaluation.values(MISTAKES[measure])
    other = evaluation.values(f"{MISTAKES[measure]}_predicted")
    found = {}
    for at, method in enumerate(evaluation.methods):
        both = np.isfinite(own[:, at]) & np.isfinite(other[:, at])
        if both.any():
            true, predicted = own[both, at], other[both, at]
            found[method] = BothClasses(
                mean_interval(true),
                mean_interval(predicted),
                mean_interval(true - predicted, differences=True),
            )
    return found
