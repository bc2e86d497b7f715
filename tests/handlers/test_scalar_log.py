"""TensorBoard scalars of a run, and of the next one in the same process."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from ignite.engine import Engine
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

from common.handlers import ScalarLog


def losses(log_dir: Path) -> list[float]:
    events = EventAccumulator(str(log_dir))
    events.Reload()
    return [point.value for point in events.Scalars("loss")]


def run(log_dir: Path, values: list[float]) -> None:
    engine = Engine(lambda _, value: value)
    ScalarLog(log_dir, tag_name="loss", output_transform=lambda output: output).attach(engine)
    engine.run(values)


def test_two_engines_of_one_folder_share_a_file(tmp_path: Path) -> None:
    for values in ([1.0, 2.0], [3.0]):
        run(tmp_path, values)
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
    assert sorted(losses(tmp_path)) == [1, 2, 3]


def test_a_folder_that_was_deleted_is_written_again_in_the_same_process(tmp_path: Path) -> None:
    run(tmp_path / "train", [1.0])
    shutil.rmtree(tmp_path / "train")
    run(tmp_path / "train", [2.0, 3.0])
    assert losses(tmp_path / "train") == [2, 3]


def test_scalars_that_find_no_room_cost_nothing_else_and_those_after_them_are_whole(
    tmp_path: Path, monkeypatch, caplog
) -> None:
    written = 0

    def write(record_writer, data: bytes) -> None:
        nonlocal written
        written += 1
        if written in (3, 4):  # the first is the file's head
            record_writer._writer.write(data[:5])
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(record_writer, data)

    whole = RecordWriter.write
    monkeypatch.setattr(RecordWriter, "write", write)
    run(tmp_path, [1.0, 2.0, 3.0, 4.0])
    assert losses(tmp_path) == [1, 4]
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said == f"{tmp_path / 'events.out.tfevents'}: cannot be written (No space left on device)"


def test_a_folder_that_cannot_be_made_costs_the_log_only(tmp_path: Path, caplog) -> None:
    (tmp_path / "out").write_text("a file where the folder would be")
    run(tmp_path / "out", [1.0, 2.0])
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
