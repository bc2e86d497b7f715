"""Train, evaluate and predict with one bundle: the `monai.bundle` commands behind `make plan`, `train`, `evaluate` and
`infer`.

Every stage is one `python -m monai.bundle run` in the bundle's folder, printed before it starts, so that a person can
repeat it alone. Any further `--name value` is a config override, given to each stage whose config has that name.
"""

import sys
import time
from contextlib import ExitStack
from pathlib import Path

from common.command_line import run_command
from common.files import read_json
from tools import folds
from tools.overlays import for_first_stage, for_inference, for_last_stage, overlay_names
from tools.plan import planned
from tools.report import demonstration_note, metrics_table
from tools.runs import only_training, owner, record_data, record_of, run_folder, training_states
from tools.stages import Overrides, Stage, commands, run_all
from tools.time_budget import in_time
from tools.variables import data_paths, minutes_of, path_of, processes
from tools.weights import Weights, all_phantoms, choose, initial

BUNDLES = Path(__file__).resolve().parent.parent / "bundles"


def train(
    bundle: str,
    dataset_dir: str,
    *,
    run: str | None = None,
    init: str | None = None,
    sample: bool = False,
    merge: str = "",
    gpus: str = "1",
    cross_validate: str = "",
    minutes: str | None = None,
    **overrides: object,
) -> None:
    """Train every stage of a bundle, evaluate on the validation cases, predict, and say what came out.

    Args:
        bundle: name of a folder in bundles/.
        dataset_dir: folder of the data, in the layout that the bundle's README describes.
        run: output folder; default runs/BUNDLE/NAME-OF-THE-DATASET-FOLDER.
        init: weights to start from: `shipped`, a folder (of a run, or of weights) or a file, which is the last stage's.
        sample: the data is the generated sample data: merge configs/sample.json, a short schedule.
        merge: overlays in the bundle's configs/, such as "paper.json hybrid.json"; see tools/overlays.py for who
            merges what. sample.json comes after them.
        gpus: number of processes, one per GPU.
        cross_validate: the folds to train one after the other, "all" or numbers such as "0,1": see tools/folds.py.
            The default output folder then ends with _folds.
        minutes: that training and evaluation may take, see tools/time_budget.py; predictions are left for `make infer`.
        overrides: config overrides, such as --epochs 2 --resume True.
    """
    configs = bundle_configs(bundle)
    budget = minutes_of(minutes, overrides, gpus=gpus)
    suffix = "_folds" if cross_validate else ""
    run_dir = _run_dir(run, bundle=bundle, dataset_dir=dataset_dir, sample=sample, suffix=suffix)
    names, first = _overlays(merge, configs, sample=sample), first_stages(configs)
    start = initial(init, configs.parent, resumed=str(overrides.get("resume")) == "True")
    of_all = None if start is None or start.is_file() else start
    stages = [_training(f"train_{stage}", for_first_stage(configs, names, stage), of_all) for stage in first]
    names = for_last_stage(names, first)
    stages += [_training("train", names, start), _evaluation(names)]
    predictions = _inference(configs, names)
    if cross_validate:
        folds.cross_validate(
            configs,
            stages,
            predictions,
            wanted=cross_validate,
            data=data_paths(dataset_dir),
            run_dir=run_dir,
            gpus=processes(gpus, overrides),
            given=overrides,
            minutes=budget,
        )
    _execute(
        configs,
        stages if budget else [*stages, predictions],
        dataset_dir=dataset_dir,
        run_dir=run_dir,
        models=run_dir / "models",
        gpus=gpus,
        given=overrides,
        minutes=budget,
    )


def plan(bundle: str, dataset_dir: str, *, run: str | None = None, **overrides: object) -> None:
    """Make the plan of a training on a data set, and print it as a table with reasons; an existing one is printed.

    Args:
        bundle: name of a folder in bundles/.
        dataset_dir: the data set.
        run: output folder of the training; default runs/BUNDLE/NAME-OF-THE-DATASET-FOLDER.
        overrides: --layout, --fold, --folds, --seed and --memory_gb, the GB that a training step may take.
    """
    configs = bundle_configs(bundle)
    models = _run_dir(run, bundle=bundle, dataset_dir=dataset_dir, sample=False) / "models"
    (data,) = data_paths(dataset_dir)
    print(planned(configs.parent, data, models, overrides))


