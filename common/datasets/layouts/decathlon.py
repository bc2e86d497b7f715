"""Layout of the Medical Segmentation Decathlon: ``dataset.json`` says which files belong together."""

from __future__ import annotations

import json
from pathlib import Path

from common.datasets.errors import DataError
from common.datasets.folders import is_stray
from common.datasets.layouts.data_set import DataSet
from common.datasets.layouts.dataset_json import LISTING, described_by, read_listing
from common.datasets.layouts.nnunet import is_nnunet
from common.datasets.names import case_of

__all__ = ["decathlon_data_set", "decathlon_datalist", "decathlon_download", "is_decathlon"]

LICENSE = "CC BY-SA 4.0"  # of all ten tasks


def is_decathlon(folder: Path) -> bool:
    """Whether there is a ``dataset.json``, and it is not nnU-Net's."""
    return (folder / LISTING).is_file() and not is_nnunet(folder)


def decathlon_data_set(dataset_dir: str | Path) -> DataSet:
    """A task of the Decathlon, or another data set that was written like one: images of three or four axes, any labels.

    Args:
        dataset_dir: as for :func:`decathlon_datalist`. Its ``modality`` names the channels, its ``labels`` the
            structures; both may be written the other way around too (name -> value).

    Raises:
        DataError: as :func:`decathlon_datalist`, or for names that cannot be understood.
    """
    cases = decathlon_datalist(dataset_dir)
    listing = Path(dataset_dir) / LISTING
    content = read_listing(listing)
    rest = decathlon_datalist(dataset_dir, "test") if content.get("test") else []
    return DataSet("decathlon", cases, **described_by(content, listing), unlabeled=rest)


def decathlon_datalist(dataset_dir: str | Path, section: str = "training") -> list[dict[str, str]]:
    """The cases that ``<dataset_dir>/dataset.json`` lists.

    Args:
        dataset_dir: folder of one task, such as ``Task02_Heart``.
        section: ``"training"`` (images with labels) or ``"test"`` (images).

    Returns:
        ``case`` (the image's name without suffix), ``image`` and, in training, ``label`` of each case, in the file's
        order. Whether the files are there is for :func:`~common.datasets.check_datalist` to say.

    Raises:
        DataError: if ``dataset.json`` is missing, cannot be read or lacks cases in this section.
    """
    listing = Path(dataset_dir) / LISTING
    if not listing.is_file():
        raise DataError(f"{listing}: missing; expected the folder of a Decathlon task, such as Task02_Heart")
    keys = ("image", "label") if section == "training" else ("image",)
    items = read_listing(listing).get(section)
    if not isinstance(items, list):
        found = "none" if items is None else f"a {type(items).__name__}"
        raise DataError(f"{listing}: no usable list {section!r}: expected an array, found {found}")
    cases = []
    for number, item in enumerate(items, start=1):
        paths = {"image": item} if isinstance(item, str) else item
        if not isinstance(paths, dict) or not all(_is_path(paths.get(key)) for key in keys):
            wanted = " and ".join(f'"{key}"' for key in keys)
            raise DataError(
                f"{listing}: no usable list {section!r}: entry {number} is {json.dumps(item)[:200]}, expected the path "
                f"of {wanted} of one case"
            )
        if not is_stray(Path(paths["image"]).name):
            files = {key: str(Path(dataset_dir) / paths[key]) for key in keys}
            cases.append({"case": case_of(paths["image"]), **files})
    if not cases:
        raise DataError(f"{listing}: the list {section!r} is empty")
    return cases


def _is_path(text: object) -> bool:
    return isinstance(text, str) and bool(text.strip())


def decathlon_download(task: str, folder: str | Path) -> Path:
    """Fetch and unpack a task with MONAI's address and md5; nothing is fetched that is already there.

    Size and license are printed before it begins.

    Args:
        task: such as ``Task02_Heart``.
        folder: gets ``<task>.tar`` and ``<task>/``.

    Returns:
        The task's folder, to be given as ``dataset_dir``.

    Raises:
        ValueError: for an unknown task.
        RuntimeError: if the download fails or its md5 is wrong.
    """
    from monai.apps import DecathlonDataset
    from monai.apps.utils import download_and_extract

    if task not in DecathlonDataset.resource:
        raise ValueError(f"{task}: unknown task; choose from {', '.join(sorted(DecathlonDataset.resource))}")
    target = Path(folder) / task
    if not (target / "dataset.json").is_file():
        archive = Path(folder) / f"{task}.tar"
        url, md5 = DecathlonDataset.resource[task], DecathlonDataset.md5[task]
        print(f"{task}: {_size(url)}, license {LICENSE}, from {url}; unpacked it needs about as much again", flush=True)
        download_and_extract(url, archive, folder, hash_val=md5, hash_type="md5")
    return target


def _size(url: str) -> str:
    """How large the file is, as its server says, for people."""
    from urllib.request import Request, urlopen

    try:
        with urlopen(Request(url, method="HEAD"), timeout=20) as answer:
            return f"{int(answer.headers['Content-Length']) / 1e9:.1f} GB"
    except (OSError, ValueError, TypeError):  # no connection, or the server does not say
        return "size unknown"
