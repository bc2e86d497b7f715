"""What a layout makes of a folder: the cases, and what the data set says of its channels and structures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["DataSet", "modality_named"]

MR_NAME = re.compile(
    r"(lge|ce|post|pre)?[ _-]*(mri?|t[12]|flair|adc|dwi|pd|swi|gre|dce|cine|bold|unit1|mp2rage)[a-z0-9*+ _-]*",
    re.IGNORECASE,
)
CT_NAME = re.compile(r"(nc|ce|cb)?ct([ _-].*)?|computed tomography.*", re.IGNORECASE)
PET_NAME = re.compile(r"(fdg[ _-]?)?pet([ _-].*)?|suv", re.IGNORECASE)


@dataclass(frozen=True)
class DataSet:
    """A folder's cases, and what it says of them. What it does not say stays empty: nothing here is guessed.

    Args:
        layout: how the folder is laid out, one of :data:`~common.datasets.layouts.registry.LAYOUTS`.
        cases: ``case``, ``image`` (a file, or a list of files, one for each channel) and ``label`` of each labeled
            case. Whether the files are there is for :func:`~common.datasets.check_datalist` to say.
        channels: their names, as the data set gives them: ``("FLAIR", "T1w")``.
        modality: ``"CT"``, ``"MR"`` or another name.
        structures: name -> label value, or the values of a region (whole tumor).
        regions_class_order: the label value to write for each region, in the order in which they are painted; nnU-Net's
            key. Empty where no structure is a region.
        ignore: the label value of voxels that nobody labeled.
        groups: case -> patient, where a patient may have several cases.
        unlabeled: ``case`` and ``image`` of each test image.
    """

    layout: str
    cases: list[dict]
    channels: tuple[str, ...] = ()
    modality: str | None = None
    structures: dict[str, int | list[int]] = field(default_factory=dict)
    regions_class_order: tuple[int, ...] = ()
    ignore: int | None = None
    groups: dict[str, str] = field(default_factory=dict)
    unlabeled: list[dict] = field(default_factory=list)

    @property
    def label_values(self) -> list[int]:
        """The values that a label may have, with background and the ignored one; empty where no structure is named."""
        if not self.structures:
            return []
        values = {value for own in self.structures.values() for value in (own if isinstance(own, list) else [own])}
        return sorted(values | {0} | ({self.ignore} if self.ignore is not None else set()))


def modality_named(channels: Sequence[str]) -> str | None:
    """The modality that the names of channels tell: ``"CT"``, ``"MR"``, ``"PET"`` or ``"CT, PET"``; None in doubt.

    Example::

        modality_named(["FLAIR", "T1w"])  # "MR"
    """
    kinds = {"CT": CT_NAME, "PET": PET_NAME, "MR": MR_NAME}
    found = [next((kind for kind, names in kinds.items() if names.fullmatch(name.strip())), None) for name in channels]
    return None if not found or None in found else ", ".join(sorted(set(found)))
