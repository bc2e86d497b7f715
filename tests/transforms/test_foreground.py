"""Transforms of label maps inside the box of the foreground: the labels of the whole map's transform."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import KeepLargestConnectedComponent
from scipy.ndimage import gaussian_filter

from common.transforms import InForegroundBoxd

SETTINGS = [
    {"applied_labels": [1]},
    {"applied_labels": [1, 2], "is_onehot": False, "independent": False},
    {"applied_labels": []},
]


def blobs(seed: int) -> MetaTensor:
    """Labels 0 to 2 in islands, some at the border."""
    noise = torch.randn(40, 36, 30, generator=torch.Generator().manual_seed(seed)).numpy()
    smooth = torch.from_numpy(gaussian_filter(noise, 2.0))
    labels = torch.bucketize(smooth, torch.quantile(smooth.flatten(), torch.tensor([0.85, 0.93]))).to(torch.uint8)
    if seed % 2:  # away from the border
        labels[:4] = labels[:, -5:] = 0
    return MetaTensor(labels[None], affine=torch.diag(torch.tensor([2.0, 1.0, 1.0, 1.0])))


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(4))
def test_components_are_those_of_the_whole_map(settings: dict, seed: int) -> None:
    labels = blobs(seed)
    expected = KeepLargestConnectedComponent(**settings)(labels.clone())
    inside = InForegroundBoxd("pred", KeepLargestConnectedComponent(**settings))
    result = inside({"pred": labels.clone(), "other": 1})
    assert result["other"] == 1
    assert isinstance(result["pred"], MetaTensor)
    assert result["pred"].dtype == torch.uint8
    assert torch.equal(result["pred"].affine, labels.affine)
    assert torch.equal(torch.as_tensor(result["pred"]), torch.as_tensor(expected))
    assert torch.equal(result["pred"], labels) is (settings["applied_labels"] == [])  # there was something to remove


def test_only_the_box_is_looked_at() -> None:
    shapes = []
    labels = torch.zeros(1, 20, 20, 20, dtype=torch.uint8)
    labels[0, 3:7, 5, 9:15] = 2

    def spy(part: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(part.shape))
        return part // 2

    result = InForegroundBoxd("pred", spy)({"pred": labels})
    assert shapes == [(1, 4, 1, 6)]
    assert result["pred"].sum() == 24


def test_background_alone_stays() -> None:
    inside = InForegroundBoxd("pred", lambda part: pytest.fail("called without a foreground"))
    assert not inside({"pred": torch.zeros(1, 4, 4, 4, dtype=torch.uint8)})["pred"].any()
