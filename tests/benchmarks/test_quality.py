"""The quality benchmark: every network by its plan, restartable, and honest about chance."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.bundles import bundle_names, training_config
from benchmarks.quality import __main__ as quality
from benchmarks.quality.report import confidence_interval, holm, markdown, paired_tests, plot, read_results


def cells(text: str) -> str:
    """Text whose tables are not padded."""
    return re.sub(" +", " ", text)


def result(network: str, dice: list[float], *, data: str = "hearts", structures: tuple[str, ...] = ("atrium",)) -> dict:
    """A result with these Dice, one for each case; a case without overlap has no HD95."""
    rows = [
        {
            "case": f"case {k}",
            "fold": 0,
            "structure": structure,
            "dice": value,
            "hd95_mm": 2.0 if value else None,
            "nsd": value,
            "missed": not value,
        }
        for k, value in enumerate(dice)
        for structure in structures
    ]
    machine = {"gpu": None, "cpu": "one", "cores": 2, "bfloat16": False, "torch": "2", "monai": "1", "commit": "abc"}
    training = {"fold": 0, "epochs": 4, "steps": 40, "parameters": 7, "curve": [[2, 0.5], [4, 0.6]]}
    about = {"network": network, "data": data, "minutes": 15.0, "machine": machine}
    return {**about, "trainings": [training], "rows": rows}


def test_each_network_of_each_data_set_is_trained_by_its_plan_in_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> quality.subprocess.CompletedProcess:
        ran.append(command)
        folder = Path(next(word for word in command if word.startswith("--run=")).removeprefix("--run="))
        for fold in (0, 2):
            models = folder / f"fold_{fold}/models"
            models.mkdir(parents=True)
            plan = {"epochs": 3, "timing": {"epochs": {"steps": 10}}}
            (models / "plan.json").write_text(json.dumps(plan))
            torch.save({"layer": torch.zeros(2, 3), "bias": torch.zeros(4)}, models / "model.pt")
            for epoch, metrics in ((2, {2: 0.3}), (10, {2: 0.3, 3: 0.4})):
                state = {"objects": {"learning_curve": {"metrics": metrics}}}
                torch.save(state, models / f"model_epoch={epoch}.pt")
        row = result("", [0.5])["rows"][0]
        (folder / "evaluation").mkdir()
        (folder / "evaluation/metrics.json").write_text(json.dumps({"folds": [0, 2], "cases": [row]}))
        return quality.subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(quality.subprocess, "run", run)
    monkeypatch.setattr(quality, "describe_machine", lambda: result("", [0.5])["machine"])
    out = tmp_path / "out"
    quality.benchmark("a/hearts,b/livers", networks="oss_net,dynunet", folds=(2, 0), minutes=5, output=out)
    assert [command[4] for command in ran] == [f"--bundle={b}" for b in ("oss_net", "unet_liver_tumor") * 2]
    assert {"--cross_validate=0,2", "--minutes=10"} <= set(ran[0])  # 5 minutes for each fold
    assert not any("merge" in word for word in ran[0])
    assert any(word.endswith("benchmarks/quality/dynunet.json") for word in ran[1])
    (first, *_) = read_results(out)
    assert (first["data"], first["network"], first["trainings"][0]["parameters"]) == ("hearts", "dynunet", 10)
    assert first["trainings"][1] == {**first["trainings"][0], "fold": 2}
    assert first["trainings"][0]["curve"] == [[2, 0.3], [3, 0.4]] and first["trainings"][0]["steps"] == 30
    assert "**livers**, folds 0, 2" in (out / "quality.md").read_text()
    assert (out / "quality.png").stat().st_size > 0


def test_a_network_that_fails_does_not_cost_the_others_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "train", lambda name, *_, **__: int(name == "oss_net"))
    monkeypatch.setattr(quality, "result", lambda name, data, run, minutes: result(name, [0.5, 0.6], data=data))
    with pytest.raises(SystemExit, match=r"^failed: oss_net on hearts; their messages are above$"):
        quality.benchmark("hearts", output=tmp_path)
    done = {result["network"] for result in read_results(tmp_path)}
    assert done == {*bundle_names(), "dynunet", "segresnet"} - {"oss_net"}


def test_an_unknown_network_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"--networks unet: no such network; choose from .*, dynunet, segresnet"):
        quality.benchmark("hearts", networks="unet", output=tmp_path)


@pytest.mark.parametrize("name", quality.IN_PLACE_OF_THE_UNET)
def test_another_network_takes_the_place_of_the_unet(name: str, tmp_path: Path) -> None:
    parser = training_config("unet_liver_tumor", [f"../../../benchmarks/quality/{name}.json"])
    (tmp_path / "plan.json").write_text(json.dumps({"channels": ["T1", "T2"], "label_values": [0, 1, 5, 7]}))
    parser.update({"ckpt_dir": str(tmp_path), "patch": [16, 32, 16]})
    network, loss = parser.get_parsed_content("network_def"), parser.get_parsed_content("loss")
    pred = network.train()(torch.randn(2, 2, 16, 32, 16))
    assert torch.isfinite(loss(pred, torch.ones(2, 1, 16, 32, 16)))
    assert network.eval()(torch.randn(1, 2, 16, 32, 16)).shape == (1, 4, 16, 32, 16)
    item = {"pred": pred[0].detach(), "label": torch.ones(1, 16, 32, 16)}
    item = parser.get_parsed_content("train#postprocessing")(item)  # for the training's own metric
    assert item["pred"].shape == item["label"].shape == (3, 16, 32, 16)


def test_tables_have_every_structure_and_say_what_was_missed() -> None:
    results = [
        result("dynunet", [0.8, 0.9], structures=("liver", "tumor")),
        result("oss_net", [0.6, 0.0], structures=("liver", "tumor")),
    ]
    tables = cells(markdown(results))
    assert tables.startswith("15 minutes for each fold of a network")
    assert "one, 2 cores, without bfloat16, torch 2, MONAI 1; commit abc" in tables
    for structure in ("liver", "tumor"):
        assert f"**hearts, {structure}**" in tables
    assert tables.count("| oss_net | 2 | 1 | 0.300 (0.000 to 0.600) | 2.00 (2.00 to 2.00) |") == 2
    assert "| dynunet | 2 | 0.850 (0.800 to 0.900) | 4 | 40 | 7 |" in tables
    assert "against dynunet" in tables and "against" not in markdown(results[:1])


def test_several_data_sets_have_tables_and_curves_of_their_own(tmp_path: Path) -> None:
    results = [result("dynunet", [0.8]), result("dynunet", [0.4, 0.5], data="livers")]
    assert "**hearts**, fold 0" in markdown(results) and "**livers**, fold 0" in markdown(results)
    plot(results, tmp_path / "quality.png")
    assert (tmp_path / "quality.png").stat().st_size > 0


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
