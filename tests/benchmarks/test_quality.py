"""The quality benchmark: the same for all networks, restartable, and honest about chance."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from benchmarks.alternatives import ALTERNATIVES, segresnet
from benchmarks.bundles import bundle_names
from benchmarks.quality import fold
from benchmarks.quality.__main__ import benchmark
from benchmarks.quality.fold import Budget, LearningCurve, run_fold
from benchmarks.quality.networks import GRID, RECIPES, classes_of_logits, contestant
from benchmarks.quality.report import confidence_interval, holm, markdown, paired_tests


@pytest.fixture
def hippocampi(tmp_path: Path) -> Path:
    """Five cases in the Decathlon's layout: a bright ellipsoid, whose front half is class 1."""
    folder, rng = tmp_path / "Task04_Hippocampus", np.random.default_rng(0)
    z, y, x = np.ogrid[-1:1:20j, -1:1:24j, -1:1:16j]
    label = np.where(z**2 + y**2 + x**2 < 0.5, np.where(y > 0, 1, 2), 0).astype(np.uint8)
    listing = []
    for kind in ("images", "labels"):
        (folder / f"{kind}Tr").mkdir(parents=True)
    for k in range(5):
        names = {"image": f"imagesTr/h_{k}.nii.gz", "label": f"labelsTr/h_{k}.nii.gz"}
        image = (100 * (label > 0) + rng.normal(0, 20, label.shape)).astype(np.float32)
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / names["image"])
        nib.save(nib.Nifti1Image(label, np.eye(4)), folder / names["label"])
        listing.append(names)
    (folder / "dataset.json").write_text(json.dumps({"training": listing, "test": []}))
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow SegResNet, float32, and a grid that just holds the cases."""
    monkeypatch.setattr(fold, "GRID", (16, 24, 24))
    monkeypatch.setitem(ALTERNATIVES, "segresnet", partial(segresnet, width=8))
    monkeypatch.setattr(fold, "contestant", partial(contestant, amp=False))


def cells(text: str) -> str:
    """Text whose tables are not padded."""
    return re.sub(" +", " ", text)


def result(name: str, dice: list[float]) -> dict:
    """A result file with these Dice, one for each case."""
    rows = [{"case": f"case {k}", "structure": "whole", "dice": value} for k, value in enumerate(dice)]
    return {"network": name, "fold": 0, "rows": rows}


def test_every_bundle_takes_part() -> None:
    assert set(bundle_names()) <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_network_segments_the_common_grid(name: str) -> None:
    own = contestant(name, device="cpu", class_weights=[0.4, 5.0, 5.0])
    own.network.eval()
    with torch.no_grad():
        answer = own.recipe.answer(own.inferer(torch.randn(1, 1, *GRID), own.network)[0])
    assert answer.shape == (1, *GRID)
    assert set(answer.unique().tolist()) <= ({0, 1, 2} if own.tells_classes else {0, 1})


def test_a_fold_that_was_killed_ends_as_one_that_was_not(
    hippocampi: Path, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"dataset_dir": str(hippocampi), "budget": Budget(2, batch_size=1), "device": "cpu"}
    expected = run_fold("segresnet", 0, folder=tmp_path / "whole", **arguments)

    with monkeypatch.context() as patched:
        note = LearningCurve._note
        patched.setattr(LearningCurve, "_note", lambda self, engine: 1 / (1 - len(self.points)) and note(self, engine))
        with pytest.raises(ZeroDivisionError):
            run_fold("segresnet", 0, folder=tmp_path / "killed", **arguments)
    resumed = run_fold("segresnet", 0, folder=tmp_path / "killed", **arguments)
    assert [point["loss"] for point in resumed["curve"]] == [point["loss"] for point in expected["curve"]]
    assert resumed["rows"] == expected["rows"]


def test_what_is_done_is_not_done_again_and_stands_in_the_tables(
    hippocampi: Path, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = partial(benchmark, str(hippocampi), networks="segresnet", steps=1, output=str(tmp_path / "out"))
    command()
    monkeypatch.setattr(fold, "train", None)
    command()
    tables = cells((tmp_path / "out/quality.md").read_text())
    assert tables.count("| segresnet | 1 |") == 3  # one case: whole, anterior, posterior
    published = [line for line in tables.splitlines() if line.startswith("| nnU-Net")]
    assert [line.count("|") for line in published] == [7, 7]  # as the rows above
    assert "arxiv.org/abs/1809.10486" in tables
    assert (tmp_path / "out/quality.png").stat().st_size > 0


def test_several_folds_are_pooled_and_shown_one_by_one() -> None:
    machine = {"gpu": None, "cpu": "one", "cores": 2, "torch": "2", "monai": "1", "commit": "abc"}

    def of_fold(fold: int, name: str, dice: list[float]) -> dict:
        rows = [
            {**row, "case": f"{fold} {row['case']}", "missed": False, "hd95_mm": 1.0, "nsd": 0.9}
            for row in result(name, dice)["rows"]
        ]
        settings = {"fold": fold, "steps": 5, "budget": {"batch_size": 2}, "machine": machine}
        return {"network": name, "rows": rows, "train_minutes": 1.0, "parameters": 7, **settings}

    results = [of_fold(0, "oss_net", [0.8, 0.9]), of_fold(1, "oss_net", [0.6]), of_fold(0, "segresnet", [0.7])]
    tables = cells(markdown(results))
    assert tables.startswith("Folds 0, 1 of 5;")
    assert "| oss_net | 3 | 0 | 0.767 (" in tables
    assert "| oss_net | 0.850 | 0.600 |" in tables
    assert "| segresnet | 0.700 | - |" in tables
    alone = markdown(results[:1])
    assert alone.startswith("Fold 0 of 5;")
    assert "Dice of each fold" not in alone


def test_a_result_of_another_budget_is_not_taken_for_this_one(tmp_path: Path) -> None:
    done = {"network": "segresnet", "fold": 0, "budget": vars(Budget(5))}
    (tmp_path / "segresnet_fold0.json").write_text(json.dumps(done))
    with pytest.raises(ValueError, match=r"segresnet_fold0\.json: was made with"):
        run_fold("segresnet", 0, dataset_dir="", folder=tmp_path, budget=Budget(6), device="cpu")
    with pytest.raises(SystemExit, match="another budget"):
        benchmark("", networks="dynunet", steps=6, output=str(tmp_path))
    assert len({Budget(*values).folder("dynunet", 0) for values in ((5,), (6,), (5, 1), (5, 2, 8, 20))}) == 4


def test_steps_are_divided_into_equal_rounds() -> None:
    with pytest.raises(ValueError, match="multiple of it, got 15"):
        Budget(15)


def test_the_interval_of_a_mean_holds_95_of_100_means_of_cases_drawn_with_replacement() -> None:
    rng = np.random.default_rng(1)
    values = rng.beta(9, 1, 40)
    means = values[rng.integers(0, 40, (20000, 40))].mean(axis=1)
    assert confidence_interval(values) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.003)
    assert confidence_interval([0.7]) == (0.7, 0.7)


def test_p_values_are_corrected_for_their_number() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # times 3, then 2, then 1, never falling


def test_networks_are_compared_case_by_case() -> None:
    better = result("vnet_left_atrium", [0.81, 0.72, 0.93, 0.64, 0.85, 0.76])
    (test,) = paired_tests([result("dynunet", [0.80, 0.70, 0.90, 0.60, 0.80, 0.70]), better], against="dynunet")
    assert test["difference"] == pytest.approx(0.21 / 6)
    assert test["p"] == pytest.approx(2 / 2**6)  # all six signs alike, two-sided


def test_overlapping_classes_are_told_apart_by_the_larger_logit() -> None:
    logits = torch.tensor([[-1.0, 2.0, 1.0], [-2.0, 1.0, 3.0]]).view(2, 1, 1, 3)
    assert classes_of_logits(logits).flatten().tolist() == [0, 1, 2]
