"""Metrics of a cohort, from files to files."""

from __future__ import annotations

import csv
import json
import logging
import math

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from ignite.engine import Events

from common.handlers import CaseReport


@pytest.fixture
def report(tmp_path):
    return CaseReport(tmp_path / "out", labels={"organ": 1}, reference_labels={"255": 1})


def read(tmp_path) -> dict:
    return json.loads((tmp_path / "out/metrics.json").read_text())


def test_distances_are_in_the_millimetres_of_the_original_grid(tmp_path, write, cuboid, evaluate, report):
    evaluate([write("a", cuboid((5, 5, 4)), cuboid((5, 5, 6)))], report)
    (row,) = read(tmp_path)["cases"]
    assert row["hd_mm"] == pytest.approx(2 * 2.5)  # two slices of 2.5 mm


def test_the_reference_is_what_the_label_file_holds(tmp_path, write, cuboid, evaluate, report):
    evaluate([write("a", cuboid((5, 5, 4)), cuboid((7, 5, 4)))], report)
    (row,) = read(tmp_path)["cases"]
    assert row["dice"] == pytest.approx(4 / 6)  # 4 of 6 columns in common
    assert row["volume_reference_mm3"] == pytest.approx(6 * 5 * 4 * 0.8 * 1.2 * 2.5)


def test_every_case_has_its_row_and_the_summary_its_mean(tmp_path, write, cuboid, evaluate, report):
    evaluate(
        [write("b", cuboid((5, 5, 4)), cuboid((5, 5, 4))), write("a", cuboid((5, 5, 4)), cuboid((8, 5, 4)))], report
    )
    written = read(tmp_path)
    assert [row["case"] for row in written["cases"]] == ["a", "b"]
    assert written["summary"]["organ"]["dice"]["mean"] == pytest.approx((0.5 + 1.0) / 2)


def test_a_missed_structure_is_null_in_json_and_counted_in_the_summary(tmp_path, write, cuboid, evaluate, report):
    nothing = np.zeros((20, 16, 12), bool)
    evaluate([write("a", nothing, cuboid((5, 5, 4))), write("b", cuboid((5, 5, 4)), cuboid((5, 5, 5)))], report)
    written = read(tmp_path)
    assert (written["cases"][0]["hd_mm"], written["cases"][0]["missed"]) == (None, True)
    distance = written["summary"]["organ"]["hd_mm"]
    assert (distance["mean"], distance["n"], distance["n_missed"]) == (pytest.approx(2.5), 1, 1)


def test_the_table_holds_the_same_rows_as_the_json(tmp_path, write, cuboid, evaluate, report):
    evaluate([write("a", np.zeros((20, 16, 12), bool), cuboid((5, 5, 4)))], report)
    with (tmp_path / "out/metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    expected = {key: "" if value is None else str(value) for key, value in read(tmp_path)["cases"][0].items()}
    assert row == expected


def test_the_means_are_among_the_engines_metrics(write, cuboid, evaluate, report):
    evaluator = evaluate([write("a", cuboid((5, 5, 4)), cuboid((8, 5, 4)))], report)
    assert evaluator.state.metrics["organ_dice"] == pytest.approx(0.5)
    assert evaluator.state.metrics["val_mean_dice"] == pytest.approx(0.5)


def test_handlers_further_down_find_reference_and_metrics_in_the_output(write, cuboid, evaluate, report):
    class Look:
        def attach(self, engine):
            engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: self.__dict__.update(e.state.output[0]))

    look = Look()
    evaluate([write("a", cuboid((5, 5, 4)), cuboid((5, 5, 4)))], report, look)
    assert torch.equal(look.reference[0] == 1, torch.from_numpy(cuboid((5, 5, 4))))
    assert look.metrics[0]["dice"] == 1.0


def test_a_second_run_starts_afresh(tmp_path, write, cuboid, evaluate, report):
    evaluate([write("a", cuboid((5, 5, 4)), cuboid((5, 5, 4)))], report)
    evaluate([write("b", cuboid((5, 5, 4)), cuboid((5, 5, 4)))], report)
    assert [row["case"] for row in read(tmp_path)["cases"]] == ["b"]


def test_a_label_placed_elsewhere_than_the_image_is_an_error(write, cuboid, evaluate, report):
    affine = np.diag([-0.8, -1.2, 2.5, 1.0])  # the image's without its origin
    with pytest.raises(ValueError, match=r"a: the prediction lies up to 33\.1 mm from where .*a_label"):
        evaluate([write("a", cuboid((5, 5, 4)), cuboid((5, 5, 4)), affine)], report)
    assert math.hypot(12, 7, 30) == pytest.approx(33.1, abs=0.05)


def test_a_label_of_another_shape_is_an_error(write, cuboid, evaluate, report):
    with pytest.raises(
        ValueError, match=r"a: the prediction's shape \(1, 20, 16, 12\) is not that of .*\(1, 20, 16, 9\)"
    ):
        evaluate([write("a", cuboid((5, 5, 4)), cuboid((5, 5, 4))[..., :9])], report)


def test_a_case_without_a_reference_is_an_error(write, cuboid, evaluate, report):
    with pytest.raises(ValueError, match="a: no path of a reference"):
        evaluate([write("a", cuboid((5, 5, 4)), None)], report)


def test_the_summary_is_printed_in_plain_lines(write, cuboid, evaluate, report, caplog):
    with caplog.at_level(logging.INFO, logger="common.handlers.case_report"):
        evaluate([write("a", cuboid((5, 5, 4)), cuboid((8, 5, 4)))], report)
    (line,) = [r.getMessage() for r in caplog.records if "dice" in r.getMessage()]
    assert line.split() == ["dice", "0.500", "-", "0.500", "0.500", "0.500", "1", "0"]


def test_a_case_that_two_processes_measured_counts_once(tmp_path, write, cuboid, evaluate, report, monkeypatch):
    def all_gather(rows):
        return [rows, [{**row, "case": case} for row in rows for case in ("a", "z")]]

    monkeypatch.setattr(idist, "all_gather", all_gather)
    evaluate([write("a", cuboid((5, 5, 4)), cuboid((5, 5, 4)))], report)
    assert [row["case"] for row in read(tmp_path)["cases"]] == ["a", "z"]


def test_only_the_first_process_writes(tmp_path, write, cuboid, evaluate, report, monkeypatch):
    monkeypatch.setattr(idist, "get_rank", lambda: 1)
    evaluate([write("a", cuboid((5, 5, 4)), cuboid((5, 5, 4)))], report)
    assert not (tmp_path / "out").exists()
