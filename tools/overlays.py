"""Which config files named in OVERLAYS= each stage of a pipeline merges onto its own.

The last stage and its evaluation merge all. The stages before it, and inference, have other ids, and the former other
networks, so they merge, or take over, what is theirs; what they leave out is printed.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from common.arguments import knows
from common.files import read_json
from tools.stages import Overrides

# What each stage chooses for itself: an overlay that sets one of these is about the last stage.
OWN = {"network_def", "loss", "learning_rate"}
NO_OVERLAY = r"(train|inference|evaluate|metadata|plan)\.json|(train|multi_gpu)_"  # what is merged, or read, without it
ABOUT = "_desc_"  # what a config is for, in words, as MONAI names such a text: nothing that a stage merges


def overlay_names(given: object, configs: Path) -> list[str]:
    """The files named in text such as `paper.json hybrid.json` or `paper.json,hybrid.json`, or in a list.

    Args:
        given: names relative to `configs`; None or an empty text for none.
        configs: the bundle's configs/ folder.

    Raises:
        ValueError: a name without a file, with the names there are.
    """
    texts = given if isinstance(given, list | tuple) else [given or ""]
    names = [name for text in texts for name in re.split(r"[,\s]+", str(text)) if name]
    for name in names:
        if not (configs / name).is_file():
            files = sorted(path.relative_to(configs).as_posix() for path in configs.rglob("*.json"))
            known = [file for file in files if not re.match(NO_OVERLAY, file)]
            raise ValueError(f"OVERLAYS={name}: no such file in {configs}; there are: {', '.join(known)}")
    return names


def for_first_stage(configs: Path, names: Sequence[str], stage: str) -> list[str]:
    """The overlays of the stage that train_<stage>.json trains before the last one.

    `paper.json` becomes `paper_<stage>.json` where there is one. A name with `_<stage>` in it is merged. Any other only
    if the stage's config has all its ids, and none of them is what each stage chooses for itself.
    """
    has = _ids(configs / f"train_{stage}.json")
    chosen = []
    for name in names:
        variant = Path(name).with_stem(f"{Path(name).stem}_{stage}")
        ids = _ids(configs / name)
        if (configs / variant).is_file():
            chosen.append(str(variant))
        elif f"_{stage}" in Path(name).stem:
            chosen.append(name)
        elif ids & OWN:
            _left_out(name, f"train_{stage}", f"it sets {_listed(ids & OWN)}, and there is no {variant}")
        elif ids - has:
            _left_out(name, f"train_{stage}", f"train_{stage}.json has no {_listed(ids - has)}")
        else:
            chosen.append(name)
    return chosen


def for_last_stage(names: Sequence[str], first: Sequence[str]) -> list[str]:
    """The overlays of train.json and its evaluation: all but those named after a stage in `first`."""
    chosen = []
    for name in names:
        of = [stage for stage in first if f"_{stage}" in Path(name).stem]
        if of:
            _left_out(name, "train", f"its name says {of[0]}")
        else:
            chosen.append(name)
    return chosen


def for_inference(configs: Path, names: Sequence[str]) -> Overrides:
    """What inference.json takes over from overlays: the ids that it has, such as networks and preprocessing.

    As overrides, not as files: the rest of an overlay changes a training, which inference.json does not have.
    """
    base = read_json(configs / "inference.json")
    taken: Overrides = {}
    for name in names:
        content = read_json(configs / name)
        own = {
            key: "$None" if value is None else value  # MONAI drops an override that is None
            for key, value in content.items()
            if key != ABOUT and knows(base, key)
        }
        taken |= own
        if not own:
            _left_out(name, "predictions", "inference.json has none of its ids")
    return taken


def _ids(file: Path) -> set[str]:
    """Top-level ids that a config sets or changes: `train` for `+train#handlers`."""
    return {key.lstrip("+").split("#")[0] for key in read_json(file)} - {ABOUT}


def _listed(ids: set[str]) -> str:
    return ", ".join(sorted(ids))


def _left_out(name: str, stage: str, reason: str) -> None:
    print(f"{stage}: {name} is left out, {reason}")
