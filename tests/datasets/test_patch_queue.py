"""The buffer of patches: what an epoch holds, in which order, on every rank and with any number of workers."""

from __future__ import annotations

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset, ThreadDataLoader
from monai.transforms import Compose, RandGaussianNoised, RandSpatialCropSamplesd

from common.datasets import PatchQueue
from common.handlers import EpochSeed


def buffer(cases: int = 7, *, samples: int = 3, size: int = 6, workers: int = 0) -> PatchQueue:
    """Each case is a small volume filled with its number; a patch is cut from it and gets a little noise."""
    transform = Compose(
        [
            RandSpatialCropSamplesd("image", roi_size=2, num_samples=samples, random_size=False),
            RandGaussianNoised("image", prob=1.0, std=0.01),
        ]
    )
    data = [{"image": torch.full((1, 4, 4, 4), 10.0 * i)} for i in range(cases)]
    patches = PatchQueue(Dataset(data, transform), samples_per_case=samples, queue_size=size, num_workers=workers)
    return patches.set_random_state(0)


def cases_of(patches: list[dict]) -> list[int]:
    return [round(float(patch["image"].mean()) / 10) for patch in patches]


@pytest.mark.parametrize("workers", [0, 2, 3])
def test_every_case_gives_exactly_its_patches(workers):
    seen = cases_of(list(buffer(workers=workers)))
    assert sorted(seen) == sorted(list(range(7)) * 3)


@pytest.mark.parametrize(("cases", "batches"), [(105, 263), (13, 33)])  # 525 and 65 patches
def test_a_loader_knows_the_number_of_batches(cases, batches):
    assert len(DataLoader(buffer(cases, samples=5, size=40), batch_size=2)) == batches


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_as_many_batches_as_it_says(workers):
    loader = DataLoader(buffer(workers=workers), batch_size=4)
    sizes = [len(batch["image"]) for batch in loader]
    assert sizes == [4, 4, 4, 4, 4, 1] and len(loader) == 6


def test_each_filling_holds_whole_cases_in_mixed_order():
    seen = cases_of(list(buffer(12, samples=5, size=20)))
    fillings = [seen[i : i + 20] for i in range(0, 60, 20)]
    for filling in fillings:
        assert sorted(np.bincount(filling, minlength=12), reverse=True)[:5] == [5, 5, 5, 5, 0]
        assert any(filling[i : i + 5] != filling[i : i + 1] * 5 for i in range(0, 20, 5))


def test_patches_that_do_not_plan_come_first_in_the_next_filling():
    seen = cases_of(list(buffer(4, samples=5, size=8)))
    first, second = seen[:8], seen[8:16]
    (split,) = {case for case in first if first.count(case) == 3}
    assert second.count(split) == 2


def test_patches_of_one_case_meet_those_of_others_in_a_batch():
    batches = list(DataLoader(buffer(40, samples=5, size=40), batch_size=2))
    mixed = sum(len(set(np.round(batch["image"].mean(dim=(1, 2, 3, 4)).numpy() / 10))) == 2 for batch in batches)
    assert mixed / len(batches) == pytest.approx(35 / 39, abs=0.1)  # of 39 others, 4 are of the same case


