"""A plan's structures as channels of a network, classes of a label map and values of a file."""

from __future__ import annotations

from typing import Any

import pytest

from common.classes import IGNORED
from common.datasets import PlannedStructures, planned_structures


def planned(structures: dict[str, Any], output: str = "softmax", **further: Any) -> PlannedStructures:
    values = sorted({0} | {v for own in structures.values() for v in (own if isinstance(own, list) else [own])})
    plan = {"structures": structures, "regions": structures, "label_values": values, "output": output, "ignore": None}
    return planned_structures({**plan, **further})


BRATS = {"whole tumor": [1, 2, 4], "tumor core": [1, 4], "enhancing tumor": 4}


def test_one_structure_is_all_that_is_not_background():
    atrium = planned({"atrium": [1, 255]}, "sigmoid")
    assert atrium.single and (atrium.channels, atrium.maps, atrium.painted) == (1, [[1]], ((0, 1),))
    assert atrium.class_of == {0: 0, 1: 1, 255: 1} and atrium.written == (0, 255)
    plan = {"structures": {"atrium": 1}, "label_values": [0, 1], "output": "sigmoid"}
    assert planned_structures(plan, [0, 420]).class_of == {0: 0, 420: 1}


@pytest.mark.parametrize("count", [2, 3, 7])
def test_structures_that_exclude_each_other_are_channels_behind_the_background(count: int):
    several = planned({f"s{n}": 3 * n for n in range(1, count + 1)})
    assert several.channels == count + 1 and several.maps == [[n] for n in range(1, count + 1)]
    assert several.written == tuple(3 * n for n in range(count + 1))
    assert several.regions == {f"s{n}": [n] for n in range(1, count + 1)} and not several.single


def test_values_of_one_structure_are_one_class():
    kidneys = planned({"liver": 1, "kidneys": [2, 3]})
    assert kidneys.class_of == {0: 0, 1: 1, 2: 2, 3: 2} and kidneys.channels == 3 and kidneys.written == (0, 1, 3)


def test_regions_are_a_channel_each_and_painted_from_the_outermost_in():
    tumor = planned(BRATS, "sigmoid")
    assert tumor.class_of == {0: 0, 1: 1, 2: 2, 4: 3} and tumor.channels == 3
    assert tumor.maps == [[1, 2, 3], [1, 3], [3]]
    assert tumor.painted == ((0, 2), (1, 1), (2, 3))  # edema, necrosis, enhancing


def test_regions_are_painted_in_the_data_sets_order_where_it_names_one():
    assert planned(BRATS, "sigmoid", written_values=[2, 1, 4]).painted == ((0, 2), (1, 1), (2, 3))
    assert planned(BRATS, "sigmoid", written_values=[1, 2, 4]).painted == ((0, 1), (1, 2), (2, 3))


def test_regions_are_measured_as_unions_of_classes():
    regions = {"core": 1, "whole": [1, 2]}
    assert planned({"core": 1, "edema": 2}, regions=regions).regions == {"core": [1], "whole": [1, 2]}


def test_the_ignored_value_is_a_class_that_no_channel_has():
    part = planned({"liver": 1}, "sigmoid", ignore=9)
    assert not part.single and part.class_of == {0: 0, 1: 1, 9: IGNORED}
    assert part.allowed == [0, 1, 9] and part.known == {0: 0, 1: 1} and part.maps == [[1]]


def test_classes_of_one_piece_are_those_of_the_plans_values_but_none_of_regions():
    assert planned({"a": 1, "b": 5}, one_piece=[5]).one_piece == (2,)
    assert planned(BRATS, "sigmoid", one_piece=[4]).one_piece == ()


@pytest.mark.parametrize(
    ("structures", "one_piece", "least"), [({"a": 1}, [1], 1.0), ({"a": 1}, [], 0.1), ({"a": 1, "b": 2}, [1, 2], 0.1)]
)
def test_a_locator_looks_for_one_component_where_one_structure_is_of_one_piece(structures, one_piece, least):
    assert planned(structures, one_piece=one_piece).least_piece == least


def test_a_region_of_no_structure_is_refused():
    with pytest.raises(ValueError, match=r"regions have \[7\]"):
        planned({"a": 1, "b": 2}, regions={"c": [1, 7]})
