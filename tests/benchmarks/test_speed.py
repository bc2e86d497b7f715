"""The speed benchmark finds every bundle by itself, and compares like with like."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from benchmarks.alternatives import DeepDiceCE, dynunet
from benchmarks.bundles import bundle_names
from benchmarks.machine import describe_machine
from benchmarks.speed import __main__ as command
from benchmarks.speed import worker
from benchmarks.speed.__main__ import benchmark
from benchmarks.speed.answers import answer_with_label
from benchmarks.speed.report import markdown, slower, write_report
from benchmarks.speed.scenario import Scenario
from benchmarks.speed.sides import PLAIN, training_step, whole_case, with_stock_postprocessing
from common import kernels
from common.datasets import labeled_cases


@pytest.fixture
def one_case(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Scenarios of a single case; afterwards the kernels are switched on again."""
    monkeypatch.setattr("benchmarks.speed.scenario.N_CASES", 1)
    yield
    kernels.use(True)


def row(seconds: float, **changes: object) -> dict:
    """A row of a report."""
    return {
        "device": "cpu",
        "bundle": "oss_net",
        "scale": 1.0,
        "size": [256, 256, 160],
        "kind": "step",
        "side": "bundle",
        "seconds": seconds,
        "all_seconds": [seconds],
        "peak_mib": 100.0,
        **changes,
    }


def cells(text: str) -> str:
    """Text whose tables are not padded."""
    return re.sub(" +", " ", text)


def report(*rows: dict, cpu: str = "one") -> dict:
    """A report of a machine."""
    return {
        "machine": {"cpu": cpu, "cores": 2, "memory_gib": 1, "gpu": None},
        "quick": False,
        "rows": [*rows],
    }


@pytest.mark.parametrize("name", bundle_names())
def test_every_bundle_says_in_its_configs_on_what_it_is_measured(name: str, tmp_path: Path) -> None:
    full, half = (Scenario(name, scale, "cpu", str(tmp_path)) for scale in (1.0, 0.5))
    assert all(small < large for small, large in zip(half.size, full.size, strict=True))
    # Where points are found depends on values; otherwise shapes are enough.
    with torch.device("cpu" if name == "oss_net" else "meta"), torch.no_grad(), kernels.stock():
        network = half.training().get_parsed_content("network_def").eval()
        # Asked for no points, OSS-Net answers for every voxel.
        points = [torch.zeros(1, 1, 3)] if "points" in inspect.signature(network.forward).parameters else []
        assert len(network(torch.zeros(1, half.channels[0], *half.size), *points)) == 1


def test_a_smaller_size_is_one_that_the_network_takes(tmp_path: Path) -> None:
    scenario = Scenario("vnet_left_atrium", 0.5, "cpu", str(tmp_path))  # of 96 x 144 x 224, in multiples of 16
    assert scenario.size == [48, 80, 112]


@pytest.mark.slow
def test_the_bundles_step_stands_beside_the_plain_one_and_two_networks_of_monai(tmp_path: Path) -> None:
    benchmark("vnet_left_atrium", kinds="step", quick=True, output=str(tmp_path))
    rows = json.loads((tmp_path / "speed.json").read_text())["rows"]
    seconds = {row["side"]: row["seconds"] for row in rows}
    assert list(seconds) == ["bundle", "plain", "dynunet", "segresnet"]
    assert all(row["ratio"] == pytest.approx(seconds["bundle"] / row["seconds"]) for row in rows)
    assert all(row["peak_mib"] > 50 for row in rows)
    assert {path.name for path in tmp_path.iterdir()} == {"speed.json", "speed.md", "speed_summary.md", "speed.png"}


