"""Weights of Vox2Vox's published codes: state dicts of enochkan/vox2vox, Keras lists of mdciri/Vox2Vox.

Neither project published weights; these maps are for those whom somebody trained.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from common.checkpoints.mapping import KeyMap

__all__ = ["VOX2VOX_DISCRIMINATOR_KEYS", "VOX2VOX_GENERATOR_KEYS", "keras_state_dict"]

VOX2VOX_GENERATOR_KEYS: KeyMap = (
    (r"^module\.", ""),  # saved from several GPUs
    (r"^(down|up)(\d)\.model\.0\.", r"\1\2.conv."),
    (r"^mid(\d)\.model\.0\.", r"bottleneck.b\1.conv."),
    (r"^final\.0\.", "output."),
)
"""From ``generator_<epoch>.pth`` to :class:`common.networks.Vox2VoxGenerator` of the variant "pytorch"."""

VOX2VOX_DISCRIMINATOR_KEYS: KeyMap = (
    (r"^module\.", ""),  # saved from several GPUs
    (r"^model\.0\.", "block1.conv."),
    (r"^model\.2\.", "block2.conv."),
    (r"^model\.5\.", "block3.conv."),
    (r"^model\.8\.", "block4.conv."),
    (r"^final\.", "output."),
)
"""From ``discriminator_<epoch>.pth`` to :class:`common.networks.Vox2VoxDiscriminator` of the variant "pytorch"."""


def keras_state_dict(arrays: Sequence[np.ndarray], network: nn.Module) -> dict[str, Tensor]:
    """The state dict of a variant "tensorflow" from the arrays of Keras's ``model.get_weights()``.

    Both list convolution and normalization in the order of the layers, kernels and scales before biases and shifts.
    Keras has the kernel of a convolution as (4, 4, 4, in, out), of a transposed one as (4, 4, 4, out, in).

    Args:
        arrays: 44 of the generator, or 16 of the discriminator.
        network: a network of the variant "tensorflow", whose keys are taken.

    Returns:
        What :func:`common.checkpoints.import_state_dict` loads, after its checks.

    Raises:
        ValueError: if the network has another number of tensors.
    """
    keys = list(network.state_dict())
    if len(keys) != len(arrays):
        raise ValueError(
            f"{len(arrays)} arrays for the {len(keys)} tensors of a {type(network).__name__}: wrong variant?"
        )
    tensors = (torch.from_numpy(np.array(array)) for array in arrays)
    return {
        key: t.permute(4, 3, 0, 1, 2).contiguous() if t.ndim == 5 else t for key, t in zip(keys, tensors, strict=True)
    }
