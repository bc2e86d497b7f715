"""Metrics of a cohort, from files to files."""

from __future__ import annotations

import csv
import json
import logging
import math

import ignite.distributed as idist
import nibabel
import numpy as np
import pytest
import torch
from ignite.engine import Events

from common.handlers import CaseReport


@pytest.fixture
def report(tmp_path):
    return CaseReport(tmp_path / "out", labels={"organ": 1}, label_values=[0, 1, 255], reference_labels={"255": 1})


def read(tmp_path) -> dict:
    return json.loads((tmp_path / "out/metrics.json").read_text())


def test_distances_are_in_the_millimeters_of_the_original_grid(tmp_path, write, cuboid, evaluate, report):
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
    with pytest.raises(ValueError, match=r"a: the prediction's affine differs from .*a_label.*, by up to 33\.06 mm"):
        evaluate([write("a", cuboid((5, 5, 4)), cuboid((5, 5, 4)), affine)], report)
    assert math.hypot(12, 7, 30) == pytest.approx(33.1, abs=0.05)


def test_a_label_of_another_shape_is_an_error(write, cuboid, evaluate, report):
    with pytest.raises(
        ValueError, match=r"a: the prediction's shape \(20, 16, 12\) differs from .*a_label.*'s \(20, 16, 9\)"
    ):
        evaluate([write("a", cuboid((5, 5, 4)), cuboid((5, 5, 4))[..., :9])], report)


def rewrite(item: dict[str, str], change) -> dict[str, str]:
    """The case with another label in its file."""
    image = nibabel.load(item["label"])
    label = change(np.asarray(image.dataobj).astype(np.float64))
    nibabel.save(nibabel.Nifti1Image(label, image.affine), item["label"])
    return item


@pytest.mark.parametrize("value", [128, 200, -1, 2, 0.5, np.nan])
def test_a_reference_value_that_training_refuses_is_an_error_that_names_the_labels_file(
    write, cuboid, evaluate, report, value
):
    case = rewrite(write("a", cuboid((5, 5, 4)), cuboid((5, 5, 4))), lambda label: np.where(label == 255, value, 0.0))
    with pytest.raises(ValueError, match=rf"a_label\.nii\.gz: label value {value:g} not allowed; expected 0, 1, 255"):
        evaluate([case], report)


def test_a_reference_of_floats_is_what_they_stand_for(tmp_path, write, cuboid, evaluate, report):
    case = rewrite(write("a", cuboid((5, 5, 4)), cuboid((5, 5, 4))), lambda label: label / 255 * 0.9996 + 0.0003)
    evaluate([case], report)
    assert read(tmp_path)["cases"][0]["dice"] == 1.0


def test_rounding_in_the_labels_header_is_no_other_place(tmp_path, write, cuboid, evaluate, report):
    affine = np.diag([-0.8, -1.2, 2.5, 1.0])
    affine[:3, 3] = (12.002, -7.0, 30.0)  # 2 micrometers from the image's
    evaluate([write("a", cuboid((5, 5, 4)), cuboid((5, 5, 4)), affine)], report)
    assert read(tmp_path)["cases"][0]["dice"] == 1.0


def test_a_case_without_a_reference_is_an_error(write, cuboid, evaluate, report):
    with pytest.raises(ValueError, match="a: no path of a reference"):
        evaluate([write("a", cuboid((5, 5, 4)), None)], report)


def test_the_summary_is_printed_in_plain_lines(write, cuboid, evaluate, report, caplog):
    with caplog.at_level(logging.INFO, logger="common.handlers.case_report"):
        evaluate([write("a", cuboid((5, 5, 4)), cuboid((8, 5, 4)))], report)
    line, pooled = [r.getMessage() for r in caplog.records if "dice" in r.getMessage()]
    assert pooled == "pooled organ: global_dice 0.500, global_iou 0.333"
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


class Width:
    """A measure of a table of its own: a row per column of the prediction, and the widest of all."""

    name = "columns"

    def per_case(self, prediction, reference, *, spacing):
        filled = prediction.any(dim=2).any(dim=1).nonzero().ravel().tolist()
        return [{"column": i, "width_mm": float(spacing[0])} for i in filled]

    def summary(self, rows):
        return {"n": len(rows), "by_case": {case: len([r for r in rows if r["case"] == case]) for case in ("a", "b")}}


@pytest.fixture
def with_measure(tmp_path):
    return CaseReport(
        tmp_path / "out", labels={"organ": 1}, label_values=[0, 1, 255], reference_labels={"255": 1}, measures=[Width()]
    )


def test_a_further_measure_has_its_own_table_and_its_summary_in_the_report(
    tmp_path, write, cuboid, evaluate, with_measure
):
    organ = cuboid((5, 5, 4))
    evaluate([write("b", organ, organ), write("a", cuboid((5, 5, 4), (2, 5, 4)), organ)], with_measure)
    with (tmp_path / "out/columns.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["case"], row["column"]) for row in table] == [("a", c) for c in "56"] + [
        ("b", c) for c in ("5", "6", "7", "8", "9", "10")
    ]
    assert float(table[0]["width_mm"]) == pytest.approx(0.8)
    assert read(tmp_path)["columns"] == {"n": 8, "by_case": {"a": 2, "b": 6}}


def test_a_measure_of_a_case_that_two_processes_have_counts_once(
    tmp_path, write, cuboid, evaluate, with_measure, monkeypatch
):
    monkeypatch.setattr(idist, "all_gather", lambda rows: [rows, rows])
    evaluate([write("a", cuboid((5, 5, 4)), cuboid((5, 5, 4)))], with_measure)
    assert read(tmp_path)["columns"]["n"] == 6


