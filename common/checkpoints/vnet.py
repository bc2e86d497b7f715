"""Keys of the original V-Net for the left atrium (bragancas/VNet_PyTorch-Atriaseg2018, MIT), all its variants."""

from __future__ import annotations

from common.checkpoints.mapping import KeyMap

__all__ = ["VNET_KEYS"]

VNET_KEYS: KeyMap = (
    (r"^module\.", ""),  # saved from several GPUs
    (r"^(down|up)_transition(\d+)\.(?:down|up)_conv\.", r"\1\2.\1.conv."),
    (r"^(down|up)_transition(\d+)\.relu1\.", r"\1\2.\1.act."),
    (r"^(down|up)_transition(\d+)\.", r"\1\2."),
    (r"^input_transition\.(?=conv1\.|relu1\.)", "input.conv."),
    (r"^input_transition\.", "input."),
    (r"^out_transition\.", "output."),
    (r"\.ops\.", ".convs."),
    (r"\.conv1\.", ".conv."),
    (r"\.relu1\.", ".act."),
    (r"\.relu2\.", ".unused_act."),
    # Attention. Pooling is a layer of our channel gate, so the numbers of the layers that follow are one higher.
    (r"\.att_module\.", ".attention."),
    (r"\.channel_att\.channel_gate\.1\.", ".channel.gate.2."),
    (r"\.channel_att\.channel_gate\.2\.", ".channel.gate.3."),
    (r"\.channel_att\.channel_gate\.4\.", ".channel.gate.5."),
    (r"\.spatial_att\.spatial_gate\.", ".spatial.gate."),
)
"""From the published keys to those of :class:`common.networks.VNet`."""
