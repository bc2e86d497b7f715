"""Cross-validation: folds are trained and evaluated one after the other, then measured and predicted with together.

A fold has a folder of its own in that of the run, `fold_0/` with `models/`, `train/`, `evaluation/`; they share the
cache. The same command goes on where it was interrupted.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common.command_line import without_remark
from common.files import read_json, whole_file
from tools.report import demonstration_note, metrics_table
from tools.runs import only_training, record_data, training_states
from tools.stages import Outcome, Overrides, Stage, commands, run_all, run_one
from tools.time_budget import in_time

ROOT = Path(__file__).resolve().parent.parent
METRICS = "evaluation/metrics.json"  # in a fold's folder
FINISHED = "finished.json"  # in a fold's folder: which settings it was trained and evaluated with, to the end
COUNT = "folds.json"  # in a run's folder: how many folds its cases make
ENSEMBLE = "ensemble.json"  # overlay of inference.json
SHARED_BY_FOLDS = ("split.json", "plan.json")  # beside the weights: all folds where a bundle stores them; decisions
CHOSEN_BY_FOLDS = ("fold", "resume", "ckpt_dir", "output_dir")


def cross_validate(
    configs: Path,
    stages: Sequence[Stage],
    predictions: Stage,
    *,
    wanted: object,
    data: Sequence[Path],
    run_dir: Path,
    gpus: int,
    given: Overrides,
    minutes: float | None = None,
) -> None:
    """Train and evaluate folds, pool their metrics, predict with the mean of their networks; ends the process.

    A fold that was finished with these settings is not trained again; one that was interrupted is resumed. Metrics and
    ensemble are those of all finished folds in the run's folder, also of earlier commands.

    Args:
        configs: the bundle's configs/ folder.
        stages: the trainings and the evaluation of one fold.
        predictions: of one network; merged with ensemble.json.
        wanted: which folds: "all", or numbers such as "0,1".
        data: absolute paths of the data.
        run_dir: folder of the run.
        gpus: number of processes.
        given: overrides as a person typed them.
        minutes: that all of it may take: the first fold is timed, the others take its epochs, and nothing is predicted.
    """
    for name in CHOSEN_BY_FOLDS:
        if name in given:
            sys.exit(f"--{name}: with FOLDS= each fold has its own, and what was interrupted is resumed; leave it out")
    if training_states(run_dir / "models"):
        sys.exit(f"{run_dir}: holds a training without FOLDS= already. Start another: RUN=another_folder")
    predictions = with_ensemble(predictions)
    everything = [*stages, predictions]

    def planned(models: object, **more: object) -> dict[str, list[str]]:
        paths = {
            "dataset_dir": [str(path) for path in data] if len(data) > 1 else str(data[0]),
            "ckpt_dir": models,
            "output_dir": str(run_dir),
            "cache_dir": str(run_dir / "cache"),
        }
        folder = f"fold_{more['fold']}/" if more else ""
        named = [replace(stage, name=folder + stage.name) for stage in stages]
        return commands(configs, [*named, predictions], paths=paths, given={**given, **more}, gpus=gpus)

    settings = _settings(configs, everything, given)
    planned("models")  # what is wrong with the command line is said before anything is written
    run_dir.mkdir(parents=True, exist_ok=True)
    failed, measured = 0, []
    seconds: dict[str, float] = {}
    with only_training(run_dir) as lock:
        record_data(run_dir, list(data))
        count = _count(planned(_models(run_dir, 0), fold=0), run_dir, cwd=configs.parent, inherited=[lock])
        chosen = chosen_folds(wanted, count)
        for fold in chosen:
            models = _models(run_dir, fold)
            if is_finished(models.parent, settings):
                print(f"\nFold {fold} of {count} is finished: {models.parent}", flush=True)
                continue
            print(f"\nFold {fold} of {count}", flush=True)
            todo = planned(models, fold=fold, resume=bool(training_states(models)))
            del todo[predictions.name]
            _forget(models.parent)
            _copy_shared([_models(run_dir, other) for other in range(count)], models)
            part, timed = minutes and minutes / len(chosen), (models / "plan.json").is_file()
            prepare = in_time(part, todo, models=models, resume=timed, cwd=configs.parent, inherited=[lock])
            outcome = run_all(todo, cwd=configs.parent, inherited=[lock], prepare=prepare)
            seconds |= outcome.seconds
            if not outcome.code:
                _finish(models.parent, settings)
            elif (models.parent / METRICS).is_file():  # cases of the evaluation failed, the others were measured
                failed = outcome.code
                measured.append(fold)
                print(outcome.message, file=sys.stderr, flush=True)
            else:
                _end(outcome, "the same command goes on from there")
        finished = [k for k in range(count) if k in measured or is_finished(_models(run_dir, k).parent, settings)]
        _report(run_dir, finished, count)
        members = [_models(run_dir, fold) for fold in finished]
        if not minutes:
            todo = {predictions.name: planned([str(path) for path in members])[predictions.name]}
            outcome = run_all(todo, cwd=configs.parent, inherited=[lock])
    seconds |= outcome.seconds
    if outcome.code:
        _end(outcome, "")
    print()
    for name, spent in seconds.items():
        print(f"{name:<24}{spent:8.0f} s   {run_dir / name}")
    print(demonstration_note(*members), end="")
    sys.exit(failed)


def with_ensemble(predictions: Stage) -> Stage:
    """The predictions with the mean of several networks, whose folders ckpt_dir lists."""
    return replace(predictions, files=[*predictions.files, ENSEMBLE])


def fold_models(run_dir: Path) -> list[Path]:
    """The folders of weights of a run's finished folds, in their order; none of a run without folds."""
    folders = sorted(run_dir.glob("fold_*"), key=lambda path: int(re.sub(r"\D", "", path.name) or 0))
    return [folder / "models" for folder in folders if (folder / FINISHED).is_file()]


