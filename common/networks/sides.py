"""The sides of a volume that a network can take."""

from __future__ import annotations

from torch import Tensor

from common import kernels

__all__ = ["check_sides"]


def check_sides(x: Tensor, network: str, divisor: int, least: int = 1, longest: int = 1) -> None:
    """Refuse a volume that a network cannot halve at every level, or normalize at the bottom.

    Args:
        x: volume (B, C, D, H, W). Nothing is checked while the network is traced.
        network: its name, for the message.
        divisor: every side must be a multiple of it.
        least: voxels that every side must have.
        longest: voxels that one of the sides must have.

    Raises:
        ValueError: saying which sides would do.
    """
    if kernels.tracing():
        return
    fits = max(x.shape[2:]) >= longest
    for side in x.shape[2:]:  # a plain loop: TorchScript compiles this
        fits = fits and side % divisor == 0 and side >= least
    if not fits:
        wanted = f"a multiple of {divisor}"
        if least > 1:
            wanted += f" and at least {least}"
        if longest > 1:
            wanted += f", one of them at least {longest}"
        raise ValueError(
            f"{network} halves the volume at every level: every side must be {wanted}, got {list(x.shape[2:])}; pad "
            "it, or let the bundle's inferer do so"
        )
