"""From probabilities on the network's grid to labels on the file's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, CropForegroundd, Invertd

from common.transforms import LabelsOnOriginalGridd, load_on_grid, original_grid
from tests.volumes import AFFINE, SHAPE, VOXEL

REPOSITORY = Path(__file__).parents[2]
CROP = CropForegroundd(["image"], source_key="image", allow_smaller=True)


def preprocessing(spacing: tuple[float, ...] | None) -> Compose:
    return Compose([load_on_grid(["image"], spacing=spacing), CROP])


@pytest.fixture
def case(tmp_path: Path) -> dict[str, str]:
    """An oblique volume of 20 x 24 x 16 voxels, empty at its sides."""
    return written(tmp_path / "image.nii.gz", AFFINE)


def written(file: Path, affine: np.ndarray) -> dict[str, str]:
    array = np.zeros(SHAPE, np.float32)
    array[3:18, 2:22, 4:14] = 1
    nib.save(nib.Nifti1Image(array, affine), file)
    return {"image": str(file)}


def smooth_probabilities(shape: tuple[int, ...], classes: int) -> MetaTensor:
    coarse = torch.randn(1, classes, 4, 4, 4)
    return MetaTensor(torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear")[0].mul(3).softmax(0))


def by_monai(data: dict, transform: Compose) -> np.ndarray:
    """Labels from ``Invertd`` of the whole preprocessing; the background's probability is what is missing to 1."""
    probabilities = Invertd("pred", transform, orig_keys="image", nearest_interp=False)(data)["pred"].numpy()
    probabilities[0] = 1 - probabilities[1:].sum(axis=0)
    return probabilities.argmax(axis=0)


def back(data: dict) -> torch.Tensor:
    return Compose([Invertd("pred", CROP, orig_keys="image", nearest_interp=False), LabelsOnOriginalGridd("pred")])(
        data
    )["pred"]