def test_a_second_run_replaces_what_it_measures_and_keeps_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([4.0, 3.0, 2.0])

    def run(kind: str, side: str, scenario: Scenario) -> dict:
        return {} if kind == "prepare" else {"seconds": next(seconds), "peak_mib": 1.0}

    monkeypatch.setattr(command, "_run", run)
    monkeypatch.setattr(command, "SIDES", {"step": ("bundle",), "case": ("bundle",)})
    settings = {"sizes": 1, "repeats": 1, "output": str(tmp_path)}
    benchmark("oss_net", kinds="case", **settings)
    (tmp_path / "work_of_a_killed_run" / "models").mkdir(parents=True)
    benchmark("oss_net", kinds="step", **settings)
    assert list(tmp_path.glob("work*")) == []
    benchmark("oss_net", kinds="case", **settings)
    rows = json.loads((tmp_path / "speed.json").read_text())["rows"]
    assert [(row["kind"], row["seconds"]) for row in rows] == [("step", 3.0), ("case", 2.0)]
    with pytest.raises(SystemExit, match="another machine"):
        benchmark("oss_net", kinds="case", quick=True, output=str(tmp_path))


def test_some_sides_may_be_measured_again_and_ratios_between_commits_are_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"bundle": 4.0, "plain": 8.0, "dynunet": 16.0, "segresnet": 2.0}
    machine = command.describe_machine()

    def run(kind: str, side: str, scenario: Scenario) -> dict:
        return {} if kind == "prepare" else {"seconds": seconds[side], "peak_mib": 1.0}

    monkeypatch.setattr(command, "_run", run)
    settings = {"kinds": "step", "sizes": 1, "repeats": 1, "output": str(tmp_path)}
    for commit, sides in (("one", command.ALL_SIDES), ("two", "plain,bundle")):
        monkeypatch.setattr(command, "describe_machine", lambda commit=commit: {**machine, "commit": commit})
        benchmark("vox2vox", sides=sides, **settings)
        seconds["bundle"] = 2.0
    rows = json.loads((tmp_path / "speed.json").read_text())["rows"]
    assert [(row["side"], row["ratio"]) for row in rows] == [
        ("bundle", 1.0),
        ("plain", 0.25),
        ("dynunet", 0.125),
        ("segresnet", 1.0),
    ]
    text = cells((tmp_path / "speed.md").read_text())
    assert "| 2 | 0.25 | 0.12* | 1.00* |" in text
    assert "| plain | 8 | 1 | 0.25 |" in text
    assert "| dynunet | 16 | 1 | 0.12* |" in text
    with pytest.raises(SystemExit, match="--sides nnunet: there is none; choose from bundle, plain, dynunet"):
        benchmark("vox2vox", sides="plain,nnunet", **settings)


def test_what_is_long_is_measured_once_and_what_failed_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"bundle": 1.0, "plain": 2 * command.LONG_S}
    tried: list[str] = []

    def run(kind: str, side: str, scenario: Scenario) -> dict:
        tried.append(side)
        return {"seconds": seconds[side], "peak_mib": 1.0} if side in seconds else {"error": "out of memory"}

    monkeypatch.setattr(command, "_run", run)
    failed = {("step", "segresnet")}
    rows = command.measure("step", Scenario("oss_net", 1.0, "cpu", str(tmp_path)), 3, failed)
    assert tried == ["bundle", "plain", "dynunet", "bundle", "bundle"]
    assert [len(row.get("all_seconds", [])) for row in rows] == [3, 1, 0, 0]
    assert [row.get("error") for row in rows] == [None, None, "out of memory", "failed at a smaller size"]
    assert failed == {("step", "segresnet"), ("step", "dynunet")}


def test_only_the_bundles_sides_reuse_freed_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured, kept = [], []
    monkeypatch.setattr(worker, "reuse_freed_memory", lambda device: kept.append(measured[-1]))
    monkeypatch.setattr(worker, "loader", lambda side, scenario: {})
    scenario = asdict(Scenario("vox2vox", 1.0, "cpu", str(tmp_path)))
    for side in worker.SIDES["loader"]:
        measured.append(side)
        worker.measure({"kind": "loader", "side": side, "scenario": scenario, "began": 0.0})
    assert (measured, kept) == (["bundle", "bundle, warm cache", "plain"], ["bundle", "bundle, warm cache"])


