"""What a person gives make by its variables, read before anything is written; a wrong value ends with one line."""

import ast
import os
import re
import sys
from pathlib import Path

from common.files import NO_UTF_8
from tools.stages import Overrides


def path_of(text: object, variable: str) -> Path:
    """The absolute path that a person typed for a variable of make; `~/` is their home."""
    if not str(text).strip() or re.search(r"[\x00-\x1f\x7f]", str(text)):
        sys.exit(f"{variable}={str(text)!r}: an empty name, or one with a line break or another control character")
    if variable == "RUN" and NO_UTF_8.search(str(text)):
        sys.exit(f"RUN={text}: is no UTF-8, so that not every image format can be written there; name another folder")
    return Path(os.path.abspath(os.path.expanduser(str(text))))


def data_paths(dataset_dir: object) -> list[Path]:
    """The absolute paths of the data, which exist: a path, or a list of such in brackets."""
    items = [dataset_dir]
    if isinstance(dataset_dir, list | tuple):
        items = list(dataset_dir)
    elif re.fullmatch(r"\[\s*['\"].*\]", str(dataset_dir)) and not path_of(dataset_dir, "DATASET_DIR").exists():
        items = _listed(str(dataset_dir))
    paths = [path_of(item, "DATASET_DIR") for item in items]
    for item, path in zip(items, paths, strict=True):
        if not path.exists():
            sys.exit(f"DATASET_DIR={item}: no such file or folder")
    return paths


def _listed(text: str) -> list[str]:
    try:
        items = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        items = []
    if not items or not all(isinstance(item, str) for item in items):
        sys.exit(f"DATASET_DIR={text}: no such file or folder, and no list such as ['/data/a', '/data/b']")
    return items


def processes(gpus: str, given: Overrides) -> int:
    """The number of processes, which the GPUs of this machine must suffice for, if it has any and they are used."""
    if not re.fullmatch(r"[1-9]\d{0,4}", gpus):
        sys.exit(
            f'GPUS={gpus}: the number of processes, one per GPU, expected 1 or more (CPU alone: ARGS="--device cpu")'
        )
    if int(gpus) > 1 and not str(given.get("device", "")).startswith("cpu"):
        import torch

        if 0 < torch.cuda.device_count() < int(gpus):
            sys.exit(f"GPUS={gpus}: this machine has {torch.cuda.device_count()} CUDA GPUs; one process needs one")
    return int(gpus)


def minutes_of(text: str | None, given: Overrides, *, gpus: str) -> float | None:
    """The minutes that a person gave; None for none."""
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,6}(\.\d+)?", str(text)) or not float(text):
        sys.exit(f"--minutes {text}: expected a number above 0")
    if "epochs" in given:
        sys.exit("--minutes and --epochs: the one follows from the other; say one of them")
    if gpus != "1":
        sys.exit(f"--minutes with GPUS={gpus}: only a training in one process is timed; say --epochs")
    return float(text)
