"""Operations of the networks that are quicker on a CPU than torch's own, behind one switch.

Networks call them as they call any operation (``kernels.instance_norm(x, ...)``). Each computes what the stock
operation computes, within rounding, in value and gradient; what depends on device, type, memory format or tracing is
decided here and nowhere else. :func:`use` switches them, :func:`stock` does without them for a while.
"""

from common.kernels.adam import Adam, AdamW
from common.kernels.channels_last import dense_gradient, stored_like
from common.kernels.conditional import conditional_norm
from common.kernels.conv import conv3d
from common.kernels.instance import instance_norm
from common.kernels.linear import float32_linear
from common.kernels.malloc import reuse_freed_memory
from common.kernels.patches import patch_conv, patch_conv_index
from common.kernels.pooling import adaptive_max_pool3d
from common.kernels.precision import autocast, autocast_dtype, computes_in_bfloat16, cuda_amp
from common.kernels.rational import pade
from common.kernels.switch import enabled, on_device, recording, stock, tracing, use

__all__ = [
    "Adam",
    "AdamW",
    "adaptive_max_pool3d",
    "autocast",
    "autocast_dtype",
    "computes_in_bfloat16",
    "conditional_norm",
    "conv3d",
    "cuda_amp",
    "dense_gradient",
    "enabled",
    "float32_linear",
    "instance_norm",
    "on_device",
    "pade",
    "patch_conv",
    "patch_conv_index",
    "recording",
    "reuse_freed_memory",
    "stock",
    "stored_like",
    "tracing",
    "use",
]