def test_a_measure_without_rows_leaves_an_empty_table(tmp_path, write, cuboid, evaluate, with_measure):
    evaluate([write("a", np.zeros((20, 16, 12), bool), cuboid((5, 5, 4)))], with_measure)
    assert (tmp_path / "out/columns.csv").read_text().split() == ["case"]


def test_the_overlap_of_the_pooled_cohort_stands_beside_the_means(tmp_path, write, cuboid, evaluate, report):
    small, large = cuboid((5, 5, 4), (2, 2, 2)), cuboid((5, 5, 4))  # 8 and 120 voxels
    evaluate([write("a", small, large), write("b", large, large)], report)
    written = read(tmp_path)
    assert written["pooled"]["organ"]["global_dice"] == pytest.approx(2 * 128 / (8 + 120 + 240))
    assert written["summary"]["organ"]["dice"]["mean"] == pytest.approx((16 / 128 + 1) / 2)


def test_cases_without_what_may_be_absent_are_left_out_of_the_mean_and_reported_apart(
    tmp_path, write, cuboid, evaluate
):
    report = CaseReport(
        tmp_path / "out",
        labels={"organ": 1},
        label_values=[0, 1, 255],
        reference_labels={"255": 1},
        may_be_absent=["organ"],
    )
    organ, nothing = cuboid((5, 5, 4)), np.zeros((20, 16, 12), bool)
    cases = [write("a", organ, organ), write("b", organ, nothing), write("c", nothing, nothing)]
    evaluator = evaluate(cases, report)
    written = read(tmp_path)
    assert (written["summary"]["organ"]["dice"]["mean"], evaluator.state.metrics["val_mean_dice"]) == (1.0, 1.0)
    absent = written["absent"]["organ"]
    assert (absent["n_absent"], absent["n_false_positive"]) == (2, 1)
    assert absent["false_positive_volume_mm3"]["mean"] == pytest.approx(120 * 0.8 * 1.2 * 2.5)


def test_a_cohort_of_healthy_patients_can_be_reported(tmp_path, write, cuboid, evaluate):
    report = CaseReport(tmp_path / "out", labels={"organ": 1}, label_values=[0, 1, 255], may_be_absent=["organ"])
    nothing = np.zeros((20, 16, 12), bool)
    evaluator = evaluate([write("a", nothing, nothing)], report)
    assert "val_mean_dice" not in evaluator.state.metrics
    assert read(tmp_path)["summary"]["organ"]["dice"]["n"] == 0


def test_what_may_be_absent_must_be_among_the_labels(tmp_path):
    with pytest.raises(ValueError, match=r"may_be_absent names \['tumor'\].*\['liver'\]"):
        CaseReport(tmp_path, labels={"liver": 2}, label_values=[0, 2], may_be_absent=["tumor"])


@pytest.fixture
def after_training(tmp_path):
    """The report of weights that were trained on case b, and on others that are not measured."""
    return CaseReport(
        tmp_path / "out",
        labels={"organ": 1},
        label_values=[0, 1, 255],
        reference_labels={"255": 1},
        measures=[Width()],
        trained_on=["b", "z"],
    )


@pytest.fixture
def half_seen(write, cuboid, evaluate, after_training):
    """The evaluator of two cases: a, Dice 0.5, was not in the training; b, Dice 1, was."""
    organ = cuboid((5, 5, 4))
    return evaluate([write("a", organ, cuboid((8, 5, 4))), write("b", organ, organ)], after_training)


def test_cases_of_the_training_are_summarized_apart(tmp_path, half_seen):
    written = read(tmp_path)
    for name, mean in (("summary", 0.5), ("summary_trained_on", 1.0)):
        dice = written[name]["organ"]["dice"]
        assert (dice["mean"], dice["n"]) == (pytest.approx(mean), 1)
    assert half_seen.state.metrics["val_mean_dice"] == pytest.approx(0.5)


def test_cases_of_the_training_are_marked_in_every_row(tmp_path, half_seen):
    with (tmp_path / "out/metrics.csv").open(newline="") as file:
        assert {row["case"]: row["trained_on"] for row in csv.DictReader(file)} == {"a": "False", "b": "True"}
    assert {row["case"]: row["trained_on"] for row in read(tmp_path)["cases"]} == {"a": False, "b": True}


def test_pooled_numbers_and_further_measures_are_of_the_other_cases_and_their_table_of_all(tmp_path, half_seen):
    written = read(tmp_path)
    assert written["pooled"]["organ"]["global_dice"] == pytest.approx(0.5)
    assert written["columns"]["by_case"] == {"a": 6, "b": 0}
    with (tmp_path / "out/columns.csv").open(newline="") as file:
        assert {row["case"] for row in csv.DictReader(file)} == {"a", "b"}


def test_where_all_were_trained_on_nothing_is_said_of_others(tmp_path, write, cuboid, evaluate, after_training, caplog):
    organ = cuboid((5, 5, 4))
    with caplog.at_level(logging.INFO, logger="common.handlers.case_report"):
        evaluator = evaluate([write("b", organ, organ)], after_training)
    written = read(tmp_path)
    assert (written["summary"], written["summary_trained_on"]["organ"]["dice"]["mean"]) == ({}, 1.0)
    assert "val_mean_dice" not in evaluator.state.metrics
    assert "The weights were trained on all 1 cases: nothing here says how good they are on others" in caplog.messages


def test_without_a_case_of_the_training_there_is_one_summary(tmp_path, write, cuboid, evaluate, after_training, caplog):
    organ = cuboid((5, 5, 4))
    with caplog.at_level(logging.INFO, logger="common.handlers.case_report"):
        evaluate([write("a", organ, organ)], after_training)
    assert "summary_trained_on" not in read(tmp_path)
    assert "trained on" not in caplog.text
