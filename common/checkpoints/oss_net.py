"""Keys of the authors' OSS-Net (ChristophReich1996/OSS-Net, MIT), all its variants."""

from __future__ import annotations

from common.checkpoints.mapping import KeyMap

__all__ = ["OSS_NET_KEYS"]

OSS_NET_KEYS: KeyMap = (
    (r"^module\.", ""),  # as DataParallel saves; the published files are said to be without
    (r"\.weight_(numerator|denominator)$", r".\1"),
    (r"^encoder\.final_mapping\.", "encoder.latent."),
    (r"^encoder\.segmentation_mapping\.0\.", "encoder.segmentation."),
    (r"^encoder\.output_mappings\.(\d+)\.1\.", r"encoder.skips.\1.conv."),
    (r"^encoder\.output_mappings\.(\d+)\.2\.", r"encoder.skips.\1.norm."),
    (r"^encoder\.output_mappings\.(\d+)\.3\.", r"encoder.skips.\1.act."),
    (r"^encoder\.latent\.0\.", "encoder.latent.conv."),
    (r"^encoder\.latent\.1\.", "encoder.latent.norm."),
    (r"^encoder\.latent\.2\.", "encoder.latent.act."),
    (r"\.main_mapping\.0\.", ".conv1."),
    (r"\.main_mapping\.1\.", ".norm1."),
    (r"\.main_mapping\.2\.", ".act1."),
    (r"\.main_mapping\.5\.", ".conv2."),
    (r"\.main_mapping\.6\.", ".norm2."),
    (r"^encoder\.blocks\.(\d+)\.residual_mapping\.", r"encoder.blocks.\1.skip."),
    (r"^decoder\.blocks\.0\.residual_mapping\.", "decoder.shortcut."),
    (r"\.final_activation\.", ".act."),
    (r"^(decoder\.blocks\.\d+)\.activation\.", r"\1.act1."),
    (r"\.linear_layer_([12])\.", r".linear\1."),
    (r"\.cnb_([12])\.linear_(gamma|beta)\.", r".norm\1.\2."),
    (r"\.cnb_([12])\.normalization\.", r".norm\1."),
    (r"^decoder\.patch_mapping\.mapping\.0\.", "decoder.patch_encoder.conv1."),
    (r"^decoder\.patch_mapping\.mapping\.1\.", "decoder.patch_encoder.act1."),
    (r"^decoder\.patch_mapping\.mapping\.3\.", "decoder.patch_encoder.conv2."),
    (r"^decoder\.patch_mapping\.mapping\.4\.", "decoder.patch_encoder.act2."),
    (r"^decoder\.final_mapping\.0\.", "decoder.output."),
)
"""From the published keys to those of :class:`common.networks.OSSNet`."""
