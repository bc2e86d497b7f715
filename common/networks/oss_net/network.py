"""OSS-Net, an occupancy network for segmentation that spares memory (Reich et al., BMVC 2021, arXiv 2110.10640)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from common.networks.oss_net.decoder import BLOCKS, Decoder
from common.networks.oss_net.encoder import PlainEncoder, SkipEncoder
from common.networks.oss_net.observations import global_observation, local_observation, pooled_means

__all__ = ["VARIANTS", "OSSNet"]

VARIANTS = {  # with skips and auxiliary segmentation; patches around a point
    "O-Net": (False, 0),
    "A": (False, 1),
    "B": (False, 2),
    "C": (True, 1),
    "D": (True, 2),
}


class OSSNet(nn.Module):
    """Occupancy of points in a scan, from the scan at half resolution and the voxels around each point.

    The defaults are those of BraTS; for LiTS ``in_channels=1, channels=(8, 16, 32, 64, 128), low_shape=(8, 8, 8)``.
    Points are raw voxel indices of the working grid, not scaled (kept for the authors' weights). Initialized as torch
    does, conditional normalizations as constants.

    Args:
        in_channels: C of the volume.
        out_channels: K; 1 for a structure against the background, else classes with the background among them.
        variant: ``"O-Net"``, ``"A"``, ``"B"``, ``"C"`` or ``"D"``: one latent code (first three) or six and an
            auxiliary segmentation at 1/32 of the resolution (C, D); no patches (O-Net), of 7 x 7 x 7 voxels, and in B
            and D pooled ones of 14 x 14 x 14 too.
        channels: of the encoder's blocks, each of which halves the resolution.
        low_shape: (d, h, w) of the latent codes. O-Net, A and B need a volume of ``size_divisor * low_shape`` voxels,
            C and D take any.
        width: features of the decoder's blocks.

    Attributes:
        size_divisor: what the sides of the working grid should be multiples of: one voxel of the encoder's result.
        latent_length: L, the number of voxels in ``low_shape``.

    Raises:
        ValueError: for another variant.

    Shape:
        ``forward(volume (B, C, D, H, W), points (B, N, 3))`` gives logits ``(B, K, N + w)``: those of the points, and
        behind them those of the w voxels of the auxiliary segmentation, flattened, where the variant has one: what a
        training step needs, in one tensor. ``forward(volume)`` gives ``(B, K, D, H, W)``, every voxel at once: for
        small volumes, such as those with which networks are checked and exported.

    Example::

        >>> net = OSSNet()
        >>> points = torch.randint(0, 155, (1, 1024, 3))
        >>> net(torch.zeros(1, 4, 256, 256, 160), points).shape
        torch.Size([1, 1, 1344])
    """

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 1,
        *,
        variant: str = "C",
        channels: Sequence[int] = (16, 32, 64, 128),
        low_shape: Sequence[int] = (8, 8, 5),
        width: int = 512,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
        skips, self.patches = VARIANTS[variant]
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.size_divisor = 2 ** (len(channels) + 1)
        self.latent_length = math.prod(low_shape)
        codes = BLOCKS + 1 if skips else 1
        if skips:
            self.encoder = SkipEncoder(in_channels, channels, low_shape, codes=codes, out_channels=out_channels)
        else:
            self.encoder = PlainEncoder(in_channels, channels, low_shape)
        self.decoder = Decoder(
            self.patches * in_channels,
            codes=codes,
            latent_length=self.latent_length,
            width=width,
            out_channels=out_channels,
        )

    def encode(self, scan: Tensor) -> tuple[Tensor, Tensor | None]:
        """Latent codes of a scan.

        Args:
            scan: ``(B, C, D/2, H/2, W/2)``, the working grid at half resolution
                (:func:`~common.networks.oss_net.observations.global_observation`).

        Returns:
            Codes ``(B, 1 or 6, L)``, and logits of the auxiliary segmentation ``(B, K, d, h, w)`` or None.
        """
        return self.encoder(scan)

    def decode(self, points: Tensor, patches: Tensor | None, latents: Tensor) -> Tensor:
        """Occupancy of points.

        Args:
            points: ``(B, N, 3)``, voxel indices of the working grid.
            patches: ``(B, N, C or 2 C, 7, 7, 7)``
                (:func:`~common.networks.oss_net.observations.local_observation`); None for O-Net.
            latents: what :meth:`encode` gave.

        Returns:
            Logits ``(B, K, N)``.
        """
        return self.decoder(points, patches, latents).transpose(1, 2)

    def means(self, volume: Tensor) -> Tensor | None:
        """What :meth:`local_patches` needs beside a case's volume ``(C, D, H, W)``; made once for each case."""
        return pooled_means(volume) if self.patches == 2 else None

    def local_patches(self, volume: Tensor, means: Tensor | None, points: Tensor) -> Tensor | None:
        """Patches ``(N, C or 2 C, 7, 7, 7)`` around ``points`` ``(N, 3)`` of one case; None for O-Net."""
        return local_observation(volume, means, points) if self.patches > 0 else None

    def forward(self, volume: Tensor, points: Tensor | None = None) -> Tensor:
        size = volume.shape[2:]
        latents, coarse = self.encode(global_observation(volume, [0, 0, 0], list(size)))
        if points is None:
            axes = [torch.arange(n, device=volume.device) for n in size]
            lattice = torch.stack(torch.meshgrid(axes, indexing="ij"), dim=-1).view(1, -1, 3)
            logits = self._occupancy(volume, lattice.expand(volume.shape[0], -1, -1), latents)
            return logits.unflatten(2, list(size))
        logits = self._occupancy(volume, points, latents)
        return logits if coarse is None else torch.cat([logits, coarse.flatten(2)], dim=2)

    def _occupancy(self, volume: Tensor, points: Tensor, latents: Tensor) -> Tensor:
        patches: Tensor | None = None
        if self.patches > 0:
            cases = [local_observation(v, self.means(v), p.long()) for v, p in zip(volume, points)]  # noqa: B905 - TorchScript
            patches = torch.stack(cases)
        return self.decode(points, patches, latents)
