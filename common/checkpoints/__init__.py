"""Weights on disk: small files that load anywhere, and exact import of published ones."""

from common.checkpoints.efficient_seg_net import EFFICIENT_SEG_NET_KEYS, RESIDUAL_UNET_KEYS
from common.checkpoints.foreign import Imported, import_published
from common.checkpoints.init import init_record, start_from, training_states, weights_file
from common.checkpoints.mapping import KeyMap, MappedTensor, import_state_dict, rename_key
from common.checkpoints.oss_net import OSS_NET_KEYS
from common.checkpoints.unet import UNET_KEYS
from common.checkpoints.vnet import VNET_KEYS
from common.checkpoints.vox2vox import VOX2VOX_DISCRIMINATOR_KEYS, VOX2VOX_GENERATOR_KEYS, keras_state_dict
from common.checkpoints.weights import load_tensors, load_weights, save_atomically, save_weights

__all__ = [
    "EFFICIENT_SEG_NET_KEYS",
    "OSS_NET_KEYS",
    "RESIDUAL_UNET_KEYS",
    "UNET_KEYS",
    "VNET_KEYS",
    "VOX2VOX_DISCRIMINATOR_KEYS",
    "VOX2VOX_GENERATOR_KEYS",
    "Imported",
    "KeyMap",
    "MappedTensor",
    "import_published",
    "import_state_dict",
    "init_record",
    "keras_state_dict",
    "load_tensors",
    "load_weights",
    "rename_key",
    "save_atomically",
    "save_weights",
    "start_from",
    "training_states",
    "weights_file",
]
