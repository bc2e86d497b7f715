"""Write phantoms: ``python -m common.phantoms --help``."""

from __future__ import annotations

from pathlib import Path

from common.command_line import run_command
from common.phantoms import WRITERS


def phantoms(layout: str, folder: Path, cases: int = 12, seed: int = 0) -> None:
    """Write made-up patients in a data set's own file layout: for demonstration only.

    Writes nothing where the folder already holds exactly this set. The same seed gives the same patients.

    Args:
        layout: atria2018 = the 2018 Atrial Segmentation Challenge, <folder>/<patient>/{lgemri,laendo}.nrrd;
            brats2020 = BraTS 2020, <folder>/<patient>/<patient>_{flair,t1,t1ce,t2,seg}.nii.gz;
            brats2023 = BraTS from 2023 on, <folder>/<patient>-<visit>/<patient>-<visit>-{t2f,t1n,t1c,t2w,seg}.nii.gz;
            bids = BIDS, <folder>/sub-<n>/anat and <folder>/derivatives/labels;
            datalist = <folder>/datalist.csv, which names image and label of each case;
            images_labels = <folder>/{images,labels}/<case>.nii.gz;
            nnunet = a raw data set of nnU-Net with four channels and regions, <folder>/dataset.json;
            decathlon = Task02_Heart of the Medical Segmentation Decathlon, <folder>/dataset.json;
            flare21 = FLARE 2021, <folder>/{train_images,train_mask,val_images};
            msd_task01 = Task01_BrainTumour of the Medical Segmentation Decathlon, <folder>/dataset.json;
            task03_liver = Task03_Liver of the Medical Segmentation Decathlon, <folder>/dataset.json.
        folder: where to; made if missing.
        cases: how many patients.
        seed: another seed gives other patients.
    """
    if layout not in WRITERS:
        raise ValueError(f"--layout {layout}: no phantoms in this layout; choose from {', '.join(WRITERS)}")
    if cases < 1 or seed < 0:
        raise ValueError(f"--cases {cases} --seed {seed}: expected at least 1 case, and a seed of at least 0")
    names = WRITERS[layout](str(folder), cases, seed)
    print(f"{folder}: {len(names)} phantoms in the layout {layout} (demonstration only)")


if __name__ == "__main__":
    run_command(phantoms, name="common.phantoms")
