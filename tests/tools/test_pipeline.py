"""What the pipeline refuses before it starts anything."""

from pathlib import Path

import pytest

from tools import pipeline


def test_an_unknown_bundle_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"BUNDLE=unet: no such bundle; there are: .*vnet_left_atrium"):
        pipeline.train("unet", str(tmp_path))


def test_a_missing_dataset_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"DATASET_DIR=.*nowhere: no such file or folder"):
        pipeline.train("vnet_left_atrium", str(tmp_path / "nowhere"), run=str(tmp_path))


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"model\.pt: no such weights"):
        pipeline.infer("vnet_left_atrium", str(tmp_path), models=str(tmp_path))


def test_an_override_without_meaning_stops_before_training(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--epoch: no such id"):
        pipeline.train("vnet_left_atrium", str(tmp_path), run=str(tmp_path / "run"), epoch=1)


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The commands of a `train` in tmp_path, which holds an empty folder `data`: nothing is run."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    planned: dict[str, list[str]] = {}

    def record(commands: dict[str, list[str]], *, cwd: Path) -> tuple[dict[str, float], int]:
        planned.update(commands)
        return {}, 0

    monkeypatch.setattr(pipeline, "run_all", record)
    with pytest.raises(SystemExit):
        pipeline.train("vnet_left_atrium", "data", run="out")
    return planned


def test_the_data_is_looked_for_where_the_person_stands(planned: dict[str, list[str]], tmp_path: Path) -> None:
    assert f"--dataset_dir={tmp_path / 'data'}" in planned["train"]


def test_predictions_use_the_weights_that_training_writes(planned: dict[str, list[str]], tmp_path: Path) -> None:
    written = f"--ckpt_dir={tmp_path / 'out' / 'models'}"
    assert written in planned["train"] and written in planned["predictions"]


def test_the_locator_is_trained_before_the_segmenter(planned: dict[str, list[str]]) -> None:
    assert list(planned) == ["train_locator", "train", "evaluation", "predictions"]
