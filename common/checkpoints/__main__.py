"""Published weights for a bundle: ``python -m common.checkpoints BUNDLE THEIR_FILE MODEL_PT --variant NAME``."""

from __future__ import annotations

import sys
from pathlib import Path

from common.checkpoints.foreign import bundle_folder, import_published
from common.checkpoints.published import published_variant
from common.command_line import run_command


def published(bundle: str, source: Path, target: Path, variant: str | None = None) -> None:
    """Turn weights that others published into a bundle's own file, and write the plan.json that inference reads.

    Every tensor must have its place, shape and finite values; otherwise nothing is written, the reason is one line and
    the exit code 1. No code in the file is run. What was mapped is printed, and how to predict.

    Args:
        bundle: name of the bundle, or its folder.
        source: their file: a state dict, or a checkpoint that holds one; .npz: Keras weights, written by
            np.savez("generator.npz", *model.get_weights()).
        target: file to write, such as weights/model.pt.
        variant: which of the published networks; a wrong name lists them. oss_net: a_bra_ts, ..., d_lits, as the files
            are called; efficient_seg_net: coarse, fine; vnet_left_atrium: locator, baseline, ...; vox2vox:
            pytorch_generator_in4, ....
    """
    try:
        done = import_published(str(bundle), str(source), str(target), variant=variant)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    print(done)
    path, home = Path(target).resolve(), bundle_folder(str(bundle))
    print(path)
    name = published_variant(home.name, variant).file
    if path.name != name:
        print(f"The bundle reads it as {name}.")
    if done.plan is not None:
        print(f"{path.with_name('plan.json')}")
        print(f"Predict, in {home}, with:")
        print(
            f"python -m monai.bundle run run {done.run} --ckpt_dir {path.parent} --dataset_dir SCANS --output_dir OUT"
        )


if __name__ == "__main__":
    run_command(published, name="common.checkpoints")
