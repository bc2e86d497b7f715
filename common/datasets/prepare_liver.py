"""The half-resolution copy of Task03_Liver that the liver bundle was described with, made and checked case by case.

Example::

    python -m common.datasets prepare-liver --source data/Task03_Liver --target data/Task03_Liver_half --workers 4
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from common.datasets.check import check_datalist
from common.datasets.errors import DataError
from common.datasets.keys import stamp
from common.datasets.layouts.decathlon import decathlon_datalist
from common.files import whole_file

__all__ = ["halve_case", "prepare_liver", "table"]

logger = logging.getLogger(__name__)

MODES = ("half", "in-plane")
IN_PLANE = 256  # voxels, of the mode that keeps the slices
LABELS = (0, 1, 2)  # background, liver, tumor
LICENSE = "CC-BY-SA 4.0"  # of Task03_Liver; what is derived from it carries it on
REPORT = "report.json"


def prepare_liver(
    source: str | Path, target: str | Path, *, mode: str = "half", workers: int = 2, test_images: bool = True
) -> dict[str, Any]:
    """Copy a data set in the layout of Task03_Liver to RAS orientation and lower resolution.

    Cases that are whole already are skipped, so that an interrupted run goes on where it was. A bad case does not end
    the run; it is left out of the copy's ``dataset.json``.

    Args:
        source: folder with ``dataset.json``; only what it lists is read.
        target: folder of the copy; gets ``dataset.json`` and ``report.json``.
        mode: ``"half"``: half as many voxels along every axis; ``"in-plane"``: 256 x 256, all slices kept.
        workers: processes, each of which needs about 5 GB for the largest scans (512 x 512 x 1000).
        test_images: whether the unlabeled test images are copied too.

    Returns:
        The report: ``mode``, and ``cases`` with a row each as :func:`halve_case` makes them, or with its ``fault``.

    Raises:
        ValueError: for another mode, or a target inside the source.
        DataError: if the source's ``dataset.json`` cannot be used.
    """
    source, target = Path(source), Path(target)
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    if target.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"{target}: lies inside the source; give another folder")
    listing = _listing(source)
    items = [(item, "Tr") for item in decathlon_datalist(source)]
    if test_images and listing.get("test"):
        items += [(item, "Ts") for item in decathlon_datalist(source, "test")]
    done = {row["case"]: row for row in _earlier(target, mode)}
    rows: dict[str, dict] = {}
    jobs = []
    for item, part in items:
        row = done.get(item["case"])
        if row is not None and _is_whole(row, item, target):
            rows[item["case"]] = row
        else:
            jobs.append((item, str(target), part, mode))
    logger.info("%d of %d cases are whole already", len(rows), len(items))
    for count, row in enumerate(_rows(jobs, workers), start=1):
        rows[row["case"]] = row
        logger.info("%d/%d %s", count, len(jobs), row["fault"] if "fault" in row else f"{row['case']}: done")
        _write(target / REPORT, {"mode": mode, "cases": _in_order(rows, items)})
    report = {"mode": mode, "cases": _in_order(rows, items)}
    _write(target / REPORT, report)
    _write(target / "dataset.json", _new_listing(listing, report))
    return report


def halve_case(item: dict[str, str], target: str | Path, part: str, mode: str) -> dict[str, Any]:
    """Check one case, write it at lower resolution, and say what became of it.

    The image is smoothed (Gaussian, standard deviation half of factor - 1 voxels) and sampled linearly, the label at
    the nearest voxel. Both affines are those of the same field of view cut into fewer voxels.

    Args:
        item: ``case``, ``image`` and, if labeled, ``label``.
        target: folder of the copy.
        part: ``"Tr"`` or ``"Ts"``, the end of its folders' names.
        mode: as for :func:`prepare_liver`.

    Returns:
        ``case``, ``part``, ``source`` and ``files`` (sizes, by which a whole case is known), ``shape`` and ``spacing``
        (mm, RAS axes) before and after, ``unit_spacing`` (1 x 1 x 1 mm in the file: suspect); of labeled cases
        ``liver_voxels`` and ``tumor_voxels`` before and after, ``tumors`` (26-connected) and ``vanished``: the
        volumes in mm³ of the tumors of which no voxel is left.

    Raises:
        DataError: for files that cannot be used; the message names them.
    """
    import nibabel as nib

    values = {"label_values": LABELS} if "label" in item else {}
    check_datalist([item], **values)
    stored = nib.as_closest_canonical(nib.load(item["image"]))  # RAS
    spacing = [round(float(mm), 4) for mm in stored.header.get_zooms()[:3]]
    size = tuple((n + 1) // 2 for n in stored.shape) if mode == "half" else (IN_PLANE, IN_PLANE, stored.shape[2])
    image, affine = _smaller_image(stored, size)
    row: dict[str, Any] = {
        "case": item["case"],
        "part": part,
        "source": {key: stamp(item[key]) for key in ("image", "label") if key in item},
        "shape": [list(stored.shape), list(size)],
        "spacing": [spacing, [round(float(mm), 4) for mm in np.linalg.norm(affine[:3, :3], axis=0)]],
        "unit_spacing": bool(np.allclose(spacing, 1)),
    }
    outputs = {f"images{part}": image}
    if "label" in item:
        label = np.rint(nib.as_closest_canonical(nib.load(item["label"])).dataobj).astype(np.uint8)
        small = _nearest(label, size)
        before, after = ([int(np.count_nonzero(array == value)) for value in LABELS] for array in (label, small))
        if not before[1] or not after[1]:
            raise DataError(f"{item['label']}: no liver (label 1) {'at half resolution' if before[1] else 'in it'}")
        tumors, vanished = _tumors(label, size)
        mm3 = float(np.prod(spacing))
        row |= {"liver_voxels": [before[1], after[1]], "tumor_voxels": [before[2], after[2]]}
        row |= {"tumors": tumors, "vanished": [round(voxels * mm3, 1) for voxels in vanished]}
        outputs[f"labels{part}"] = small
    row["files"] = {}
    for folder, array in outputs.items():
        name = f"{folder}/{item['case']}.nii.gz"
        with whole_file(Path(target) / name) as file:
            nib.save(nib.Nifti1Image(array, affine), file)
        row["files"][name] = (Path(target) / name).stat().st_size
    return row


def table(report: dict[str, Any]) -> str:
    """The report as lines of text: a case each, then what to look at."""
    heads = ("case", "shape", "mm", "new shape", "new mm", "liver", "new", "tumor", "new", "tumors", "vanished")
    good = [row for row in report["cases"] if "fault" not in row]
    lines = [heads]
    for row in good:
        geometry = [text for k in (0, 1) for text in (_by(row["shape"][k]), _by(row["spacing"][k]))]
        counts = [*row["liver_voxels"], *row["tumor_voxels"], row["tumors"]] if "tumors" in row else ["-"] * 5
        lines.append((row["case"], *geometry, *map(str, counts), str(len(row.get("vanished", ())))))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    lost = [
        f"{row['case']} ({', '.join(f'{mm3:g}' for mm3 in row['vanished'])})" for row in good if row.get("vanished")
    ]
    unit = [row["case"] for row in good if row["unit_spacing"]]
    text.append(f"Tumors without a voxel left (mm³ each): {', '.join(lost) or 'none'}")
    text.append(
        f"Spacing 1 x 1 x 1 mm, perhaps not the true one, so that millimeters mislead: {', '.join(unit) or 'none'}"
    )
    return "\n".join(text)


def _by(numbers: list) -> str:
    return "x".join(f"{number:.3g}" for number in numbers)


def _smaller_image(stored: Any, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The image resampled to ``size`` (X, Y, Z) as int16, and its affine."""
    import torch
    from monai.data import MetaTensor
    from monai.transforms import Resize
    from scipy.ndimage import gaussian_filter

    volume = np.array(stored.dataobj, dtype=np.float32)
    sigma = [max(0.0, (old / new - 1) / 2) for old, new in zip(volume.shape, size, strict=True)]
    # not by Resize's own anti-aliasing, which takes what lies outside for 0 HU
    gaussian_filter(volume, sigma, mode="nearest", output=volume)
    small = Resize(size, mode="trilinear")(MetaTensor(torch.from_numpy(volume)[None], stored.affine))
    array = np.clip(np.rint(small[0].numpy()), -32768, 32767).astype(np.int16)
    return array, small.affine.numpy()