def epochs(patches: PatchQueue, *, seed: int = 0, last: int = 3, done: int = 0, loader=DataLoader) -> list:
    """All numbers of each epoch, batch by batch."""
    seen: dict[int, list] = {}

    def step(engine: Engine, batch: dict) -> None:
        seen.setdefault(engine.state.epoch, []).append(batch["image"].as_tensor().clone())

    engine = Engine(step)
    EpochSeed(seed, patches).attach(engine)
    batches = loader(patches, batch_size=2)
    engine.load_state_dict({"epoch": done, "max_epochs": last, "epoch_length": len(batches)})
    engine.run(batches)
    return [torch.cat(seen[epoch]) for epoch in sorted(seen)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_epoch_equals_that_of_an_uninterrupted_run(workers):
    straight = epochs(buffer(workers=workers))
    np.random.seed(99)
    torch.manual_seed(99)
    assert torch.equal(epochs(buffer(workers=workers), done=2)[0], straight[2])


@pytest.mark.parametrize("workers", [0, 2])
def test_no_patch_of_one_epoch_returns_in_another(workers):
    one, two, three = (set(map(tuple, epoch.flatten(1).tolist())) for epoch in epochs(buffer(workers=workers)))
    assert len(one) == len(two) == len(three) == 21
    assert not one & two and not two & three and not one & three


@pytest.mark.parametrize("workers", [0, 2])
def test_torchs_own_random_state_is_neither_used_nor_changed(workers):
    seen = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        seen.append(torch.stack([patch["image"].as_tensor() for patch in buffer(workers=workers)]))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*seen)


def test_cases_come_in_another_order_in_each_epoch():
    orders = [tuple(epoch[:, 0, 0, 0, 0].div(10).round().tolist()) for epoch in epochs(buffer())]
    assert len(set(orders)) == 3


def test_another_seed_draws_other_patches():
    one, two = (set(map(tuple, epochs(buffer(), seed=s, last=1)[0].flatten(1).tolist())) for s in (0, 1))
    assert not one & two


def test_a_loader_in_a_background_thread_gives_the_same_batches():
    threaded = epochs(buffer(), loader=ThreadDataLoader)
    assert all(torch.equal(a, b) for a, b in zip(threaded, epochs(buffer()), strict=True))


def as_rank(monkeypatch, rank: int, patches: PatchQueue) -> list[int]:
    """The cases that this rank of 3 gives, when rank 0 announces the order of seed 5."""
    monkeypatch.setattr(idist, "get_world_size", lambda: 3)
    monkeypatch.setattr(idist, "get_rank", lambda: rank)
    monkeypatch.setattr(idist, "broadcast", lambda value, src: torch.full_like(value, 5))
    seen = cases_of(list(patches.set_random_state(rank)))
    assert len(seen) == len(patches)
    return seen


def test_ranks_share_the_cases(monkeypatch):
    seen = [set(as_rank(monkeypatch, rank, buffer(9))) for rank in range(3)]
    assert [len(cases) for cases in seen] == [3, 3, 3] and set.union(*seen) == set(range(9))


@pytest.mark.parametrize("cases", [1, 2, 7, 8])
def test_ranks_give_equally_many_patches_and_leave_no_case_out(monkeypatch, cases):
    seen = [as_rank(monkeypatch, rank, buffer(cases)) for rank in range(3)]
    assert len({len(patches) for patches in seen}) == 1
    assert set.union(*map(set, seen)) == set(range(cases))


def orders(rank: int) -> None:
    """Runs in each of two processes: their cases, from random states of their own, are gathered and compared."""
    mine = sorted(set(cases_of(list(buffer(8).set_random_state(rank)))))
    everyone = idist.all_gather(torch.tensor(mine)).tolist()
    assert sorted(everyone) == list(range(8)), everyone


def test_two_processes_agree_on_an_order_without_a_common_random_state():
    with idist.Parallel(backend="gloo", nproc_per_node=2, start_method="fork") as parallel:
        parallel.run(orders)


def test_a_single_patch_for_each_case_needs_no_list():
    patches = PatchQueue(Dataset([{"x": i} for i in range(5)]), samples_per_case=1, queue_size=2)
    assert sorted(patch["x"] for patch in patches) == [0, 1, 2, 3, 4]


def test_refuses_another_number_of_patches_than_announced():
    patches = buffer(samples=3)
    patches.samples_per_case = 5
    with pytest.raises(ValueError, match=r"case \d gave 3 patches, expected samples_per_case=5"):
        list(patches)


def test_refuses_a_loader_with_workers():
    with pytest.raises(ValueError, match="give num_workers to it, and 0 to the DataLoader"):
        list(DataLoader(buffer(), batch_size=2, num_workers=1))
