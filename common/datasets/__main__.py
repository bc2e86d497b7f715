"""Commands that fetch, prepare or examine data; ``python -m common.datasets --help`` lists them."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from common.command_line import run_command
from common.datasets.analysis import analyze as measure
from common.datasets.analysis import table as analysis_table
from common.datasets.layouts.decathlon import decathlon_download
from common.datasets.prepare_liver import prepare_liver as prepare
from common.datasets.prepare_liver import table as report_table


def download(task: str, folder: Path) -> None:
    """Fetch a task of the Medical Segmentation Decathlon and unpack it, verified by its checksum.

    Args:
        task: Task01_BrainTumour, Task02_Heart, Task03_Liver, ... as the Decathlon names them.
        folder: the data lands in <folder>/<task>; an archive that is already there is not fetched again.
    """
    print(decathlon_download(task, str(folder)))


def prepare_liver(source: Path, target: Path, mode: str = "half", workers: int = 2, test_images: bool = True) -> None:
    """Make the half-resolution copy of Task03_Liver; skips what is done, goes on after bad cases and ends with code 1.

    Args:
        source: folder of Task03_Liver, which holds dataset.json.
        target: folder of the copy; gets dataset.json and report.json.
        mode: half = half as many voxels along every axis; in-plane = 256 x 256, all slices kept.
        workers: processes.
        test_images: False leaves out the test images, which have no labels.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    report = prepare(str(source), str(target), mode=mode, workers=workers, test_images=test_images)
    print(report_table(report))
    bad = [row for row in report["cases"] if "fault" in row]
    if bad:
        print(*(f"  {row['fault']}" for row in bad), sep="\n", file=sys.stderr)
        raise ValueError(f"{len(bad)} of {len(report['cases'])} cases cannot be used and are left out")


def analyze(dataset_dir: Path, layout: str, output_dir: Path, channels: int = 1) -> None:
    """Measure every case: extents, directions, intensities, volumes, shapes; goes on after bad cases, ends with code 1.

    Writes <output_dir>/analysis.{json,csv,png}, and prints a table and what follows from it: limits on the size of
    components and a range of intensity shifts.

    Args:
        dataset_dir: the data set's folder.
        layout: how it is laid out: decathlon, nnunet, images_labels, ...; auto recognizes it.
        output_dir: where to write; made if missing.
        channels: of every image.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    analysis = measure(str(dataset_dir), layout=layout, output_dir=str(output_dir), channels=channels)
    print(analysis_table(analysis))
    if analysis["bad"]:
        print(*(f"  {row['case']}: {row['fault']}" for row in analysis["bad"]), sep="\n", file=sys.stderr)
        total = len(analysis["bad"]) + len(analysis["cases"])
        raise ValueError(f"{len(analysis['bad'])} of {total} cases cannot be measured")


if __name__ == "__main__":
    commands = {"download": download, "prepare-liver": prepare_liver, "analyze": analyze}
    run_command(commands, name="common.datasets")
