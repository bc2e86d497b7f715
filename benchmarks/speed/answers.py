"""Networks with known answers: which points OSS-Net's search asks for depends on what the network says."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.scenario import Scenario
from common.inferers import OccupancyInferer
from common.networks import OSSNet
from common.transforms.working_grids import working_grid

CERTAIN = 20.0  # magnitude of the logits


def answer_with_label(network: OSSNet, inferer: OccupancyInferer, scenario: Scenario) -> None:
    """Let a network give the label of the scenario's first case, as a trained one would; it computes all the same.

    An untrained network's answers are noise, which the search would follow everywhere or nowhere.

    Args:
        network: gets other methods ``encode`` and ``decode``.
        inferer: says on which grid it is asked.
        scenario: its inference config loads the label as it does the image.
    """
    parser = scenario.inference(keys=["label"])
    label = parser.get_parsed_content("load")({"label": scenario.cases()[0]["label"]})["label"]
    label = (label.as_subclass(Tensor) > 0).float()  # (1, D, H, W)
    before, size = working_grid(label.shape[1:], inferer.working_size, network.size_divisor)
    after = [n - b - side for n, b, side in zip(size, before, label.shape[1:], strict=True)]
    padding = [n for pair in zip(before[::-1], after[::-1], strict=True) for n in pair]
    truth = (2 * CERTAIN * F.pad(label, padding) - CERTAIN).to(scenario.device)  # logits
    encode, decode = network.encode, network.decode

    def encoded(scan: Tensor) -> tuple[Tensor, Tensor | None]:
        latents, coarse = encode(scan)
        return latents, None if coarse is None else F.adaptive_max_pool3d(truth[None], coarse.shape[2:])

    def decoded(points: Tensor, patches: Tensor | None, latents: Tensor) -> Tensor:
        decode(points, patches, latents)
        z, y, x = points[0].long().unbind(1)
        return truth[:, z, y, x][None]  # (1, 1, N)

    network.encode, network.decode = torch.no_grad()(encoded), torch.no_grad()(decoded)