def _nearest(array: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """The voxels (X, Y, Z) nearest to the middles of the new ones; the farther from the start of two equally near."""
    return array[np.ix_(*_indices(array.shape, size))]


def _indices(old: tuple[int, ...], new: tuple[int, ...]) -> list[np.ndarray]:
    """Where along each axis the new voxels' middles lie, as indices of old voxels."""
    return [((np.arange(m) + 0.5) * n / m).astype(int) for n, m in zip(old, new, strict=True)]


def _tumors(label: np.ndarray, size: tuple[int, ...]) -> tuple[int, list[int]]:
    """How many tumors a label (X, Y, Z) has, and the voxels of those that are gone at ``size``."""
    from scipy import ndimage

    found = ndimage.find_objects((label == 2).view(np.uint8))
    if not found:
        return 0, []
    box = found[0]  # of all tumors: what is outside need not be searched
    parts, count = ndimage.label(label[box] == 2, structure=np.ones((3, 3, 3)))
    kept = [
        index[(index >= side.start) & (index < side.stop)] - side.start
        for index, side in zip(_indices(label.shape, size), box, strict=True)
    ]
    left = np.unique(parts[np.ix_(*kept)])
    voxels = np.bincount(parts.ravel(), minlength=count + 1)
    return count, [int(voxels[k]) for k in range(1, count + 1) if k not in left]


def _rows(jobs: list[tuple], workers: int) -> Iterator[dict[str, Any]]:
    """A row for each job as it ends, in this process or several; a failed one has the reason as its ``fault``."""
    if workers == 1 or len(jobs) < 2:
        yield from (_guarded(*job) for job in jobs)
        return
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        futures = {pool.submit(_guarded, *job): job for job in jobs}
        for future in as_completed(futures):
            try:
                yield future.result()
            except Exception as error:  # the process itself was ended
                item, _, part, _ = futures[future]
                fault = f"{item['case']}: its process ended ({type(error).__name__}); out of memory? Try --workers 1"
                yield {"case": item["case"], "part": part, "fault": fault}


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _guarded(item: dict[str, str], target: str, part: str, mode: str) -> dict[str, Any]:
    try:
        return halve_case(item, target, part, mode)
    except DataError as error:
        lines = str(error).splitlines()
        fault = "; ".join(line.strip() for line in lines[1:] or lines)
    except Exception as error:  # the formats' libraries raise errors of all kinds
        fault = f"{item['image']}: {type(error).__name__}: {error}"
    return {"case": item["case"], "part": part, "fault": fault}


def _listing(source: Path) -> dict[str, Any]:
    """The source's ``dataset.json``."""
    decathlon_datalist(source)  # says what is wrong with it
    return json.loads((source / "dataset.json").read_text())


def _earlier(target: Path, mode: str) -> list[dict[str, Any]]:
    """The rows of an earlier run with this mode."""
    try:
        report = json.loads((target / REPORT).read_text())
    except (OSError, ValueError):
        return []
    return report["cases"] if report.get("mode") == mode else []


def _is_whole(row: dict[str, Any], item: dict[str, str], target: Path) -> bool:
    """Whether a case was made of these very files, and all that was written is there."""
    if "fault" in row or any(not Path(item[key]).is_file() for key in row["source"]):
        return False
    same = {key: stamp(item[key]) for key in ("image", "label") if key in item} == row["source"]
    paths = {target / name: size for name, size in row["files"].items()}
    return same and all(path.is_file() and path.stat().st_size == size for path, size in paths.items())


def _new_listing(listing: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """``dataset.json`` of the copy: the source's, with the cases that are whole, the license and the origin."""
    names = {
        part: [row["case"] for row in report["cases"] if row["part"] == part and "fault" not in row]
        for part in ("Tr", "Ts")
    }
    smaller = (
        "half as many voxels along every axis" if report["mode"] == "half" else f"{IN_PLANE} x {IN_PLANE} in plane"
    )
    return {
        **listing,
        "licence": listing.get("licence") or LICENSE,
        "provenance": f"Derived from {listing.get('name', 'Liver')} ({listing.get('reference', 'Task03_Liver')}): RAS "
        f"orientation, {smaller}; image Gaussian-smoothed and trilinear, int16; label nearest, uint8",
        "numTraining": len(names["Tr"]),
        "numTest": len(names["Ts"]),
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names["Tr"]],
        "test": [f"./imagesTs/{n}.nii.gz" for n in names["Ts"]],
    }


def _in_order(rows: dict[str, dict], items: Iterable[tuple[dict[str, str], str]]) -> list[dict]:
    return [rows[item["case"]] for item, _ in items if item["case"] in rows]


def _write(path: Path, contents: dict[str, Any]) -> None:
    with whole_file(path) as file:
        file.write_text(json.dumps(contents, indent=1) + "\n")
