"""What other programs change in a bundle: its cases, its loader and writer, its epochs, the folder it runs in."""

from __future__ import annotations

import ast
import builtins
import io
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.transforms import Compose, LoadImaged, SaveImaged

from common.checkpoints import load_weights
from common.datasets.layouts.registry import LAYOUTS
from common.handlers.failures import CasesFailed
from common.transforms import LoadImageAsVolumed
from tests.bundles.hosts import folders, restored_path, run, trainings, workflow
from tests.bundles.test_resume import load

REPOSITORY = Path(__file__).parents[2]
EVALUATION = ("train.json", "sample.json", "evaluate.json")
INFERENCE = ("inference.json", "sample.json")
EPOCHS = 6
STEPS = 200  # more than any warm-up has


@pytest.fixture(scope="module")
def cases(bundle: Path, sample_data: Path) -> list[dict[str, Any]]:
    """The phantoms, with their names."""
    return LAYOUTS[json.loads((bundle / "configs/plan.json").read_text())["layout"]](sample_data).cases


def unnamed(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cases as hosts give them."""
    return [{"image": case["image"], "label": case["label"]} for case in cases]


@pytest.mark.slow_but_for("vox2vox")
def test_a_training_takes_its_plan_and_its_cases_from_the_hosts_lists(
    bundle: Path, trained: Path, sample_data: Path, cases: list[dict], tmp_path: Path
) -> None:
    lists = {"train#dataset#data": unnamed(cases[1:4]), "validate#dataset#data": unnamed(cases[4:5])}
    places = folders(tmp_path / "host", trained, without=["model*", "*.json"])
    settings = {"epochs": 1, "val_interval": 1, "dataset_dir": tmp_path / "nowhere"}
    run(workflow(bundle, "train.json", "sample.json", kind="train", **settings, **places, **lists))
    state = load(places["ckpt_dir"] / "model_epoch=1.pt")
    names = [case["case"] for case in cases]
    assert (state["data"]["trained"], state["data"]["validated"]) == (names[1:4], names[4:5])
    plan = json.loads((places["ckpt_dir"] / "plan.json").read_text())
    assert plan["cases"] == names[1:4]

    places = folders(tmp_path / "split", trained, without=["model*", "*.json"])
    split = {"train": cases[1:4], "validate": cases[4:5]}
    flow = workflow(bundle, "train.json", "sample.json", kind="train", dataset_dir=sample_data, split=split, **places)
    with restored_path():
        flow.initialize()
        expected = dict(flow.parser.get_parsed_content("recorded"))
    of_the_folder = {"demonstration_only", "inputs_hash"}
    assert {key: plan[key] for key in plan.keys() - of_the_folder} == {
        key: expected[key] for key in expected.keys() - of_the_folder
    }


@pytest.mark.slow_but_for("vox2vox")
def test_an_evaluation_measures_the_hosts_cases_under_the_names_of_their_images(
    bundle: Path, trained: Path, cases: list[dict], tmp_path: Path
) -> None:
    places = folders(tmp_path, trained) | {"dataset_dir": tmp_path / "nowhere"}
    run(workflow(bundle, *EVALUATION, kind="train", **places, **{"validate#dataset#data": unnamed(cases[:1])}))
    rows = json.loads((tmp_path / "output/metrics.json").read_text())["cases"]
    assert {row["case"] for row in rows} == {cases[0]["case"]}


@pytest.fixture(scope="module")
def predicted(bundle: Path, trained: Path, cases: list[dict], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What inference writes for a host's list of one image."""
    folder = tmp_path_factory.mktemp("predicted")
    places = {"ckpt_dir": trained / "models", "output_dir": folder, "dataset_dir": folder / "nowhere"}
    run(workflow(bundle, *INFERENCE, kind="infer", **places, **{"dataset#data": [{"image": cases[0]["image"]}]}))
    (answer,) = folder.glob("*_seg.*")
    return answer


@pytest.mark.slow_but_for("vox2vox")
def test_an_inference_names_its_answer_after_the_hosts_image(predicted: Path, cases: list[dict]) -> None:
    assert predicted.name.split(".")[0] == f"{cases[0]['case']}_seg"


@pytest.mark.slow_but_for("vox2vox")
def test_a_host_that_loads_and_writes_itself_gets_the_same_answer(
    bundle: Path, trained: Path, cases: list[dict], predicted: Path, tmp_path: Path
) -> None:
    places = {"ckpt_dir": trained / "models", "output_dir": tmp_path / "out", "dataset_dir": tmp_path / "nowhere"}
    parser = workflow(bundle, *INFERENCE, kind="infer", **places).parser
    parser.parse(reset=True)
    before = parser.get_parsed_content("preprocessing").transforms
    after = parser.get_parsed_content("postprocessing").transforms
    network, inferer = parser.get_parsed_content("network"), parser.get_parsed_content("inferer")
    load_weights(trained / "models/model.pt", network)
    loader = next(step for step in before if isinstance(step, LoadImaged))
    data = Compose([step for step in before if not isinstance(step, LoadImaged)])(
        {"image": loader({"image": cases[0]["image"]})["image"]}
    )
    with torch.no_grad():
        answer = inferer(data["image"][None], network.eval())[0]
    pred = Compose([step for step in after if not isinstance(step, SaveImaged)])({**data, "pred": answer})["pred"]
    assert not (tmp_path / "out").exists()
    written = LoadImageAsVolumed("label")({"label": predicted})["label"]
    np.testing.assert_array_equal(np.asarray(pred) > 0, np.asarray(written) > 0)
    torch.testing.assert_close(pred.affine.cpu(), written.affine, rtol=0, atol=1e-4)


def test_loader_and_writer_are_found_at_the_top_by_class_and_by_name(
    bundle: Path, trained: Path, sample_data: Path, tmp_path: Path
) -> None:
    places = folders(tmp_path, trained) | {"dataset_dir": sample_data}
    found = {}
    for names in [*trainings(bundle), EVALUATION, INFERENCE]:
        settings = {key: value for key, value in places.items() if names != INFERENCE or key != "cache_dir"}
        flow = workflow(bundle, *names, kind="infer" if names == INFERENCE else "train", **settings)
        flow.parser.parse(reset=True)
        if names == INFERENCE:
            found["written"] = flow.parser.get_parsed_content("postprocessing").transforms
        parts = ["preprocessing"] if names == INFERENCE else ["train#preprocessing", "validate#preprocessing"]
        for part in parts:
            found[f"{names} {part}"] = flow.parser.get_parsed_content(part).transforms
    for place, steps in found.items():
        kind, name = (SaveImaged, "SaveImage") if place == "written" else (LoadImaged, "LoadImage")
        of_kind = [step for step in steps if isinstance(step, kind)]
        assert len(of_kind) == 1, place
        assert of_kind == [step for step in steps if name in type(step).__name__], place


def test_initializing_reads_and_writes_no_file_whatever_folder_a_host_is_in(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    opened: list[str] = []
    real = io.open

    def recording(file: Any, *args: Any, **kwargs: Any) -> Any:
        opened.append(str(file))
        return real(file, *args, **kwargs)

    for names in [*trainings(bundle), EVALUATION, INFERENCE]:
        places = folders(tmp_path / "nothing") | {"dataset_dir": tmp_path / "nowhere"}
        if names == INFERENCE:
            del places["cache_dir"]
        flow = workflow(bundle, *names, kind="infer" if names == INFERENCE else "train", **places)
        with restored_path(), monkeypatch.context() as patch:
            patch.setattr(builtins, "open", recording)
            patch.setattr(io, "open", recording)
            flow.initialize()
    assert [path for path in opened if path.endswith((".json", ".pt", ".nii.gz", ".nrrd", ".txt"))] == []
    assert [path.name for path in tmp_path.rglob("*")] == ["elsewhere"]


@pytest.mark.slow_but_for("vox2vox")
def test_a_failed_case_raises_at_the_end_and_ends_no_other_program(bundle: Path, trained: Path, tmp_path: Path) -> None:
    places = {"ckpt_dir": trained / "models", "output_dir": tmp_path / "out", "dataset_dir": tmp_path}
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4), np.float32), np.eye(4)), tmp_path / "flat.nii.gz")
    images = {"dataset#data": [{"image": str(tmp_path / "flat.nii.gz")}]}
    flow = workflow(bundle, *INFERENCE, kind="infer", **places, **images)
    with restored_path():
        flow.initialize()
        flow.run()
        with pytest.raises(RuntimeError) as end:  # MONAI's, of the expression
            flow.finalize()
    assert isinstance(end.value.__cause__, CasesFailed)
    assert str(end.value.__cause__).startswith("1 of 1 case failed")
    (failure,) = json.loads((tmp_path / "out/failures.json").read_text())
    assert failure["case"] == "flat"


