"""What cannot be right is refused by name: every safeguard, for every bundle, on every path that reads a case.

A row of ``FAULTS`` is held by the check of every training, by the evaluation and by the inference of every bundle that
exists.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from common.datasets.layouts.registry import LAYOUTS
from common.files import files_of
from tests.bundles.faults import FAULTS, Fault, volume_of

IMAGES, LABELS = ({name: fault for name, fault in FAULTS.items() if fault.key == key} for key in ("image", "label"))
COHORTS = {  # five faults in six phantoms: the last phantom stays whole
    f"{names[0]} to {names[-1]}": names
    for faults in (list(IMAGES), list(LABELS))
    for names in (faults[start : start + 5] for start in range(0, len(faults), 5))
}


@dataclass
class Cohort:
    """A data set with faults: which case has which, and a case without."""

    folder: Path
    damaged: dict[str, tuple[Fault, str]]  # case -> its fault and the file that has it
    cases: list[dict]
    good: str


@pytest.fixture(scope="module", params=COHORTS)
def cohort(request: pytest.FixtureRequest, bundle: Path, sample_data: Path, tmp_path_factory) -> Cohort:
    folder = Path(shutil.copytree(sample_data, tmp_path_factory.mktemp("cohort") / "data"))
    cases = LAYOUTS[json.loads((bundle / "configs/plan.json").read_text())["layout"]](folder).cases
    damaged = {}
    for name, case in zip(COHORTS[request.param], cases, strict=False):
        fault = FAULTS[name]
        file = files_of(case[fault.key])[-1]  # of one channel, where each has a file
        fault.damage(file)
        damaged[case["case"]] = (fault, file)
    return Cohort(folder, damaged, [*cases[: len(damaged)], cases[-1]], cases[-1]["case"])


def test_no_training_starts_and_its_message_lists_every_fault(
    cohort: Cohort, bundle: Path, run_bundle, tmp_path: Path
) -> None:
    for train in sorted(path.name for path in bundle.glob("configs/train*.json")):
        paths = {"ckpt_dir": tmp_path / "models", "cache_dir": tmp_path / "cache", "output_dir": tmp_path / "train"}
        sample = train.replace("train", "sample")
        done = run_bundle(bundle, "training", train, sample, dataset_dir=cohort.folder, device="cpu", **paths)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert f"{len(cohort.damaged)} of 6 cases cannot be used" in done.stderr
        lines = [line for line in done.stderr.splitlines() if line.startswith("  ")]
        assert len(lines) == len(cohort.damaged)
        for case, (fault, file) in cohort.damaged.items():
            assert [line for line in lines if line.startswith(f"  {case}: {file}: ") and fault.text in line], lines
        assert not list(tmp_path.glob("models/*.pt"))


def evaluate(run_bundle: Callable, bundle: Path, source: Path, ckpt_dir: Path, out: Path) -> int:
    settings = {"device": "cpu", "num_workers": 0, "pictures": 0, "subset": "all", "cache_dir": out / "cache"}
    paths = {"dataset_dir": source, "ckpt_dir": ckpt_dir, "output_dir": out}
    configs = ("train.json", "sample.json", "evaluate.json")
    return run_bundle(bundle, "run", *configs, **paths, **settings).returncode


def predict(run_bundle: Callable, bundle: Path, cases: list[dict], ckpt_dir: Path, out: Path) -> int:
    out.mkdir()
    source = out.parent / "list.json"
    source.write_text(json.dumps([{"case": case["case"], "image": case["image"]} for case in cases]))
    settings = {"device": "cpu", "num_workers": 0, "pictures": 0}
    paths = {"dataset_dir": source, "ckpt_dir": ckpt_dir, "output_dir": out}
    return run_bundle(bundle, "run", "inference.json", "sample.json", **paths, **settings).returncode


def failures(out: Path) -> dict[str, dict[str, str]]:
    return {row["case"]: row for row in json.loads((out / "failures.json").read_text())}


def assert_named(cohort: Cohort, out: Path) -> None:
    """Each damaged case, and no other, is listed with its file and its fault."""
    found = failures(out)
    assert sorted(found) == sorted(cohort.damaged)
    for case, (fault, file) in cohort.damaged.items():
        assert file in f"{found[case]['path']}: {found[case]['reason']}", found[case]
        assert fault.text in found[case]["reason"], found[case]


@pytest.mark.slow_but_for("vox2vox")
def test_evaluation_names_every_fault_and_measures_the_other_cases(
    cohort: Cohort, bundle: Path, trained: Path, run_bundle, tmp_path: Path
) -> None:
    assert evaluate(run_bundle, bundle, cohort.folder, trained / "models", tmp_path / "out") == 1
    assert_named(cohort, tmp_path / "out")
    measured = json.loads((tmp_path / "out/metrics.json").read_text())["cases"]
    assert cohort.good in str(measured)
    assert not [case for case in cohort.damaged if case in str(measured)]


@pytest.mark.slow_but_for("vox2vox")
@pytest.mark.parametrize("cohort", [names for names in COHORTS if COHORTS[names][0] in IMAGES], indirect=True)
def test_inference_names_every_fault_and_predicts_the_other_cases(
    cohort: Cohort, bundle: Path, trained: Path, run_bundle, tmp_path: Path
) -> None:
    assert predict(run_bundle, bundle, cohort.cases, trained / "models", tmp_path / "out") == 1
    assert_named(cohort, tmp_path / "out")
    assert [path.name.split("_seg.")[0] for path in tmp_path.glob("out/*_seg.*")] == [cohort.good]


@pytest.fixture(scope="module")
def listed(bundle: Path, sample_data: Path) -> list[dict]:
    return LAYOUTS[json.loads((bundle / "configs/plan.json").read_text())["layout"]](sample_data).cases


@pytest.fixture(scope="module")
def broken(trained: Path, tmp_path_factory) -> Path:
    """The folder of weights so large that the answer is not finite."""
    folder = Path(shutil.copytree(trained / "models", tmp_path_factory.mktemp("broken") / "models"))
    weights = torch.load(folder / "model.pt", weights_only=True)
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            weights[name] = tensor.float() / tensor.abs().max().float().clamp(min=1e-12) * 3e38
    torch.save(weights, folder / "model.pt")
    return folder


@pytest.mark.slow_but_for("vox2vox")
def test_an_answer_that_is_not_finite_is_neither_measured_nor_written(
    bundle: Path, listed: list[dict], sample_data: Path, broken: Path, run_bundle, tmp_path: Path
) -> None:
    assert evaluate(run_bundle, bundle, sample_data, broken, tmp_path / "evaluation") == 1
    assert predict(run_bundle, bundle, listed, broken, tmp_path / "predictions") == 1
    for out in ("evaluation", "predictions"):
        found = failures(tmp_path / out)
        assert sorted(found) == sorted(case["case"] for case in listed)
        assert all("the network's output is not finite" in row["reason"] for row in found.values())
    assert not list(tmp_path.glob("predictions/*_seg.*"))


@pytest.mark.slow_but_for("vox2vox")
def test_an_answer_lies_where_its_image_says_by_both_matrices(
    bundle: Path, listed: list[dict], trained: Path, run_bundle, tmp_path: Path
) -> None:
    import itk

    images = []
    for file in files_of(listed[0]["image"]):
        volume, affine = volume_of(file)
        image = nibabel.Nifti1Image(volume[0] if len(volume) == 1 else np.moveaxis(volume, 0, -1), affine)
        turned = affine.copy()
        turned[:3, 3] += (3, -2, 5)  # mm
        image.set_qform(turned, code=2)
        image.set_sform(affine, code=4)
        image.header.set_xyzt_units("mm", "sec")
        images.append(str(tmp_path / f"a{len(images)}.nii.gz"))
        nibabel.save(image, images[-1])
    case = {"case": "a", "image": images if len(images) > 1 else images[0]}
    assert predict(run_bundle, bundle, [case], trained / "models", tmp_path / "out") == 0
    image, answer = nibabel.load(images[0]), nibabel.load(tmp_path / "out/a_seg.nii.gz")
    assert answer.shape == image.shape[:3]
    assert (answer.header["qform_code"], answer.header["sform_code"]) == (2, 4)
    np.testing.assert_array_equal(answer.get_qform(), image.get_qform())
    np.testing.assert_array_equal(answer.get_sform(), image.get_sform())
    assert answer.header.get_xyzt_units()[0] == "mm"
    seen = [itk.imread(str(path)) for path in (images[0], tmp_path / "out/a_seg.nii.gz")]
    for question in ("GetOrigin", "GetSpacing", "GetDirection"):
        of_image, of_answer = (np.asarray(getattr(volume, question)()) for volume in seen)
        n = of_answer.shape
        np.testing.assert_array_equal(of_answer, of_image[tuple(slice(side) for side in n)])