def evaluate(
    bundle: str,
    dataset_dir: str,
    *,
    run: str | None = None,
    weights: str | None = None,
    sample: bool = False,
    merge: str = "",
    gpus: str = "1",
    **overrides: object,
) -> None:
    """Evaluate trained weights on the validation cases of a data set.

    Args:
        bundle: name of a folder in bundles/.
        dataset_dir: folder of the data, in the layout that the bundle's README describes.
        run: folder whose evaluation/ is written. Default: that of the weights' run on this data, else
            runs/BUNDLE/NAME-OF-THE-DATASET-FOLDER_weights_of_NAME-OF-THE-RUN (or ..._shipped_weights).
        weights: `shipped`, `latest` (the newest finished run in runs/BUNDLE) or a folder, of a run or of weights.
            Default: those of `run` if it has any, else the latest, else the shipped ones.
        sample: the data is the generated sample data: merge configs/sample.json if the weights' training did.
        merge: the overlays that the weights were trained with.
        gpus: number of processes, one per GPU.
        overrides: config overrides, such as --subset all.
    """
    configs = bundle_configs(bundle)
    used, run_dir = _weights(weights, run=run, bundle=bundle, dataset_dir=dataset_dir, sample=sample)
    short = sample and used.run is not None and used.demonstration_only
    names = for_last_stage(_overlays(merge, configs, sample=short), first_stages(configs))
    _execute(
        configs,
        [_evaluation(names)],
        dataset_dir=dataset_dir,
        run_dir=run_dir,
        models=used.models,
        gpus=gpus,
        given=overrides,
    )


def infer(
    bundle: str,
    dataset_dir: str,
    *,
    run: str | None = None,
    weights: str | None = None,
    sample: bool = False,
    merge: str = "",
    gpus: str = "1",
    **overrides: object,
) -> None:
    """Predict with trained weights.

    Args:
        bundle: name of a folder in bundles/.
        dataset_dir: what to predict: a folder, a file, a DICOM series or a list of these.
        run: folder whose predictions/ is written. Default: that of the weights' run on this data, else
            runs/BUNDLE/NAME-OF-THE-DATASET-FOLDER_weights_of_NAME-OF-THE-RUN (or ..._shipped_weights).
        weights: `shipped`, `latest` (the newest finished run in runs/BUNDLE) or a folder, of a run or of weights.
            Default: those of `run` if it has any, else the latest, else the shipped ones.
        sample: the data is the generated sample data: merge configs/sample.json if the weights' training did.
        merge: the overlays that the weights were trained with.
        gpus: number of processes, one per GPU.
        overrides: config overrides, such as --skip_existing True.
    """
    configs = bundle_configs(bundle)
    used, run_dir = _weights(weights, run=run, bundle=bundle, dataset_dir=dataset_dir, sample=sample)
    short = sample and used.run is not None and used.demonstration_only
    names = for_last_stage(_overlays(merge, configs, sample=short), first_stages(configs))
    predictions = _inference(configs, names)
    members = [] if run is None or weights else folds.fold_models(run_dir)
    _execute(
        configs,
        [folds.with_ensemble(predictions) if members else predictions],
        dataset_dir=dataset_dir,
        run_dir=run_dir,
        models=members or used.models,
        gpus=gpus,
        given=overrides,
    )


def _training(name: str, overlays: list[str], init: Path | None) -> Stage:
    files, paths = [f"{name}.json", *overlays], {} if init is None else {"init": str(init)}
    return Stage(name, run_id="training", files=files, multi_gpu="multi_gpu_train.json", paths=paths)


def _evaluation(overlays: list[str]) -> Stage:
    files = ["train.json", *overlays, "evaluate.json"]
    return Stage("evaluation", run_id="run", files=files, multi_gpu="multi_gpu_evaluate.json")


def _inference(configs: Path, overlays: list[str]) -> Stage:
    taken = for_inference(configs, overlays)
    return Stage(
        "predictions", run_id="run", files=["inference.json"], multi_gpu="multi_gpu_inference.json", taken=taken
    )


def first_stages(configs: Path) -> list[str]:
    """The stages before the last one, in the order of their names: `locator` of train_locator.json."""
    return sorted(path.stem.removeprefix("train_") for path in configs.glob("train_*.json"))


def _overlays(merge: object, configs: Path, *, sample: bool) -> list[str]:
    try:
        return [*overlay_names(merge, configs), *(["sample.json"] if sample else [])]
    except ValueError as error:
        sys.exit(str(error))


