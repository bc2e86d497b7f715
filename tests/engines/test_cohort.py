"""A cohort goes on after a bad case, and remembers it."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import AsDiscreted, Compose
from torch import Tensor, nn

from common.engines import CohortDataset, CohortEvaluator
from common.handlers import FailureLog
from common.transforms import SavePredictiond, load_on_grid


class Fussy(nn.Module):
    """Fails on volumes of zeros and ones, and answers those of zeros and twos with NaN."""

    def forward(self, x: Tensor) -> Tensor:
        if x.max() == 1:
            raise RuntimeError("out of\n memory")
        return x if x.max() != 2 else torch.where(x == 2, torch.nan, x)


def image(path: Path, value: float) -> dict[str, str]:
    volume = np.full((4, 5, 6), value, np.float32)
    volume[0] = 0
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), path)
    return {"case": path.name.split(".")[0], "image": str(path)}


def predict(cases: list[dict[str, str]], output_dir: Path, *, workers: int = 0) -> FailureLog:
    failures = FailureLog(output_dir)
    dataset = CohortDataset(cases, load_on_grid(["image"], axcodes="RAS"))
    CohortEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(dataset, batch_size=1, num_workers=workers),
        network=Fussy(),
        postprocessing=Compose([AsDiscreted("pred", threshold=0.5), SavePredictiond("pred", output_dir)]),
        failures=failures,
    ).run()
    return failures


def outputs(output_dir: Path) -> list[str]:
    return sorted(path.name for path in output_dir.iterdir())


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_file_is_recorded_and_the_others_are_written(tmp_path, workers):
    (tmp_path / "b.nii.gz").write_bytes(b"no image")
    cases = [
        image(tmp_path / "a.nii.gz", 3),
        {"case": "b", "image": str(tmp_path / "b.nii.gz")},
        image(tmp_path / "c.nii.gz", 3),
    ]
    predict(cases, tmp_path / "out", workers=workers)
    (failure,) = json.loads((tmp_path / "out/failures.json").read_text())
    assert (failure["case"], failure["path"]) == ("b", str(tmp_path / "b.nii.gz"))
    assert outputs(tmp_path / "out") == ["a_seg.nii.gz", "c_seg.nii.gz", "failures.json"]


def test_case_the_network_fails_on_is_recorded_with_its_file_and_the_cause_in_one_line(tmp_path):
    cases = [image(tmp_path / "a.nii.gz", 1), image(tmp_path / "b.nii.gz", 3)]
    predict(cases, tmp_path / "out")
    expected = {"case": "a", "path": str(tmp_path / "a.nii.gz"), "reason": "out of memory"}
    assert json.loads((tmp_path / "out/failures.json").read_text()) == [expected]
    assert outputs(tmp_path / "out") == ["b_seg.nii.gz", "failures.json"]


def test_an_answer_that_is_not_finite_is_recorded_and_not_written(tmp_path):
    predict([image(tmp_path / "a.nii.gz", 2), image(tmp_path / "b.nii.gz", 3)], tmp_path / "out")
    (failure,) = json.loads((tmp_path / "out/failures.json").read_text())
    assert (failure["case"], failure["path"]) == ("a", str(tmp_path / "a.nii.gz"))
    assert failure["reason"].startswith("the network's output is not finite")
    assert outputs(tmp_path / "out") == ["b_seg.nii.gz", "failures.json"]


def test_case_that_cannot_be_written_is_recorded(tmp_path):
    (tmp_path / "out" / "a_seg.nii.gz").mkdir(parents=True)  # a folder stands where the file belongs
    predict([image(tmp_path / "a.nii.gz", 3), image(tmp_path / "b.nii.gz", 3)], tmp_path / "out")
    (failure,) = json.loads((tmp_path / "out/failures.json").read_text())
    assert failure["case"] == "a"
    assert "directory" in failure["reason"]
    assert outputs(tmp_path / "out") == ["a_seg.nii.gz", "b_seg.nii.gz", "failures.json"]


def test_process_ends_non_zero_after_a_failure_and_normally_without(tmp_path):
    good, bad = image(tmp_path / "a.nii.gz", 3), {"case": "b", "image": str(tmp_path / "missing.nii.gz")}
    predict([good], tmp_path / "out").exit()
    with pytest.raises(RuntimeError, match="1 of 2 cases failed, listed in"):
        predict([good, bad], tmp_path / "out").exit()


def test_cause_is_the_innermost_of_what_the_transforms_raised(tmp_path):
    cases = [{"case": "b", "image": str(tmp_path / "missing.nii.gz")}]
    reason = CohortDataset(cases, load_on_grid(["image"]))[0]["failure"]
    assert "missing.nii.gz" in reason
    assert "applying transform" not in reason


def test_a_cohort_without_a_case_replaces_an_earlier_runs_list_of_failures(tmp_path):
    predict([{"case": "b", "image": str(tmp_path / "missing.nii.gz")}], tmp_path / "out")
    predict([], tmp_path / "out").exit()
    assert json.loads((tmp_path / "out/failures.json").read_text()) == []
