"""A cohort goes on after a bad case, and remembers it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.engines import IterationEvents
from monai.transforms import AsDiscreted, Compose
from torch import Tensor, nn

from common.engines import CohortDataset, FaultTolerantEvaluator
from common.engines.cohort import file_at_fault
from common.handlers import CaseCost, CaseReport, FailureLog, PictureWriter
from common.handlers.failures import CasesFailed
from common.transforms import SaveImageAsPredictiond, load_on_grid


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


def predict(
    cases: list[dict[str, str]],
    output_dir: Path,
    *,
    workers: int = 0,
    network: nn.Module | None = None,
    loading: Sequence[Callable] = (),
    finishing: Sequence[Callable] = (),
    handlers: Sequence[Any] = (),
) -> FailureLog:
    """Predict; ``loading`` and ``finishing`` are further transforms before the network and before the file."""
    failures = FailureLog(output_dir)
    dataset = CohortDataset(cases, Compose([load_on_grid(["image"], axcodes="RAS"), *loading]))
    FaultTolerantEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(dataset, batch_size=1, num_workers=workers),
        network=network or Fussy(),
        postprocessing=Compose(
            [*finishing, AsDiscreted("pred", threshold=0.5), SaveImageAsPredictiond("pred", output_dir)]
        ),
        val_handlers=list(handlers),
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
    assert outputs(tmp_path / "out") == ["b_seg.nii.gz", "failures.json", "failures.log"]
    log = (tmp_path / "out/failures.log").read_text()
    assert log.startswith(f"a ({tmp_path / 'a.nii.gz'})\nTraceback (most recent call last)")
    assert 'raise RuntimeError("out of\\n memory")' in log


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
    assert failure["reason"] == f"{tmp_path / 'out/a_seg.nii.gz'}: Is a directory"
    assert outputs(tmp_path / "out") == ["a_seg.nii.gz", "b_seg.nii.gz", "failures.json"]


def test_process_ends_non_zero_after_a_failure_and_normally_without(tmp_path):
    good, bad = image(tmp_path / "a.nii.gz", 3), {"case": "b", "image": str(tmp_path / "missing.nii.gz")}
    predict([good], tmp_path / "out").exit()
    with pytest.raises(CasesFailed) as end:
        predict([good, bad], tmp_path / "out").exit()
    assert str(end.value) == f"1 of 2 cases failed, listed in {tmp_path / 'out/failures.json'}"


def test_cause_is_the_innermost_of_what_the_transforms_raised(tmp_path):
    cases = [{"case": "b", "image": str(tmp_path / "missing.nii.gz")}]
    reason = CohortDataset(cases, load_on_grid(["image"]))[0]["failure"]
    assert "missing.nii.gz" in reason
    assert "applying transform" not in reason


def test_a_cohort_without_a_case_replaces_an_earlier_runs_list_of_failures(tmp_path):
    predict([{"case": "b", "image": str(tmp_path / "missing.nii.gz")}], tmp_path / "out")
    predict([], tmp_path / "out").exit()
    assert json.loads((tmp_path / "out/failures.json").read_text()) == []


def broken(data: Any) -> Any:
    """A transform with a programming error."""
    return data["no such key"]


class Misshapen(nn.Module):
    """A network whose layers do not fit together."""

    def forward(self, x: Tensor) -> Tensor:
        return x + x[..., :2]


class Careless:
    """A handler with a programming error."""

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, lambda: [].no_such_method())


@pytest.mark.parametrize(
    ("at_fault", "reason"),
    [
        ({"loading": [broken]}, "KeyError: 'no such key'"),
        ({"loading": [broken], "workers": 1}, "KeyError: 'no such key'"),
        ({"network": Misshapen()}, "The size of tensor a (6) must match the size of tensor b (2)"),
        ({"finishing": [broken]}, "KeyError: 'no such key'"),
        ({"handlers": [Careless()]}, "AttributeError: 'list' object has no attribute 'no_such_method'"),
    ],
    ids=["loading", "loading in a worker", "network", "postprocessing", "handler"],
)
def test_a_programming_error_is_one_line_and_its_traceback_is_in_a_file(tmp_path, caplog, at_fault, reason):
    predict([image(tmp_path / "a.nii.gz", 3), image(tmp_path / "b.nii.gz", 3)], tmp_path / "out", **at_fault)
    failures = json.loads((tmp_path / "out/failures.json").read_text())
    assert [failure["case"] for failure in failures] == ["a", "b"]
    assert all(failure["reason"].startswith(reason) and "\n" not in failure["reason"] for failure in failures)
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 2 and "Traceback" not in caplog.text
    log = (tmp_path / "out/failures.log").read_text()
    assert log.count("Traceback (most recent call last)") >= 2 and Path(__file__).name in log and reason in log


@pytest.mark.parametrize("content", [b"", b"no image", "half"], ids=["empty", "text", "truncated"])
def test_a_file_that_cannot_be_read_leaves_no_traceback(tmp_path, content):
    case = image(tmp_path / "a.nii.gz", 3)
    whole = Path(case["image"]).read_bytes()
    Path(case["image"]).write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    predict([case], tmp_path / "out")
    assert outputs(tmp_path / "out") == ["failures.json"]


def test_the_tracebacks_are_those_of_the_last_run(tmp_path):
    predict([image(tmp_path / "a.nii.gz", 1)], tmp_path / "out")
    predict([image(tmp_path / "a.nii.gz", 3)], tmp_path / "out")
    assert outputs(tmp_path / "out") == ["a_seg.nii.gz", "failures.json"]


class Disk:
    """Stands for one that becomes full: of what is written, files of these names find no room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.names, self.sync = names, os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if any(name in path for name in self.names):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.sync(descriptor)