def test_only_command_lines_end_a_process() -> None:
    ending = set()
    for path in (REPOSITORY / "common").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            raised = ast.unparse(node.exc) if isinstance(node, ast.Raise) and node.exc else ""
            if called in ("sys.exit", "exit", "quit", "os._exit") or raised.startswith("SystemExit"):
                ending.add(str(path.relative_to(REPOSITORY)))
    assert ending == {"common/command_line.py", "common/launch.py", "common/checkpoints/__main__.py"}


def rates(flow: ConfigWorkflow) -> list[float]:
    """The learning rates of a schedule's first steps."""
    with restored_path():
        flow.initialize()
    schedule = flow.parser.get_parsed_content("lr_scheduler")
    found = []
    for _ in range(STEPS):
        found.append(schedule.get_last_lr()[0])
        schedule.step()
    return found


@pytest.mark.slow_but_for("vox2vox", "unet_liver_tumor")
def test_schedules_are_as_long_as_the_host_says(bundle: Path, trained: Path, sample_data: Path, tmp_path: Path) -> None:
    places = folders(tmp_path, trained) | {"dataset_dir": sample_data}
    for names in trainings(bundle):
        hosted, knob, longer = (
            workflow(bundle, *names, kind="train", **places, **epochs)
            for epochs in ({}, {"epochs": EPOCHS}, {"epochs": 4 * EPOCHS})
        )
        hosted.max_epochs = EPOCHS
        expected = rates(knob)
        assert rates(hosted) == expected, names
        if len(set(expected)) > 1:  # Vox2Vox's never changes
            assert rates(longer) != expected, names