@pytest.mark.parametrize("spacing", [(1.7, 1.3, 1.1), (0.8, 0.5, 0.6), None], ids=["coarser", "finer", "same"])
def test_labels_are_the_argmax_of_monais_inversion(
    case: dict[str, str], spacing: tuple[float, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(original_grid, "SLAB", 3 * SHAPE[1] * SHAPE[2])  # several slabs, the last one thinner
    transform = preprocessing(spacing)
    data = transform(case)
    data["pred"] = smooth_probabilities(data["image"].shape[1:], 4)
    labels = back(dict(data))
    assert labels.shape == (1, *SHAPE)
    assert labels.dtype == torch.uint8
    np.testing.assert_allclose(labels.affine, AFFINE, atol=1e-6)
    expected = by_monai(data, transform)
    assert len(np.unique(expected)) == 4
    assert np.mean(labels[0].numpy() != expected) < 1e-3  # rounding


@pytest.mark.parametrize("mirrored", [(1, 1, 1), (-1, 1, -1)], ids=["as stored", "mirrored"])
@pytest.mark.parametrize("spacing", [(1.7, 1.3, 1.1), (0.8, 0.5, 0.6), None], ids=["coarser", "finer", "same"])
@pytest.mark.parametrize("where", [(0.5, 0.4, 0.6), (0.0, 0.0, 1.0), (1.0, 0.5, 0.0)], ids=["inside", "corner", "edge"])
def test_a_small_structure_is_where_monais_inversion_puts_it(
    where: tuple[float, ...],
    spacing: tuple[float, ...] | None,
    mirrored: tuple[int, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(original_grid, "SLAB", 100)  # a slice or two
    transform = preprocessing(spacing)
    data = transform(written(tmp_path / "image.nii.gz", AFFINE @ np.diag([*mirrored, 1])))
    shape = data["image"].shape[1:]
    axes = [(torch.arange(n) - share * (n - 1)) / n for share, n in zip(where, shape, strict=True)]
    square = sum(axis.square() for axis in torch.meshgrid(*axes, indexing="ij"))
    probability = torch.sigmoid(40 * (0.18 - square.sqrt()))
    data["pred"] = MetaTensor(torch.stack([1 - probability, probability]))
    expected = by_monai(data, transform)
    assert 0.001 < expected.mean() < 0.1
    assert np.sum(back(data)[0].numpy() != expected) <= 0.01 * expected.sum()  # rounding


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.bool, torch.uint8], ids=str)
@pytest.mark.parametrize("spacing", [(1.7, 1.3, 1.1), None], ids=["coarser", "same"])
def test_any_type_will_do(case: dict[str, str], spacing: tuple[float, ...] | None, dtype: torch.dtype) -> None:
    transform = load_on_grid(["image"], spacing=spacing)
    data = transform(case)
    data["pred"] = torch.zeros(2, *data["image"].shape[1:])
    data["pred"][1, 4:9, 3:9, 5:11] = 1
    data["pred"][0] = 1 - data["pred"][1]
    expected = by_monai({**data, "pred": MetaTensor(data["pred"].clone())}, transform)
    assert expected.any()
    data["pred"] = data["pred"].to(dtype)
    labels = LabelsOnOriginalGridd("pred")(data)["pred"]
    assert np.mean(labels[0].numpy() != expected) < 1e-3  # rounding


def test_what_lies_beyond_the_file_is_nowhere_in_it(case: dict[str, str]) -> None:
    data = load_on_grid(["image"])(case)
    shape = [n + 4 for n in data["image"].shape[1:]]
    affine = data["image"].affine.clone()
    affine[:3, 3] -= affine[:3, :3] @ torch.full((3,), 2.0, dtype=affine.dtype)
    for axis in range(3):
        pred = torch.zeros(1, *shape)
        pred.select(axis + 1, 0)[:] = 1
        labels = LabelsOnOriginalGridd("pred")({**data, "pred": MetaTensor(pred, affine=affine)})["pred"]
        assert not labels.any()


def test_what_was_cropped_away_is_background(case: dict[str, str]) -> None:
    data = preprocessing(None)(case)
    data["pred"] = MetaTensor(torch.zeros(3, *data["image"].shape[1:]))
    data["pred"][2] = 1
    expected = np.zeros(SHAPE)
    expected[3:18, 2:22, 4:14] = 2
    np.testing.assert_array_equal(back(data)[0].numpy(), expected)


def test_a_single_channel_is_the_probability_of_class_one(case: dict[str, str]) -> None:
    data = preprocessing((1.7, 1.3, 1.1))(case)
    one = smooth_probabilities(data["image"].shape[1:], 2)
    two_channels = back({**data, "pred": one})
    np.testing.assert_array_equal(back({**data, "pred": one[1:]}).numpy(), two_channels.numpy())


def test_a_structure_at_the_rim_reaches_the_last_voxel(tmp_path: Path) -> None:
    """Centers of the coarse grid lie up to half a coarse voxel inside."""
    image = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    nib.save(nib.Nifti1Image(image, AFFINE), tmp_path / "image.nii.gz")
    data = load_on_grid(["image"], spacing=tuple(4 * VOXEL[::-1]))({"image": str(tmp_path / "image.nii.gz")})
    data["pred"] = torch.ones(1, *data["image"].shape[1:])
    assert LabelsOnOriginalGridd("pred")(data)["pred"].all()


def test_a_crop_that_was_not_undone_is_an_error_that_names_the_file(case: dict[str, str]) -> None:
    data = preprocessing(None)(case)
    data["pred"] = torch.ones(2, *data["image"].shape[1:])
    with pytest.raises(ValueError, match=r"image\.nii\.gz: reaches 4 voxels beyond .* undo the crop"):
        LabelsOnOriginalGridd("pred")(data)


def test_a_prediction_of_another_shape_without_an_affine_is_an_error(case: dict[str, str]) -> None:
    data = preprocessing(None)(case)
    data["pred"] = torch.ones(2, 5, 5, 5)
    with pytest.raises(ValueError, match=r"image\.nii\.gz: .*\(5, 5, 5\).* carries no affine"):
        LabelsOnOriginalGridd("pred")(data)


MEASURE = """
import resource, torch
from monai.data import MetaTensor
from common.transforms import LabelsOnOriginalGridd

torch.set_num_threads(1)
meta = {"original_affine": torch.eye(4), "spatial_shape": (256, 256, 300)}
coarse = torch.diag(torch.tensor([4.0, 4.0, 4.0, 1.0]))
image = MetaTensor(torch.zeros(1, 64, 64, 75), affine=coarse, meta=meta)
for classes in (2, 2, 12):
    LabelsOnOriginalGridd("pred")({"image": image, "pred": torch.rand(classes, 64, 64, 75)})
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)  # MB, the highest so far
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_classes() -> None:
    """Ten more classes are 790 MB on the file's grid, 12 MB on the network's, and 80 MB for a slab."""
    done = subprocess.run([sys.executable, "-c", MEASURE], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    _, two, twelve = map(float, done.stdout.split())
    assert twelve - two < 200
