"""MONAI's checks of a bundle's networks: inputs and outputs, TorchScript export, ONNX export."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser, ckpt_export, onnx_export, verify_net_in_out
from monai.bundle.scripts import _get_fake_spatial_shape as smallest  # what MONAI's commands make of "16*n"
from torch import Tensor

from common.arguments import knows
from common.checkpoints import load_weights
from common.files import read_json

# An exported network may differ from the one that the configs run by this much: atol + rtol * |value|.
RTOL, ATOL = 1e-4, 1e-4
FORMAT = "_data_format"


@dataclass(frozen=True)
class Network:
    """A network that the metadata describes.

    Args:
        net_id: of the network in the config, as the config builds it: on its device, in its memory format.
        plain_id: of the network alone, which is exported.
        weights: file in models/.
        config: file in configs/ that has the ids.
        data_format: ``inputs`` and ``outputs``.
    """

    net_id: str
    plain_id: str
    weights: str
    config: str
    data_format: dict

    @property
    def shape(self) -> tuple[int, ...]:
        """Batch, channels and the smallest spatial shape that the metadata allows."""
        image = self.data_format["inputs"]["image"]
        return (1, image["num_channels"], *smallest(image["spatial_shape"]))

    @property
    def override(self) -> dict:
        """What makes MONAI's commands read this network's format: they know `network_data_format` alone."""
        return {"_meta_#network_data_format": self.data_format}


def described(bundle: Path) -> list[Network]:
    """The networks that metadata.json describes.

    ``network_data_format`` is about the id ``network``, made from ``network_def``, with the weights ``model.pt``;
    ``<name>_data_format`` about ``<name>#network`` or ``<name>``, with the weights ``<name>.pt``.

    Raises:
        ValueError: if no config has such an id.
    """
    formats = read_json(bundle / "configs/metadata.json")
    configs = {name: read_json(bundle / "configs" / name) for name in ("inference.json", "train.json")}
    found = []
    for key in [key for key in formats if key.endswith(FORMAT)]:
        name = key.removesuffix(FORMAT)
        ids = ("network",) if name == "network" else (f"{name}#network", name)
        hits = [(file, net_id) for net_id in ids for file, content in configs.items() if knows(content, net_id)]
        if not hits:
            raise ValueError(f"configs/metadata.json: {key}, but no config has the id {' or '.join(ids)}")
        file, net_id = hits[0]
        plain_id, weights = ("network_def", "model.pt") if name == "network" else (net_id, f"{name}.pt")
        found.append(Network(net_id, plain_id, weights, file, formats[key]))
    return found


def in_out(bundle: Path, network: Network) -> str:
    """`verify_net_in_out` on the CPU in float32, and the spatial shape of the output, at which MONAI does not look.

    Returns:
        The shapes.

    Raises:
        ValueError: if the metadata says something else than the network does.
    """
    verify_net_in_out(
        net_id=network.net_id,
        meta_file=_path(bundle, "metadata.json"),
        config_file=_path(bundle, network.config),
        device="cpu",
        **network.override,
    )
    output = tuple(_eager(bundle, network)(_input(network)).shape)
    expected = smallest(network.data_format["outputs"]["pred"]["spatial_shape"])
    if output[2:] != expected:
        raise ValueError(f"spatial shape of the output is {output[2:]}, the metadata says {expected}")
    return f"{_times(network.shape)} gives {_times(output)}"


def torchscript(bundle: Path, network: Network) -> str:
    """`ckpt_export`, reloaded: it gives the numbers of the network that the configs run.

    Returns:
        The largest difference.

    Raises:
        ValueError: if it gives others.
    """
    file, note = bundle / "models" / f"{network.weights}.ts", _weights(bundle, network)
    ckpt_export(net_id=network.plain_id, filepath=str(file), **_export_arguments(bundle, network))
    with torch.no_grad():
        return _compared(torch.jit.load(str(file))(_input(network)), bundle, network) + note


def onnx(bundle: Path, network: Network) -> str:
    """`onnx_export`, in onnxruntime: it gives the numbers of the network that the configs run.

    Returns:
        The largest difference.

    Raises:
        ValueError: if it gives others.
    """
    import onnxruntime

    file, note = bundle / "models" / f"{network.weights}.onnx", _weights(bundle, network)
    with _temporary_files_in(bundle.parent):
        onnx_export(
            net_id=network.plain_id,
            filepath=str(file),
            input_shape=network.shape,
            **_export_arguments(bundle, network),
        )
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: _input(network).numpy()})
    return _compared(torch.from_numpy(np.asarray(output)), bundle, network) + note


CHECKS = {"network in and out": in_out, "TorchScript export": torchscript, "ONNX export": onnx}


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """`onnx_export` makes a temporary file, and torch one of all weights beside it, which nobody removes."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _path(bundle: Path, name: str) -> str:
    return str(bundle / "configs" / name)


def _export_arguments(bundle: Path, network: Network) -> dict:
    return {
        "ckpt_file": str(bundle / "models" / network.weights),
        "meta_file": _path(bundle, "metadata.json"),
        "config_file": _path(bundle, network.config),
        **network.override,
    }


def _weights(bundle: Path, network: Network) -> str:
    """See to it that there are weights in this copy of the bundle.

    Returns:
        A remark if they are random.
    """
    file, mark = bundle / "models" / network.weights, bundle / "models" / f"{network.weights}.random"
    if not file.is_file():
        file.parent.mkdir(exist_ok=True)
        torch.manual_seed(0)
        torch.save(_built(bundle, network, network.plain_id).state_dict(), file)
        mark.touch()
    load_weights(file, _built(bundle, network, network.plain_id))
    return f" (random weights: no models/{network.weights} is shipped)" if mark.is_file() else ""


def _built(bundle: Path, network: Network, net_id: str) -> torch.nn.Module:
    parser = ConfigParser()
    parser.read_config(_path(bundle, network.config))
    parser["device"] = "cpu"
    return parser.get_parsed_content(net_id).eval()


def _eager(bundle: Path, network: Network) -> torch.nn.Module:
    """The network as the config builds it, with its weights where there are some."""
    built = _built(bundle, network, network.net_id)
    file = bundle / "models" / network.weights
    if file.is_file():
        load_weights(file, built)
    return built


def _input(network: Network) -> Tensor:
    return torch.rand(network.shape, generator=torch.Generator().manual_seed(0))


def _compared(exported: Tensor, bundle: Path, network: Network) -> str:
    with torch.no_grad():
        eager = _eager(bundle, network)(_input(network))
    if exported.shape != eager.shape:
        raise ValueError(f"the exported network gives {_times(exported.shape)}, the eager one {_times(eager.shape)}")
    difference = (exported - eager).abs()
    if not bool((difference <= ATOL + RTOL * eager.abs()).all()):
        raise ValueError(
            f"the exported network differs from the eager one by up to {float(difference.max()):.1e}, "
            f"more than {ATOL} + {RTOL} x |value|"
        )
    return f"differs by at most {float(difference.max()):.0e} (values up to {float(eager.abs().max()):.1f})"


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)