@pytest.mark.parametrize("name", [pytest.param("oss_net", marks=pytest.mark.slow), "vox2vox"])
def test_the_plain_step_trains_in_contiguous_memory_with_stock_operations(
    name: str, tmp_path: Path, one_case: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = Scenario(name, 1.0, "cpu", str(tmp_path), quick=True)
    scenario.prepare()
    built = []
    own = scenario.training
    monkeypatch.setattr(Scenario, "training", lambda self, **values: built.append(own(**values)) or built[-1])
    step = training_step("plain", scenario, scenario.batch())
    network = built[-1].get_parsed_content("network")
    before = [parameter.detach().clone() for parameter in network.parameters()]
    step()
    assert not kernels.enabled()
    assert all(parameter.is_contiguous() and parameter.dtype == torch.float32 for parameter in network.parameters())
    changed = [not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True)]
    assert sum(changed) > len(changed) / 2


def test_the_plain_loop_learns_what_the_bundles_trainer_learns(
    tmp_path: Path, one_case: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = Scenario("vox2vox", 1.0, "cpu", str(tmp_path), quick=True)
    scenario.prepare()
    own, learnt = scenario.training, []
    for side in ("plain", "bundle"):
        torch.manual_seed(0)
        built = own(**PLAIN)
        monkeypatch.setattr(Scenario, "training", lambda self, built=built, **values: built)
        step = training_step(side, scenario, scenario.batch())
        torch.manual_seed(1)  # of dropout
        step()
        networks = [built.get_parsed_content(name) for name in ("network", "discriminator")]
        learnt.append([torch.cat([p.detach().flatten() for p in network.parameters()]) for network in networks])
    for plain, bundle in zip(*learnt, strict=True):
        # Adam's first step is the gradient's sign: where it is nearly zero, rounding decides.
        assert torch.isclose(plain, bundle, rtol=0, atol=1e-5).float().mean() > 0.99


@pytest.mark.parametrize("side", ["bundle", "plain", "segresnet"])
def test_a_whole_case_is_measured_from_its_file_to_the_answer(
    side: str, tmp_path: Path, one_case: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "reuse_freed_memory", lambda device: None)
    scenario = Scenario("vox2vox", 1.0, "cpu", str(tmp_path), quick=True)
    scenario.write_cases()
    found = worker.measure({"kind": "case", "side": side, "scenario": asdict(scenario), "began": 0.0})
    assert found["seconds"] > 0 and found["peak_mib"] > 50
    assert found["patches"] > 0
    assert "postprocessing" in found["stages"], found["stages"]


def test_the_dynunet_is_nnunets_for_128_cubed() -> None:
    network = dynunet(1, 3, (128, 128, 128))  # five poolings down to 4 x 4 x 4, 32 to 320 channels
    widths = [
        block.conv1.conv.out_channels for block in (network.input_block, *network.downsamples, network.bottleneck)
    ]
    assert widths == [32, 64, 128, 256, 320, 320]


def test_deep_outputs_weigh_half_of_the_one_before() -> None:
    loss, label = DeepDiceCE(), torch.randint(0, 2, (1, 1, 8, 8, 8))
    one, other = torch.randn(1, 2, 8, 8, 8), torch.randn(1, 2, 8, 8, 8)
    expected = loss(one, label) + 0.5 * loss(other, label)
    torch.testing.assert_close(loss(torch.stack([one, other], 1), label), expected)


def test_an_occupancy_network_is_asked_as_a_trained_one_would_be(tmp_path: Path, one_case: None) -> None:
    scenario = Scenario("oss_net", 1.0, "cpu", str(tmp_path), quick=True)
    scenario.write_cases()
    evaluator = whole_case("plain", scenario, tmp_path / "out")
    answer_with_label(evaluator.network, evaluator.inferer.inferer, scenario)
    evaluator.run()
    case = labeled_cases("brats2020", scenario.data)[0]
    answer, label = (
        np.asarray(nib.load(path).dataobj) > 0 for path in (next((tmp_path / "out").rglob("*.nii.gz")), case["label"])
    )
    assert (answer == label).mean() > 0.999  # the search may miss a voxel
    assert sum(evaluator.inferer.inferer.evaluated[0]) < label.size / 2


# At the border of its crop the U-Net's bundle takes what is missing to 1 for the background's probability.
@pytest.mark.parametrize(
    ("name", "differ"),
    [pytest.param("unet_liver_tumor", 0.05, marks=pytest.mark.slow), ("vnet_left_atrium", 1e-3), ("vox2vox", 1e-3)],
)
def test_the_plain_way_back_to_the_files_grid_gives_the_same_labels(
    name: str, differ: float, tmp_path: Path, one_case: None
) -> None:
    scenario = Scenario(name, 1.0, "cpu", str(tmp_path), quick=True)
    scenario.write_cases()
    parser = scenario.inference(output_dir=str(tmp_path / "out"), amp=False)
    steps = parser["postprocessing"]["transforms"]
    ours = steps[: 1 + next(n for n, step in enumerate(steps) if "LabelsOnOriginalGridd" in str(step))]
    stock = with_stock_postprocessing(ours, scenario.formats[1]["num_channels"])
    assert "LabelsOnOriginalGridd" not in str(stock)
    components = [step for step in with_stock_postprocessing(steps, 1) if "KeepLargest" in str(step)]
    assert [step["_target_"] for step in components] == ["KeepLargestConnectedComponentd"] * (
        "KeepLargest" in str(steps)
    )
    for key, steps in (("postprocessing", []), ("ours", ours), ("stock", stock)):
        parser[key] = {"_target_": "Compose", "transforms": steps}
    torch.manual_seed(0)
    evaluator = parser.get_parsed_content("evaluator")
    evaluator.run()
    (case,) = evaluator.state.output
    answers = [parser.get_parsed_content(key)(dict(case))["pred"] for key in ("ours", "stock")]
    assert len(answers[0].unique()) > 1
    assert (answers[0] != answers[1]).float().mean() < differ


def test_a_report_is_drawn_while_only_some_kinds_of_some_bundles_are_measured(tmp_path: Path) -> None:
    rows = [row(1.0), row(2.0, side="plain"), row(3.0, bundle="vox2vox", kind="case")]
    rows.append(row(4.0, side="plain", bundle="unet_liver_tumor"))
    write_report({"machine": describe_machine(), "quick": False, "rows": rows}, tmp_path)
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_a_whole_case_says_what_was_evaluated() -> None:
    rows = [row(1.0, kind="case", bundle=f"of{n}") | {"patches": n, "peak_mib": 1.0} for n in (1, 48)]
    text = cells(markdown(report(*rows)))
    assert "| 1 patch |" in text
    assert "| 48 patches |" in text


def test_what_became_slower_is_named() -> None:
    old, new = report(row(1.0), row(1.0, kind="case")), report(row(1.05), row(1.2, kind="case"))
    assert slower(new, old) == (["Whole case, oss_net x1, bundle, cpu: 1 to 1.2 s"], 2)


def test_what_can_no_longer_be_measured_is_named_and_nothing_in_common_is_no_comfort() -> None:
    failed = {key: value for key, value in row(0.0).items() if key != "seconds"} | {"error": "out of memory"}
    assert slower(report(failed), report(row(1.0))) == (["Training step, oss_net x1, bundle, cpu: out of memory"], 1)
    assert slower(report(row(9.0, scale=0.5)), report(row(1.0))) == ([], 0)
    assert slower(report(row(9.0, size=[32, 32, 32])), report(row(1.0))) == ([], 0)


def test_on_another_machine_ratios_to_the_plain_side_are_compared() -> None:
    old = report(row(1.0), row(2.0, side="plain"))
    assert slower(report(row(3.0), row(6.0, side="plain"), cpu="other"), old) == ([], 1)
    found, _ = slower(report(row(3.0), row(4.0, side="plain"), cpu="other"), old)
    assert found == ["Training step, oss_net x1, bundle, cpu: 0.5 to 0.75 of plain"]


def test_a_side_that_could_not_be_measured_says_why_in_the_table() -> None:
    failed = {key: value for key, value in row(0.0, side="dynunet").items() if key not in ("seconds", "peak_mib")}
    sides = [row(4.0, side="plain", ratio=0.25), row(1.0, side="segresnet", ratio=1.0)]
    table = cells(markdown(report(row(1.0), {**failed, "error": "out of memory"}, *sides)))
    assert "| oss_net | 256 x 256 x 160 | 1 | 0.25 | - | 1.00 | 100 | 100 |" in table
    assert "| oss_net | 256 x 256 x 160 | dynunet | out of memory |" in table
