"""One photo with everything that explains it, and where the evidence went, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass

from cofire.explain import Explanation
from cofire.explain.drawing.captions import NO_EVIDENCE, box_told, evidence_told, plural


@dataclass(frozen=True, eq=False)
class Explained:
    """One photo and its explanations.

    Attributes:
        file: As it was named.
        told: The same, without its folder where no other photo has that name.
        name: Of the picture that is written, without its ending; no other photo has it.
        size: Width and height of the upright photo in its file.
        region: Left, top, right and bottom of what the network sees, in pixels of the upright
            photo.
        rows: For each explained class one explanation by each method, each of one image and one
            class.
    """

    file: str
    told: str
    name: str
    size: tuple[int, int]
    region: tuple[float, float, float, float]
    rows: tuple[tuple[Explanation, ...], ...]

    @property
    def first(self) -> Explanation:
        """An explanation that says what all have in common: the picture and the prediction."""
        return self.rows[0][0]


def alike(explanation: Explanation) -> bool:
    """Whether neurons were only chosen or not, each counting the same, so that there are no shares of evidence."""
    return explanation.options.get("carried") is False


def box_of(explanation: Explanation) -> list[float] | None:
    """Left, top, right and bottom of the box of a single image, in pixels of the network's input; None for no box."""
    boxes = explanation.boxes()
    corners: list[float] = boxes.corners[0].tolist()
    return corners if bool(boxes.found[0]) else None


def evidence_at_input(explanation: Explanation) -> float | None:
    """The share of a class's evidence that reached the pixels of a single image, 0 to 1; None where none is traced.

    Layers hand evidence on, so that 1 is all of it. What was cut off on the way, at neurons beyond
    the strongest or where nothing spoke for the class, is missing.
    """
    if explanation.maps is not None or alike(explanation):
        return None
    share = float(explanation.points(0).score.double().sum())
    # What single precision rounded off is not missing.
    return 1.0 if share > 1 - 1e-4 else share


def evidence_words(explanation: Explanation) -> str:
    """How much was found in a single image, in words."""
    if not bool(explanation.has_evidence[0]):
        return NO_EVIDENCE
    if explanation.maps is not None:
        layer = explanation.options.get("target_layer")
        return "map of the pixels" if layer is None else f"map of layer {layer}"
    points = plural(len(explanation.points(0)), "point")
    share = evidence_at_input(explanation)
    if share is None:
        return f"{points}, each counts the same"
    return f"{points}, reached by {evidence_told(share)} of the evidence"


def box_words(explanation: Explanation) -> str:
    """The size of the box of a single image, or why there is none."""
    corners = box_of(explanation) or [0.0, 0.0, 0.0, 0.0]
    return box_told(
        corners, bool(explanation.has_evidence[0]), explanation.input_shape, explanation.boxed
    )
