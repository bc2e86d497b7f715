"""Keys of the published EfficientSegNet checkpoints (Shanghai-Aitrox-Technology/EfficientSegmentation).

A checkpoint of theirs is a dictionary; its ``state_dict`` is what these rules are for.
"""

from __future__ import annotations

from common.checkpoints.mapping import KeyMap

__all__ = ["EFFICIENT_SEG_NET_KEYS", "RESIDUAL_UNET_KEYS"]

# conv<level>_<column>: the encoder is column 0, the decoder the diagonal, from the bottom up.
LEVELS: KeyMap = (
    (r"^module\.", ""),  # saved from several GPUs
    (r"^conv(\d)_0\.", r"encoder.\1."),
    *((rf"^conv{3 - n}_{1 + n}\.", f"decoder.{n}.") for n in range(4)),
    (r"^final\.", "output."),
)

RESIDUAL_UNET_KEYS: KeyMap = (
    *LEVELS,
    *((rf"\.residual_unit_{n}\.", f".units.{n - 1}.") for n in (1, 2)),
    (r"\.residual_unit\.", ".units.0."),
    (r"\.shortcut_unit(_1)?\.", ".shortcut."),
)
"""From the published keys of the coarse network to those of :class:`common.networks.ResidualUNet`."""

EFFICIENT_SEG_NET_KEYS: KeyMap = (
    *LEVELS,
    (r"\.residual_unit\.", ".main."),
    (r"\.shortcut_unit\.", ".shortcut."),
    *((rf"^trans_{4 - n}\.", f"reduce.{n}.") for n in range(4)),
    (r"^context_block\.trans_layer\.", "context.reduce."),
    (r"^context_block\.conv1_1\.", "context.cube_input."),
    (r"^context_block\.conv1_2\.", "context.strip_input."),
    *((rf"^context_block\.conv2_{n}\.", f"context.cubes.{n}.") for n in range(3)),
    *((rf"^context_block\.conv2_{n + 3}\.", f"context.strips.{n}.") for n in range(3)),
    (r"^context_block\.conv2_6\.", "context.cube_output."),
    (r"^context_block\.conv2_7\.", "context.strip_output."),
    (r"^context_block\.conv3\.", "context.merge."),
    (r"^context_block\.score_layer\.", "context.expand."),
)
"""From the published keys of the fine network to those of :class:`common.networks.EfficientSegNet`."""
