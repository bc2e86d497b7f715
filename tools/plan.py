"""The plan of a training as text: behind `make plan`. A training makes the same plan first, where there is none."""

from collections.abc import Callable
from pathlib import Path

from common.datasets.planning import make_plan, plan_table
from tools.stages import Overrides

KNOBS = {
    "fold": lambda text: text if text == "all" else int(text),
    "folds": int,
    "seed": int,
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
        ValueError: for a number that is none.
    """
    if unknown := sorted(set(given) - set(KNOBS)):
        raise ValueError(f"--{unknown[0]}: no such knob of a plan; there are {', '.join(KNOBS)}")
    settings = {name: _read(name, str(given[name]), kind) for name, kind in KNOBS.items() if name in given}
    plan = make_plan(models, dataset_dir, bundle=bundle.name, bundle_root=bundle, **settings)
    return f"The plan, {models / 'plan.json'} (edit it, or override a value with --name value):\n{plan_table(plan)}"


def _read(name: str, text: str, kind: Callable[[str], object]) -> object:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"--{name} {text}: expected a number") from None
