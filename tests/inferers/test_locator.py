"""The locator's box, in voxels of the volume it was given."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from common.checkpoints import save_weights
from common.inferers import Locator
from common.transforms import Box, FixedGrid, LargestComponentBox, SoftSumBox, SpacingGrid

SPACING = (2.0, 0.8, 0.8)


class Bright(nn.Module):
    """Positive logits where the input exceeds ``level``; ``sign`` -1: where it does not."""

    def __init__(self, level: float = 0.5, sign: float = 1.0) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))
        self.sign = sign

    def forward(self, x: Tensor) -> Tensor:
        return 100 * self.sign * (x - self.level)


def volume(*structures: Box, shape: tuple[int, ...] = (20, 60, 50), spacing: tuple[float, ...] = SPACING) -> MetaTensor:
    image = torch.zeros(1, *shape)
    for box in structures:
        image[(0, *box.slices)] = 1
    return MetaTensor(image, affine=torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64)))


def locator(network: nn.Module, *, spacing: tuple[float, ...] = SPACING, **parts: object) -> Locator:
    return Locator(network, **{"grid": SpacingGrid(spacing), "box": LargestComponentBox()} | parts)


@pytest.mark.parametrize("coarse", [(2.0, 0.8, 0.8), (2.0, 1.6, 1.6), (4.0, 2.4, 2.0), (1.25, 2.5, 2.5)])
def test_box_covers_the_structure_with_at_most_a_coarse_voxel_to_spare(coarse):
    structure = Box((6, 21, 12), (14, 45, 33))
    box = locator(Bright(level=0.4), spacing=coarse)(volume(structure))
    slack = np.ceil(np.array(coarse) / SPACING)  # voxels
    assert (np.abs(np.subtract(box.start, structure.start)) <= slack).all()
    assert (np.abs(np.subtract(box.stop, structure.stop)) <= slack).all()


def test_box_on_a_grid_of_the_volumes_own_voxels_is_exact():
    structure = Box((6, 21, 12), (14, 45, 33))
    assert locator(Bright())(volume(structure)) == structure


def test_box_is_that_of_the_largest_structure():
    large, small = Box((6, 21, 12), (14, 45, 33)), Box((17, 2, 40), (19, 5, 44))
    assert locator(Bright())(volume(large, small)) == large


def test_nothing_found_is_none():
    assert locator(Bright())(volume()) is None
    assert locator(Bright(), box=SoftSumBox())(volume()) is None


def test_padding_is_not_part_of_any_box():
    dark_everywhere = locator(Bright(sign=-1.0))
    assert dark_everywhere(volume()) == Box((0, 0, 0), (20, 60, 50))


def test_original_rule_spans_the_first_to_the_last_slice_that_sums_to_10():
    structure = Box((6, 21, 12), (14, 45, 33))
    box = locator(Bright(), box=SoftSumBox())(volume(structure))
    assert box == Box((6, 21, 12), (13, 44, 32))


def test_network_sees_the_normalized_coarse_volume_padded_to_its_multiple():
    seen = []

    class Note(Bright):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((tuple(x.shape), float(x.max())))
            return super().forward(x)

    locator(Note(), spacing=(2.0, 1.6, 1.6), normalize=lambda x: x * 7)(volume(Box((0, 0, 0), (4, 8, 8))))
    assert seen == [((1, 1, 32, 32, 32), 7.0)]  # 20 x 30 x 25 coarse voxels


def test_network_is_in_evaluation_mode_and_records_no_gradient():
    network = Bright()
    locator(network)(volume(Box((1, 1, 1), (5, 5, 5))))
    assert not network.training
    assert network.level.grad is None


def test_weights_come_from_the_file_and_its_hash_tells_them_apart(tmp_path):
    file = tmp_path / "locator.pt"
    save_weights(Bright(level=2.0), file)
    loaded = locator(Bright(level=0.5), weights=file)
    assert loaded(volume(Box((1, 1, 1), (5, 5, 5)))) is None  # nothing is brighter than 2
    assert loaded.fingerprint == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("stage", ["locator", "coarse"])
def test_missing_weights_name_the_file_and_the_remedy(tmp_path, stage):
    with pytest.raises(FileNotFoundError, match=rf"{stage}\.pt.*configs/train_{stage}\.json"):
        locator(Bright(), weights=tmp_path / f"{stage}.pt")


def test_box_rule_sees_the_coarse_logits_the_volumes_sides_and_its_voxel_size():
    seen = []
    Locator(Bright(), grid=FixedGrid((4, 5, 6)), box=lambda *args: seen.append(args))(volume())
    ((logits, shape, spacing),) = seen
    assert (logits.shape, logits.dtype) == ((1, 4, 5, 6), torch.float32)
    assert shape == (20, 60, 50)
    assert spacing == pytest.approx(SPACING)


def test_fixed_grid_has_its_corners_on_those_of_the_volume():
    ramp = torch.linspace(0, 1, 50).repeat(1, 20, 60, 1)
    grid, shape = FixedGrid((8, 8, 5))(ramp)
    assert shape == (8, 8, 5)
    torch.testing.assert_close(grid[0, 3, 3], torch.tensor([0, 0.25, 0.5, 0.75, 1]))
