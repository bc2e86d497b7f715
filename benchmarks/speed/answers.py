"""Known answers for OSS-Net: which points its search asks for depends on what the network says."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.scenario import Scenario
from common.inferers import OccupancyInferer
from common.networks import OSSNet
from common.transforms.working_grids import working_grid

LOGIT = 20.0  # magnitude


def answer_with_label(network: OSSNet, inferer: OccupancyInferer, scenario: Scenario) -> None:
    """Make an untrained network give the label of the scenario's first case; it computes all the same.

    Its own answers are noise, which the search would follow everywhere or nowhere.

    Args:
        network: its methods ``encode`` and ``decode`` are replaced.
        inferer: tells the working grid.
        scenario: its inference config loads the label as it does the image.
    """
    load = scenario.inference(keys=["label"]).get_parsed_content("load")
    label = load({"label": scenario.cases()[0]["label"]})["label"].as_subclass(Tensor) > 0  # (1, D, H, W)
    before, size = working_grid(label.shape[1:], inferer.working_size, network.size_divisor)
    margins = [(b, n - b - side) for n, b, side in zip(size, before, label.shape[1:], strict=True)]
    padding = [n for margin in reversed(margins) for n in margin]
    truth = (2 * LOGIT * F.pad(label.float(), padding) - LOGIT).to(scenario.device)
    encode, decode = network.encode, network.decode

    @torch.no_grad()
    def encoded(scan: Tensor) -> tuple[Tensor, Tensor | None]:
        latents, coarse = encode(scan)
        return latents, None if coarse is None else F.adaptive_max_pool3d(truth[None], coarse.shape[2:])

    @torch.no_grad()
    def decoded(points: Tensor, patches: Tensor | None, latents: Tensor) -> Tensor:
        decode(points, patches, latents)
        z, y, x = points[0].long().unbind(1)
        return truth[:, z, y, x][None]  # (1, 1, N)

    network.encode, network.decode = encoded, decoded
