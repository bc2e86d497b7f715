"""MONAI's federated clients take every bundle as it is: two sites train, are averaged and go on, in one process."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from monai.fl.client import MonaiAlgo, MonaiAlgoStats
from monai.fl.utils.constants import ExtraItems, FlStatistics
from monai.fl.utils.exchange_object import ExchangeObject

from common.phantoms import WRITERS

pytestmark = pytest.mark.slow_but_for("vox2vox")

CASES = 3  # of each site: two train, one validates

State = dict[str, torch.Tensor]


class Federation(NamedTuple):
    """Two rounds of two sites.

    Attributes:
        clients: the sites, with their trainers.
        first: each site's weights after the first round.
        average: what both started the second round from.
        started: each site's weights as its second round began.
        second: what each site sent after it: differences.
        metrics: each site's evaluation of the average.
        steps: each site's iterations per round, and in all.
    """

    clients: Sequence[MonaiAlgo]
    first: Sequence[State]
    average: State
    started: Sequence[State]
    second: Sequence[State]
    metrics: Sequence[dict[str, float]]
    steps: Sequence[tuple[int, int, int]]


def copied(state: State) -> State:
    return {key: value.detach().clone() for key, value in state.items()}


@pytest.fixture(scope="module")
def sites(bundle: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """The knobs of two sites with data of their own; what an earlier stage trained lies in their `ckpt_dir`."""
    layout = json.loads((bundle / "configs/plan.json").read_text())["layout"]
    settings = []
    for seed in (1, 2):
        folder = tmp_path_factory.mktemp(f"site_{seed}_{bundle.name}")
        WRITERS[layout](str(folder / "data"), CASES, seed)
        shutil.copytree(trained / "models", folder / "models", ignore=shutil.ignore_patterns("model*", "*.json"))
        paths = {"dataset_dir": folder / "data", "ckpt_dir": folder / "models", "cache_dir": folder / "cache"}
        knobs = {"folds": CASES, "epochs": 2, "val_interval": 9, "batch_size": 1, "num_workers": 0, "device": "cpu"}
        settings.append({**{name: str(path) for name, path in paths.items()}, **knobs})
    return settings


@pytest.fixture(scope="module")
def path_restored() -> Iterator[None]:
    """Configs put the bundle's folder on the path."""
    before = list(sys.path)
    yield
    sys.path[:] = before


@pytest.fixture(scope="module")
def federation(bundle: Path, sites: list[dict], path_restored: None, tmp_path_factory) -> Federation:
    clients = []
    for number, site in enumerate(sites):
        out = tmp_path_factory.mktemp("out")
        client = MonaiAlgo(
            bundle_root=str(bundle),
            send_weight_diff=False,
            config_train_filename=["configs/train.json", "configs/sample.json"],
            config_evaluate_filename=["configs/train.json", "configs/sample.json", "configs/evaluate.json"],
            train_kwargs={**site, "output_dir": str(out / "train")},
            eval_kwargs={**site, "output_dir": str(out / "evaluation")},
        )
        client.initialize(extra={ExtraItems.CLIENT_NAME: f"site_{number}"})
        clients.append(client)

    weights = copied(clients[0].trainer.network.state_dict())
    first, steps = [], []
    for client in clients:
        client.train(ExchangeObject(weights=weights))
        sent = client.get_weights()
        first.append(copied(sent.weights))
        steps.append(sent.statistics[FlStatistics.NUM_EXECUTED_ITERATIONS])
    average = {key: sum(state[key] for state in first) / len(first) for key in weights}
    average = {key: value.to(weights[key].dtype) for key, value in average.items()}
    metrics = [dict(client.evaluate(ExchangeObject(weights=copied(average))).metrics) for client in clients]

    started, second, counted = [], [], []
    for client, before in zip(clients, steps, strict=True):
        client.send_weight_diff = True
        client.trainer.add_event_handler(
            Events.EPOCH_STARTED, lambda engine: started.append(copied(engine.network.state_dict()))
        )
        client.train(ExchangeObject(weights=copied(average)))
        sent = client.get_weights()
        second.append(sent.weights)
        done = sent.statistics[FlStatistics.NUM_EXECUTED_ITERATIONS]
        counted.append((before, done, client.trainer.state.iteration))
    return Federation(clients, first, average, started, second, metrics, counted)


def differ(one: State, other: State) -> bool:
    return any(not torch.equal(value, other[key]) for key, value in one.items())


def test_each_site_trains_one_epoch_in_a_round(federation: Federation) -> None:
    assert [client.trainer.state.epoch for client in federation.clients] == [2, 2]
    assert all(first == second > 0 and total == first + second for first, second, total in federation.steps)


def test_each_round_ends_with_a_validated_model_whatever_the_interval(
    federation: Federation, sites: list[dict]
) -> None:
    assert all(client.trainer.state.epoch < sites[0]["val_interval"] for client in federation.clients)
    assert all((Path(site["ckpt_dir"]) / "model.pt").is_file() for site in sites)


def test_sites_learn_from_their_own_data(federation: Federation) -> None:
    assert differ(*federation.first)


def test_the_second_round_starts_from_the_average(federation: Federation) -> None:
    assert len(federation.started) == 2
    for state in federation.started:
        torch.testing.assert_close(state, federation.average, rtol=0, atol=0)


def test_differences_lead_from_the_average_to_the_sites_weights(federation: Federation) -> None:
    for client, sent in zip(federation.clients, federation.second, strict=True):
        assert any(bool(value.any()) for value in sent.values())
        after = {key: federation.average[key] + value for key, value in sent.items()}
        torch.testing.assert_close(after, dict(client.trainer.network.state_dict()))


def test_each_site_evaluates_the_average_on_its_own_cases(federation: Federation) -> None:
    for metrics in federation.metrics:
        assert 0 <= metrics["val_mean_dice"] <= 1


@pytest.fixture(scope="module")
def statistics(bundle: Path, sites: list[dict], path_restored: None, tmp_path_factory) -> dict:
    """What MONAI's client of statistics tells a server about a site's data."""
    folder = tmp_path_factory.mktemp("statistics")
    flow = ConfigWorkflow(
        config_file=[str(bundle / f"configs/{name}") for name in ("train.json", "sample.json")],
        logging_file=False,
        workflow_type="train",
        output_dir=str(folder / "train"),
        **sites[0],
    )
    client = MonaiAlgoStats(bundle_root=str(bundle), workflow=flow)
    client.initialize(extra={ExtraItems.CLIENT_NAME: "site"})
    client.app_root = str(folder)  # where it writes
    channels = len(flow.parser.get_parsed_content("channel_order", default=[0]))
    histogram = {FlStatistics.HIST_BINS: [10] * channels, FlStatistics.HIST_RANGE: [[-1000.0, 3000.0]] * channels}
    return client.get_data_stats(extra=histogram).statistics


def test_statistics_are_of_every_case_and_none_fails(statistics: dict) -> None:
    counts = {part: statistics[part][FlStatistics.DATA_COUNT] for part in ("train", "eval")}
    assert counts == {"train": CASES - 1, "eval": 1}
    assert [statistics[part][FlStatistics.FAIL_COUNT] for part in ("train", "eval")] == [0, 0]
    assert statistics[FlStatistics.TOTAL_DATA][FlStatistics.DATA_COUNT] == CASES


def test_statistics_have_the_labels_and_the_voxel_size(statistics: dict) -> None:
    summary = statistics["train"][FlStatistics.DATA_STATS]
    assert len(summary["label_stats"]["labels"]) >= 2
    assert all(size > 0 for size in summary["image_stats"]["spacing"]["mean"])