def chosen_folds(wanted: object, count: int) -> list[int]:
    """The folds that FOLDS= names; ends with what is expected where it is none.

    Args:
        wanted: "all", or numbers such as "0,1", or as Fire reads them.
        count: how many folds there are.
    """
    text = ",".join(map(str, wanted)) if isinstance(wanted, list | tuple) else str(wanted)
    if text == "all":
        return list(range(count))
    numbers = [part for part in re.split(r"[,\s]+", text) if part]
    if not numbers or not all(re.fullmatch(r"\d{1,6}", part) and int(part) < count for part in numbers):
        sys.exit(f"FOLDS={text}: expected all, or some of 0 to {count - 1} such as 0,1")
    return sorted({int(part) for part in numbers})


def is_finished(folder: Path, settings: str) -> bool:
    """Whether a fold was trained and evaluated to the end with these settings, and what it left is there."""
    mark = folder / FINISHED
    left = [folder / "models/model.pt", folder / METRICS]
    return mark.is_file() and read_json(mark).get("settings") == settings and all(path.is_file() for path in left)


def _finish(folder: Path, settings: str) -> None:
    with whole_file(folder / FINISHED) as file:
        file.write_text(json.dumps({"settings": settings}) + "\n")


def _forget(folder: Path) -> None:
    """Remove what says that a fold is finished, and what its earlier evaluation measured."""
    for name in (FINISHED, METRICS):
        (folder / name).unlink(missing_ok=True)


def _copy_shared(folders: Sequence[Path], models: Path) -> None:
    """Give a fold the plan of the first one that has one, and the split, so that labels need not be searched again."""
    for name in SHARED_BY_FOLDS:
        first = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if first is not None and not (models / name).is_file():
            models.mkdir(parents=True, exist_ok=True)
            with whole_file(models / name) as file:
                file.write_bytes(first.read_bytes())


def _settings(configs: Path, stages: Sequence[Stage], given: Overrides) -> str:
    """Fingerprint of what a fold's stages are to do; where files are, and the predictions, do not matter."""
    own = commands(configs, stages, paths={"output_dir": ""}, given=given)
    trained = list(stages)[:-1]
    contents = [read_json(configs / name) for stage in trained for name in stage.files]
    text = json.dumps([[own[stage.name][1:] for stage in trained], contents], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _models(run_dir: Path, fold: int) -> Path:
    return run_dir / f"fold_{fold}" / "models"


def _count(todo: dict[str, list[str]], run_dir: Path, *, cwd: Path, inherited: Sequence[int]) -> int:
    """How many folds the cases make, as the first stage of fold 0 sees them; the data is checked on the way."""
    answer = run_dir / COUNT
    first = next(iter(todo.values()))
    start = next(n for n, word in enumerate(first) if word.startswith("--config_file="))
    print("Checking the data, and how many folds it makes", flush=True)
    command = [sys.executable, "-m", "tools.fold_count", f"--answer={answer}", *first[start:]]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    code = run_one(
        command, cwd=cwd, inherited=inherited, environment={**without_remark(os.environ), "PYTHONPATH": path}
    )
    if code:
        sys.exit(code if code > 0 else 128 - code)  # it has said why
    return read_json(answer)["folds"]


def _report(run_dir: Path, finished: Sequence[int], count: int) -> None:
    from tools.pooling import pool  # imports torch, which takes seconds

    try:
        pooled = pool({k: run_dir / f"fold_{k}/evaluation" for k in finished}, run_dir / "evaluation")
    except ValueError as error:
        sys.exit(str(error))
    cases = len({row["case"] for row in pooled["cases"]})
    folds = f"all {count} folds" if len(finished) == count else f"folds {', '.join(map(str, finished))} of {count}"
    print(f"\n{cases} cases of {folds}, each measured by the network that was not trained on it:")
    print(metrics_table(pooled), flush=True)


def _end(outcome: Outcome, remedy: str) -> None:
    sys.stdout.flush()
    print("; ".join(filter(None, [outcome.message, remedy])), file=sys.stderr)
    sys.exit(outcome.code)
