"""Keys of the liver U-Net's checkpoints (notebook of mrshamshir/3D-Liver-Segmentation, PyTorch Lightning)."""

from __future__ import annotations

from common.checkpoints.mapping import KeyMap

__all__ = ["UNET_KEYS"]

UNET_KEYS: KeyMap = (
    (r"^module\.", ""),  # saved from several GPUs
    (r"^loss_fn\.weight$", ""),  # class weights of a weighted loss: no part of the network
    (r"^model\.", ""),  # the network is an attribute of the Lightning module
    (r"\.step\.0\.", ".conv1."),
    (r"\.step\.2\.", ".conv2."),
    *((rf"^layer{n}\.", f"encoder.{n - 1}.") for n in (1, 2, 3, 4)),
    *((rf"^layer{n}\.", f"decoder.{n - 5}.") for n in (5, 6, 7)),
    (r"^layer8\.", "output."),
)
"""From the keys of a checkpoint's ``state_dict`` to those of :class:`common.networks.UNet3d` with four levels."""