def test_a_disk_that_becomes_full_costs_the_predictions_that_found_no_room(tmp_path, monkeypatch, caplog):
    Disk(monkeypatch, "_a_seg")
    cases = [image(tmp_path / "a.nii.gz", 3), image(tmp_path / "b.nii.gz", 3)]
    failures = predict(cases, tmp_path / "out", handlers=[CaseCost(tmp_path / "out")])
    (failure,) = json.loads((tmp_path / "out/failures.json").read_text())
    assert failure["case"] == "a"
    assert failure["reason"] == f"{tmp_path / 'out/a_seg.nii.gz'}: No space left on device"
    assert outputs(tmp_path / "out") == ["b_seg.nii.gz", "costs.csv", "costs.json", "failures.json"]
    assert "Traceback" not in caplog.text
    with pytest.raises(CasesFailed, match="1 of 2 cases failed, listed in"):
        failures.exit()


REPORTS = ["failures.json", "costs.csv", "costs.json", "metrics.csv", "metrics.json", "pictures"]


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_that_finds_no_room_costs_no_other_and_ends_the_run_with_its_name(tmp_path, monkeypatch, caplog, name):
    case = image(tmp_path / "a.nii.gz", 3)
    label = nibabel.Nifti1Image((np.asarray(nibabel.load(case["image"]).dataobj) > 0).astype(np.uint8), np.eye(4))
    nibabel.save(label, tmp_path / "label.nii.gz")
    out = tmp_path / "out"
    Disk(monkeypatch, "pictures/" if name == "pictures" else name)
    handlers = [
        CaseCost(out),
        CaseReport(out, labels={"organ": 1}, label_values=[0, 1]),
        PictureWriter(out, max_cases=1),
    ]
    failures = predict([{**case, "label": str(tmp_path / "label.nii.gz")}], out, handlers=handlers)
    left = {path.name for path in out.rglob("*") if path.is_file()}
    lost = "a.png" if name == "pictures" else name
    assert left == {"a.png", "a_seg.nii.gz", *REPORTS[:-1]} - {lost}
    assert "Traceback" not in caplog.text
    with pytest.raises(CasesFailed, match=rf"^not written: {out}/{'pictures/a.png' if name == 'pictures' else name}$"):
        failures.exit()


@pytest.mark.parametrize("case", ["../x", "/x", "a/b", "..", "", "a\\b"])
def test_a_case_whose_file_would_lie_elsewhere_is_not_written(tmp_path, case):
    item = image(tmp_path / "a.nii.gz", 3)
    out = tmp_path / "deep/er/out"
    failures = predict([{**item, "case": case}], out, handlers=[PictureWriter(out, max_cases=1)])
    assert [path.name for path in out.rglob("*")] == ["failures.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "deep"]
    with pytest.raises(CasesFailed, match="1 case failed"):
        failures.exit()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/d/a_label.nii.gz: cannot be read", "/d/a_label.nii.gz"),
        ("/d/a.nii.gz: cannot be read", "/d/a.nii.gz"),
        ("/d/b.nii: the affine differs from /d/a.nii's", "/d/b.nii"),
        ("nothing", "/d/a.nii.gz"),
    ],
)
def test_the_file_at_fault_is_the_one_that_the_error_names(text, expected):
    item = {"image": ["/d/a.nii.gz", "/d/b.nii"], "label": "/d/a_label.nii.gz"}
    assert file_at_fault(ValueError(text), item) == expected


def test_a_label_whose_path_is_a_part_of_the_images_is_told_from_it():
    item = {"image": "/d/a.nii.gz", "label": "/d/a.nii"}
    assert file_at_fault(ValueError("/d/a.nii.gz: truncated"), item) == "/d/a.nii.gz"
    assert file_at_fault(ValueError("/d/a.nii: truncated"), item) == "/d/a.nii"
