"""Standard baselines beside the bundles: MONAI's DynUNet, as nnU-Net configures it, and SegResNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from monai.losses import DeepSupervisionLoss, DiceCELoss
from monai.networks.nets import DynUNet, SegResNet
from torch import Tensor, nn


def dynunet(channels: int, classes: int, patch: Sequence[int], *, width: int = 32) -> DynUNet:
    """MONAI's DynUNet as nnU-Net configures it for 3-D patches (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z).

    Each side is halved while at least 4 voxels remain, five times at most; channels double up to ten times the width.

    Args:
        channels: of the image.
        classes: of the label, background included.
        patch: (D, H, W), in voxels.
        width: channels of the first level.
    """
    sides, strides = list(patch), [[1, 1, 1]]
    while len(strides) < 6 and any(n % 2 == 0 and n >= 8 for n in sides):
        strides.append([2 if n % 2 == 0 and n >= 8 else 1 for n in sides])
        sides = [n // s for n, s in zip(sides, strides[-1], strict=True)]
    levels = len(strides)
    return DynUNet(
        spatial_dims=3,
        in_channels=channels,
        out_channels=classes,
        kernel_size=[3] * levels,
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=[min(width * 2**level, 10 * width) for level in range(levels)],
        norm_name=("INSTANCE", {"affine": True}),
        deep_supervision=True,
        deep_supr_num=max(1, levels - 3),
    )


def segresnet(channels: int, classes: int, patch: Sequence[int], *, width: int = 16) -> SegResNet:
    """MONAI's SegResNet as its bundle brats_mri_segmentation configures it; arguments as for :func:`dynunet`."""
    blocks = {"blocks_down": [1, 2, 2, 4], "blocks_up": [1, 1, 1], "dropout_prob": 0.2}
    return SegResNet(spatial_dims=3, in_channels=channels, out_channels=classes, init_filters=width, **blocks)


ALTERNATIVES: dict[str, Callable[..., nn.Module]] = {"dynunet": dynunet, "segresnet": segresnet}


class DeepDiceCE(nn.Module):
    """Dice and cross entropy of logits (B, K, D, H, W) and labels (B, 1, D, H, W).

    Of deep supervision, (B, levels, K, D, H, W), each level weighs half of the one before, as in nnU-Net.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loss = DiceCELoss(to_onehot_y=True, softmax=True, batch=True)
        self.deep = DeepSupervisionLoss(self.loss)

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        return self.deep(list(logits.unbind(1)), label) if logits.dim() == 6 else self.loss(logits, label)


def usual_optimizer(network: nn.Module) -> torch.optim.Optimizer:
    """nnU-Net's SGD (0.01, Nesterov, 0.99) for the DynUNet, AdamW (1e-4) for others."""
    if isinstance(network, DynUNet):
        return torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.99, nesterov=True, weight_decay=3e-5)
    return torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=1e-5)
