"""Deterministic preprocessing, computed once and kept on disk."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from enum import Enum
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from monai.data import PersistentDataset
from monai.transforms import Compose, RandomizableTrait, Transform
from monai.utils import convert_to_tensor

import common
from common.datasets.keys import described, digest, item_key
from common.datasets.names import named_cases
from common.files import whole_file

__all__ = ["CachedDataset"]

# A volume's metadata holds small NumPy arrays and MONAI's enums; torch.load(weights_only=True) takes them once these
# are named. Objects of any other kind stay refused.
torch.serialization.add_safe_globals(
    [np.ndarray, np.dtype, np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]]
    + [type(np.dtype(code)) for code in "?bhilqBHILQefdSU"]
    + [kind for kind in vars(monai.utils.enums).values() if isinstance(kind, type) and issubclass(kind, Enum)]
)


class CachedDataset(PersistentDataset):
    """MONAI's ``PersistentDataset`` with a key that holds all that a result depends on.

    A result is computed anew when the size or time of one of the item's files changes, when a parameter of a
    deterministic transform does, or with another version of MONAI or of this package. Nested ``Compose`` count as one
    list, so that what stands before the first random transform is kept. Files are written whole or not at all; several
    processes may share a folder; an unreadable file is computed again.

    Args:
        data: items whose values may be paths; those without a ``case`` get one (:func:`named_cases`).
        transform: deterministic transforms, then random ones.
        cache_dir: made if missing; None keeps nothing.
    """

    def __init__(self, data: Sequence[Mapping], transform: Callable | Sequence[Callable], cache_dir: str | Path | None):
        flat = (transform if isinstance(transform, Compose) else Compose(transform)).flatten()
        data = named_cases(data)
        try:
            super().__init__(data, flat, cache_dir, track_meta=True)
        except OSError as error:  # a full or read-only disk costs time, not the run
            warnings.warn(f"{cache_dir}: cannot be made ({error.strerror}); nothing is kept", stacklevel=2)
            super().__init__(data, flat, None, track_meta=True)
        self._full = False
        fixed = []
        for step in flat.transforms:
            if isinstance(step, RandomizableTrait) or not isinstance(step, Transform):
                break
            fixed.append(step)
        versions = [monai.__version__, common.__version__]
        self.transform_hash = digest([versions, described(fixed)])

    def set_data(self, data: Sequence[Mapping]) -> None:
        """Other items; what is kept stays, since the keys tell the items apart."""
        self.data = named_cases(data)

    def _cachecheck(self, item: Mapping) -> Any:
        if self.cache_dir is None:
            return self._pre_transform(deepcopy(item))
        path = self.cache_dir / f"{digest([self.transform_hash, item_key(item)])}.pt"
        try:
            return torch.load(path, weights_only=True, mmap=True, map_location="cpu")
        except FileNotFoundError:
            pass
        except Exception as error:  # torch raises errors of many kinds for a damaged file
            warnings.warn(f"{path}: cannot be read ({type(error).__name__}: {error}); computed again", stacklevel=2)
        result = convert_to_tensor(self._pre_transform(deepcopy(item)), convert_numeric=False, track_meta=True)
        try:
            with whole_file(path) as file:
                torch.save(result, file)
        except (OSError, RuntimeError) as error:  # of a full disk torch speaks as of a broken archive
            if not self._full:
                warnings.warn(f"{path}: cannot be kept ({str(error).splitlines()[0]})", stacklevel=2)
            self._full = True
        return result
