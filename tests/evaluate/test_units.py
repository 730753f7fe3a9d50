"""Boxes in fractions of an image's sides are never taken for pixels: of those they would all be the first one."""

import pytest
import torch

from cofire.errors import DataError
from cofire.evaluate.localisation import best_iou, pointing_hits

MAPS = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))
FRACTIONS = [torch.tensor([[0.25, 0.5, 0.75, 1.0]]), torch.tensor([[0.0, 0.0, 1.0, 1.0]])]
SIDES = torch.tensor([8, 8, 8, 8])


def test_ground_truth_in_fractions_is_refused_and_the_remedy_works():
    with pytest.raises(
        DataError, match=r"between 0 and 1.*\[0\.25, 0\.5, 0\.75, 1\.0\].*boxes \* torch\.tensor"
    ):
        pointing_hits(MAPS, FRACTIONS)
    assert len(pointing_hits(MAPS, [boxes * SIDES for boxes in FRACTIONS])) == 2


def test_boxes_of_explanations_in_fractions_are_refused():
    corners, found = torch.cat(FRACTIONS), torch.tensor([True, True])
    with pytest.raises(DataError, match="between 0 and 1"):
        best_iou(corners, found, [boxes * SIDES for boxes in FRACTIONS])
    assert best_iou(corners * SIDES, found, [boxes * SIDES for boxes in FRACTIONS]).mean() == 1


def test_a_pixel_and_a_small_box_beside_others_are_pixels():
    pixel = [torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.zeros(0, 4)]
    assert pointing_hits(MAPS, pixel).left_out == 1
    assert len(pointing_hits(MAPS, [FRACTIONS[0], torch.tensor([[2.0, 2.0, 5.0, 5.0]])])) == 2
