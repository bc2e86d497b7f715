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


def test_relative_paths_are_taken_from_where_the_person_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    planned: dict[str, list[str]] = {}
    monkeypatch.setattr(pipeline, "run_all", lambda commands, cwd: planned.update(commands) or {})
    pipeline.train("vnet_left_atrium", "data", run="out")
    assert f"--dataset_dir={tmp_path / 'data'}" in planned["train"]
    assert f"--ckpt_dir={tmp_path / 'out' / 'models'}" in planned["predictions"]