def bundle_configs(bundle: str) -> Path:
    """The configs/ folder of a bundle; ends with the names there are if it is none of them."""
    known = sorted(path.parent.parent.name for path in BUNDLES.glob("*/configs/train.json"))
    if bundle not in known:  # a path neither: runs and sample data are named after the bundle
        sys.exit(f"BUNDLE={bundle}: no such bundle; there are: {', '.join(known)}")
    return BUNDLES / bundle / "configs"


def _run_dir(run: str | None, *, bundle: str, dataset_dir: object, sample: bool, suffix: str = "") -> Path:
    if run is not None:
        folder = path_of(run, "RUN")
        if folder.exists() and not folder.is_dir():
            sys.exit(f"RUN={run}: is a file, expected the folder of a run")
        return folder
    data = data_paths(dataset_dir)
    name = "sample" if sample else (data[0].name or "root") if len(data) == 1 else "list"
    return run_folder(Path("runs", bundle).absolute(), data, name=name, suffix=suffix)


def _weights(
    weights: str | None, *, run: str | None, bundle: str, dataset_dir: object, sample: bool
) -> tuple[Weights, Path]:
    """The weights to use, printed, and the folder for what comes out."""
    data, runs = data_paths(dataset_dir), Path("runs", bundle).absolute()
    used = choose(weights, run=run, bundle=BUNDLES / bundle, runs=runs, phantoms=all_phantoms(data))
    if run is None and used.run is not None and owner(used.run) == record_of(data):
        folder = used.run
    else:
        folder = _run_dir(run, bundle=bundle, dataset_dir=dataset_dir, sample=sample, suffix=used.suffix)
    print(used.described(), flush=True)
    return used, folder


def _refuse_used(run_dir: Path, models: Path, given: Overrides) -> None:
    if folds.fold_models(run_dir):
        sys.exit(f"{run_dir}: holds a training with FOLDS= already. Start another: RUN=another_folder")
    states = training_states(models)
    if states and str(given.get("resume")) != "True":
        sys.exit(
            f"{run_dir}: holds a training already ({states[-1].relative_to(models.parent)}). Go on with it: "
            'ARGS="--resume True". Start another: RUN=another_folder'
        )


def _execute(
    configs: Path,
    stages: list[Stage],
    *,
    dataset_dir: object,
    run_dir: Path,
    models: Path | list[Path],
    gpus: str,
    given: Overrides,
    minutes: float | None = None,
) -> None:
    """Run the stages one after the other, then print what came out and where it is."""
    if "output_dir" in given:
        sys.exit("--output_dir: every stage writes to a folder of its own in that of the run; name this one with RUN=")
    data = data_paths(dataset_dir)
    paths = {
        "dataset_dir": [str(path) for path in data] if len(data) > 1 else str(data[0]),
        "ckpt_dir": str(models) if isinstance(models, Path) else [str(folder) for folder in models],
        "output_dir": str(run_dir),
        "cache_dir": str(run_dir / "cache"),
    }
    try:
        planned = commands(configs, stages, paths=paths, given=given, gpus=processes(gpus, given))
    except ValueError as error:
        sys.exit(str(error))
    trained = configs.parent / str(given.get("ckpt_dir", models)) if stages[0].run_id == "training" else None
    start = time.time()
    run_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        inherited = [held.enter_context(only_training(run_dir))] if trained else []
        if trained:
            _refuse_used(run_dir, trained, given)
        record_data(run_dir, data)
        resumed = trained is not None and bool(training_states(trained))
        prepare = in_time(minutes, planned, models=trained, resume=resumed, cwd=configs.parent, inherited=inherited)
        outcome = run_all(planned, cwd=configs.parent, models=trained, inherited=inherited, prepare=prepare)

    metrics = run_dir / "evaluation" / "metrics.json"
    if "evaluation" in outcome.seconds and metrics.is_file() and metrics.stat().st_mtime >= start:
        print("\n" + metrics_table(read_json(metrics)))
        print(f"Pictures of image, reference and prediction: {metrics.parent}/pictures/*.png")
    if outcome.code:
        sys.stdout.flush()
        print(outcome.message, end="\n" if outcome.message else "", file=sys.stderr)
        sys.exit(outcome.code)
    print()
    for name, seconds in outcome.seconds.items():
        print(f"{name:<16}{seconds:8.0f} s   {run_dir / name}")
    print(demonstration_note(*([models] if isinstance(models, Path) else models)), end="")
    sys.exit(0)


if __name__ == "__main__":
    run_command({"plan": plan, "train": train, "evaluate": evaluate, "infer": infer}, name="tools.pipeline")
