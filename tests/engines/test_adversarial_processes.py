"""The adversarial trainer in two processes against one that has both their cases in its batch."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import ignite.distributed as idist
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.networks.utils import one_hot
from torch import Tensor, nn

from common.engines import AdversarialSegmentationTrainer, Adversary, data_parallel
from common.networks import Vox2VoxDiscriminator, Vox2VoxGenerator

STEPS = 3


def mean_square(pred: Tensor, label: Tensor) -> Tensor:
    """A loss whose mean over two batches is that of both together, which a Dice's is not."""
    return (pred - label).square().mean()


def train(order: str, *, rank: int, processes: int) -> dict[str, Tensor]:
    """Three steps, each on two cases, of which this process has its share; plain gradient descent, no dropout."""
    torch.manual_seed(0)
    g = Vox2VoxGenerator(1, 2, variant="paper", width=2)
    d = Vox2VoxDiscriminator(1, 2, variant="paper", width=2)
    for module in g.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    images = torch.randn(2 * STEPS, 1, 32, 32, 32)
    cases = [{"image": image, "label": (image > 0.5).float()} for image in images][rank::processes]
    optimizers = [torch.optim.SGD(network.parameters(), lr=0.1) for network in (g, d)]
    wrap = data_parallel if processes > 1 else nn.Identity()
    adversary = Adversary(wrap(d), optimizers[1], order=order, threshold=0.55)
    AdversarialSegmentationTrainer(
        adversary=adversary,
        weight=5.0,
        encode=partial(one_hot, num_classes=2),
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=DataLoader(Dataset(cases), batch_size=2 // processes),
        network=wrap(g),
        optimizer=optimizers[0],
        loss_function=mean_square,
    ).run()
    networks = {f"{name}.{key}": value for name, net in (("g", g), ("d", d)) for key, value in net.state_dict().items()}
    return {**networks, "steps": torch.tensor(adversary.steps)}


def process(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    idist.initialize("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for order in ("alternating", "simultaneous"):
        torch.save(train(order, rank=rank, processes=2), folder / f"{order}{rank}.pt")
    idist.finalize()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    torch.multiprocessing.spawn(process, args=(folder,), nprocs=2)
    return folder


@pytest.mark.parametrize("order", ["alternating", "simultaneous"])
def test_both_networks_learn_from_the_cases_of_both_processes(two_processes, order):
    first, second = (torch.load(two_processes / f"{order}{rank}.pt", weights_only=True) for rank in (0, 1))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(first, train(order, rank=0, processes=1), rtol=1e-4, atol=1e-5)
    assert first["steps"] > 0
