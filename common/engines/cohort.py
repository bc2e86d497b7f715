"""The cases of a cohort as a data set that outlives its broken files."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.transforms import apply_transform
from torch.utils.data import Dataset

from common.command_line import describe_error, one_line
from common.datasets.names import named_cases
from common.files import files_of
from common.traces import trace_of

__all__ = ["CohortDataset", "file_at_fault"]


class CohortDataset(Dataset):
    """A data set whose broken cases come out as ``{"case", "image", "failure"}`` instead of ending the loader.

    The others gain ``loading_s``, the seconds that the transforms took.

    Args:
        data: cases with ``image``; those without a ``case`` get one (:func:`common.datasets.names.named_cases`).
        transform: dictionary transforms of one case.
    """

    def __init__(self, data: Sequence[dict[str, Any]], transform: Callable) -> None:
        self.data = named_cases(data)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.data[index]
        start = time.perf_counter()
        try:
            loaded = apply_transform(self.transform, dict(item))
        except Exception as error:
            failure = {"failure": one_line(error), "trace": trace_of(error)}
            return {"case": item["case"], "image": file_at_fault(error, item), **failure}
        return {**loaded, "loading_s": time.perf_counter() - start}


def file_at_fault(error: BaseException, item: Mapping[str, Any]) -> str:
    """The first of the label's and the image's files that the error names, else the image's first."""
    label = item.get("label")
    images = files_of(item["image"])
    files = [str(label), *images] if isinstance(label, str | Path) and str(label) else images
    text = describe_error(error)
    named = (file for file in files if re.search(rf"(?<![\w/.-]){re.escape(file)}(?!\w|\.\w)", text))
    return next(named, images[0])
