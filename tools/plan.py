"""The plan of a training as text: behind `make plan`. A training makes the same plan first, where there is none."""

from collections.abc import Callable
from pathlib import Path

from common.datasets.planning import make_plan, plan_table
from tools.stages import Overrides

KNOBS = {
    "fold": lambda text: text if text == "all" else int(text),
    "folds": int,
    "seed": int,
    "groups": str,
    "memory_gb": float,
    "layout": str,
}  # that a plan depends on


def planned(bundle: Path, dataset_dir: Path, models: Path, given: Overrides) -> str:
    """The plan in `models`, made where there is none, as a table with reasons.

    Args:
        bundle: folder of the bundle.
        dataset_dir: the data set.
        models: folder of the weights to be trained.
        given: overrides as a person typed them; those in `KNOBS` count.

    Raises:
        DataError: for a data set that is not recognized, that the bundle cannot take, or that another plan is for.
        ValueError: for a number that is none, or where the plan is there already and overrides would change nothing.
    """
    if unknown := sorted(set(given) - set(KNOBS)):
        raise ValueError(f"--{unknown[0]}: no such knob of a plan; there are {', '.join(KNOBS)}")
    settings = {name: _read(name, str(given[name]), kind) for name, kind in KNOBS.items() if name in given}
    file = models / "plan.json"
    if file.is_file() and (without_effect := sorted(set(settings) - {"layout"})):
        raise ValueError(f"--{without_effect[0]}: {file} is there already and stays; remove it to plan anew")
    where = "that is there already, {} (remove it to plan anew" if file.is_file() else "{} (edit it"
    cache = models.parent / "cache"
    plan = make_plan(models, dataset_dir, bundle=bundle.name, bundle_root=bundle, cache_dir=cache, **settings)
    return f"The plan {where.format(file)}, or override a value with --name value):\n{plan_table(plan)}"


def _read(name: str, text: str, kind: Callable[[str], object]) -> object:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"--{name} {text}: expected a number") from None
