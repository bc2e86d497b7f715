"""Volumes from their files: every channel on one grid, and in the order that the network expects."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImaged

from common.files import files_of
from common.transforms.readers import register_readers
from common.transforms.volumes import grid_faults, header_faults, image_faults, label_faults, unreadable

__all__ = ["LoadImageAsVolumed"]


class LoadImageAsVolumed(LoadImaged):
    """Load volumes as (C, X, Y, Z) float32, as their files store them.

    Hosts that load images themselves drop it by its class or by its name, as MONAI's.

    Args:
        keys: items that hold a file in any format that MONAI's readers know, a folder of one DICOM series, or a list of
            files, one for each channel. The ``meta`` of such a list is that of its first file.
        channel_order: the stored channels in the order of the result; as many must there be.
        channel_names: names of the stored channels, for the message where there are others.
        label_key: of ``keys``, the label: a single channel of whole numbers, whatever the others have.
        label_values: values that the label may have; None: all whole numbers.

    Raises:
        ValueError: for a file that cannot be read, or that :func:`~common.transforms.volumes.image_faults`,
            ``label_faults`` or ``header_faults`` find unusable, for channels on different grids, or another number of
            files; the file is named.
    """

    def __init__(
        self,
        keys: Sequence[Hashable] | Hashable,
        *,
        channel_order: Sequence[int] = (0,),
        channel_names: Sequence[str] = (),
        label_key: Hashable = "label",
        label_values: Sequence[int] | None = None,
    ) -> None:
        super().__init__(keys, image_only=True, ensure_channel_first=True)
        register_readers(self)
        if sorted(channel_order) != list(range(len(channel_order))):
            raise ValueError(f"channel_order must hold each of 0 to {len(channel_order) - 1} once, got {channel_order}")
        self.channel_order = list(channel_order)
        self.channel_names = list(channel_names)
        self.label_key = label_key
        self.label_values = None if label_values is None else sorted(int(value) for value in label_values)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            files = files_of(out[key])
            out[key] = self._label(files) if key == self.label_key else self._image(files)
        return out

    def _image(self, files: list[str]) -> MetaTensor:
        order = self.channel_order
        if len(files) not in (1, len(order)):
            _stop(files[0], [f"one of {self._other_channels(len(files))}"])
        volumes = []
        for file in files:
            volume = self._read(file)
            if len(files) == 1 and volume.ndim == 4 and len(volume) != len(order):
                _stop(file, [self._other_channels(len(volume))])
            faults = image_faults(_array(volume), volume.affine.numpy(), channels=len(order) if len(files) == 1 else 1)
            _stop(file, faults or grid_faults(_grid(volume), _grid([*volumes, volume][0]), like=files[0]))
            volumes.append(volume)
        if len(order) == 1:
            return volumes[0]
        stored = volumes[0] if len(files) == 1 else torch.cat(volumes)  # (C, X, Y, Z)
        return MetaTensor(torch.Tensor.as_subclass(stored, torch.Tensor)[order], meta=volumes[0].meta)

    def _other_channels(self, count: int) -> str:
        names = f" ({', '.join(self.channel_names)})" if self.channel_names else ""
        return f"{count} channel{'' if count == 1 else 's'}, the weights take {len(self.channel_order)}{names}"

    def _label(self, files: list[str]) -> MetaTensor:
        if len(files) != 1:
            raise ValueError(f"{files[0]}: one of {len(files)} files, expected one label")
        label = self._read(files[0])
        _stop(files[0], label_faults(_array(label), label.affine.numpy(), values=self.label_values))
        return label.round_()

    def _read(self, file: str) -> MetaTensor:
        _stop(file, header_faults(file))
        try:
            return self._loader(file)
        except MemoryError:
            raise
        except Exception as error:  # the formats' libraries raise errors of all kinds
            raise ValueError(unreadable(file, error)) from error


def _stop(file: str, faults: list[str]) -> None:
    if faults:
        raise ValueError(f"{file}: {'; '.join(faults)}")


def _array(volume: MetaTensor) -> np.ndarray:
    """The volume without its metadata, in the same memory."""
    return torch.Tensor.as_subclass(volume, torch.Tensor).numpy()


def _grid(volume: MetaTensor) -> tuple[tuple[int, ...], np.ndarray]:
    return tuple(volume.shape[1:]), volume.affine.numpy()
