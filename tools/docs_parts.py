"""What the generated parts of the READMEs say, from metadata.json and the configs; tools/docs.py puts it there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from torch import nn

from common.knobs import RULES
from tools.pipeline import first_stages
from tools.verify_configs import MULTI_GPU, Combination, combinations
from tools.verify_networks import FORMAT

NETWORKS = "common.networks."
# What says how large a network's input is in training: the first of these that a training has.
SIZES = ("patch", "grid", "working_size", "coarse_patch", "coarse_grid")
NO_KNOBS = {"_desc_", "bundle_root"}
RUN = "python -m monai.bundle run"
DATA_AND_RUN = "--dataset_dir DATA --ckpt_dir RUN"
KEPT = ["training step", "memory", "result"]  # columns of the README's table that are written by hand


def bundle_table(bundles: Iterable[Path], old: str) -> str:
    """The README's table of the bundles. What stands in its columns `KEPT` stays; a dash where nothing was measured."""
    kept = {}
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in old.splitlines() if "|" in line]
    for row in rows[2:]:
        cells = dict(zip(rows[0], row, strict=True))
        kept[cells["bundle"]] = [cells.get(name, "-") for name in KEPT]
    lines = []
    for bundle in bundles:
        configs = bundle / "configs"
        link = f"[{bundle.name}](bundles/{bundle.name}/docs/README.md)"
        counts = [f"{_parameters(net):,}" for name in trainings(configs) for _, net in networks_of(configs, [name])]
        metadata = _metadata(bundle)
        task = metadata["task"].removeprefix("Segmentation of ")
        source = metadata["data_source"].split(" (")[0]
        lines.append([link, task, source, " + ".join(counts), *kept.get(link, ["-"] * len(KEPT))])
    return _table(["bundle", "task", "data", "parameters", *KEPT], lines)


def commands(bundle: Path) -> str:
    """Commands that train every stage, evaluate and predict."""
    configs = bundle / "configs"
    lines = []
    for name in trainings(configs):
        lines += [f"# {_about(configs / name)}", f"{RUN} training --config_file configs/{name} {DATA_AND_RUN}"]
    lines += [f"# {_about(configs / 'evaluate.json')}"]
    lines += [f"{RUN} run --config_file \"['configs/train.json','configs/evaluate.json']\" {DATA_AND_RUN}"]
    lines += [f"# {_about(configs / 'inference.json')}"]
    lines += [f"{RUN} run --config_file configs/inference.json --dataset_dir SCANS --ckpt_dir RUN --output_dir OUT"]
    return f"""\
In the repository, every stage at once, on made-up patients or, with `DATASET_DIR=DATA`, on your own:

```bash
make train BUNDLE={bundle.name}
```

In the bundle's folder, with MONAI alone:

```bash
{chr(10).join(lines)}
```"""


def networks(bundle: Path) -> str:
    """What every training trains, built from its config; what goes into the networks and comes out."""
    configs = bundle / "configs"
    rows = []
    for name in trainings(configs):
        content = _planned(configs, name)
        size = next((f"`{key}` {' x '.join(map(str, content[key]))}" for key in SIZES if key in content), "")
        for item, network in networks_of(configs, [name]):
            rows.append([f"`{name}`", f"`{_call(item)}`", f"{_parameters(network):,}", size])
    tensors = []
    for key, described in _metadata(bundle).items():
        if not key.endswith(FORMAT):
            continue
        stage = key.removesuffix(FORMAT)
        config = {"network": "train.json"}.get(stage, f"train_{stage}.json")
        of = f"`{config}`" if (configs / config).is_file() else stage
        for kind in ("inputs", "outputs"):
            for name, tensor in described[kind].items():
                channels = "; ".join(f"{n}: {text}" for n, text in tensor["channel_def"].items())
                sides = tensor["spatial_shape"]
                sides = f"`{sides[0]}` each" if len(set(sides)) == 1 else " x ".join(f"`{side}`" for side in sides)
                values = " to ".join(map(str, tensor["value_range"])) or "any"
                row = [of, f"{kind.removesuffix('s')} `{name}`", tensor["num_channels"], channels, sides]
                tensors.append([*row, tensor["dtype"], values])
    return "\n\n".join(
        [
            _table(["trained by", "network", "parameters", "voxels in training"], rows),
            "What a network takes and gives, in (batch, channel, three sides); n is any whole number above 0:",
            _table(["trained by", "tensor", "channels", "what they are", "sides", "type", "values"], tensors),
        ]
    )


def configs_table(bundle: Path) -> str:
    """Every config file, what it is merged onto and what for; the parameters where it changes a network."""
    configs = bundle / "configs"
    rows = []
    for combination in sorted(combinations(configs), key=_place):
        *base, name = combination.files
        own = {key.lstrip("+").split("#")[0] for key in _read(configs / name)}
        merged = _merged(configs, combination.files)
        changes = base and any(key in own and _is_network(merged[key]) for key in merged.config)
        counts = [f"{_parameters(net):,}" for _, net in networks_of(configs, combination.files)] if changes else []
        onto = " + ".join(f"`{file}`" for file in base)
        rows.append([f"`{name}`", onto, _about(configs / name), " + ".join(counts)])
    head = ["file in `configs/`", "goes onto", "what", "parameters"]
    return f"""\
Merge an overlay with `--config_file "['configs/train.json','configs/X.json']"`, or `make train OVERLAYS=X.json`.
Parameters are given where it sets the network.

{_table(head, rows)}"""


def _place(combination: Combination) -> tuple[bool, bool, bool]:
    """Configs that stand alone, overlays, experiments, and last what is the same in every bundle."""
    name = combination.files[-1]
    return len(combination.files) > 1, "/" in name, name.startswith(MULTI_GPU)


def training_knobs(bundle: Path) -> str:
    """The plain values at the top of every training config."""
    table = _knob_table(bundle / "configs", trainings(bundle / "configs"))
    return f"""\
`--resume True` continues from the newest checkpoint in `ckpt_dir`. Settings that you change then, such as `epochs`,
`learning_rate` or `batch_size`, count from there on; schedules go on as if they had been set from the start. `--init X`
starts from weights, X being a file, or a folder of weights or of a run; a first or last layer that differs is new. A
run that fails says why in one line; the traceback is in `<output_dir>/log.txt`. Exit codes: 0 done, 1 failed, 130
interrupted (Ctrl-C). `--tracking mlflow --run_name NAME` (after `pip install mlflow-skinny SQLAlchemy alembic`, which
`make setup` does) writes parameters, losses and metrics to `<output_dir>/mlruns.db`, offline; TensorBoard's event file
is in `output_dir` in any case. Models trained on phantoms say "demonstration only" wherever they are met.

Defaults, each of which the command line changes (`--epochs 2`):

{table}"""


def prediction_knobs(bundle: Path) -> str:
    """The plain values at the top of evaluate.json and inference.json."""
    table = _knob_table(bundle / "configs", ["evaluate.json", "inference.json"])
    return f"""\
`--skip_existing True` predicts only what is missing. A case that fails is listed in `failures.json`, the others go on,
and the exit code is 1. `costs.csv` has the seconds of each stage and the highest memory for every case, of an
evaluation too. Weights belong to the overlays they were trained with: merge the same experiment onto `inference.json`;
another network is refused.

Defaults, each of which the command line changes (`--pictures 0`):

{table}"""


def loading(bundle: Path) -> str:
    """The lines that give the network in Python."""
    return f"""\
In Python, in the folder that holds the bundle's, once it has weights in `models/` (shipped, trained without
`--ckpt_dir`, or unzipped from a pack that was made with `RUN=`):

```python
import sys

import monai.bundle

sys.path.insert(0, "{bundle.name}")  # for the bundle's own `common`
network = monai.bundle.load("{bundle.name}", bundle_dir=".")
```

In the repository, `make setup` has installed `common`, and the `sys.path` line is not needed."""


def packed(bundle: Path) -> str:
    """How to use a packed bundle."""
    name, layout = bundle.name, _read(bundle / "configs/plan.json")["layout"]
    return f"""\
`make pack` in the repository writes `{name}_v<version>.zip`: this folder, a `common/` of its own and a
`requirements.txt`. Whoever gets it needs Python 3.11 or 3.12 and nothing else of the repository:

```bash
unzip {name}_v*.zip    # or, with MONAI: python -m monai.bundle download --name {name} --url URL --bundle_dir .
python -m pip install -r {name}/requirements.txt
cd {name}
python -m common.phantoms --layout {layout} --folder DATA --cases 12    # made-up patients, to try it
```

The `monai.bundle` and `common` commands on this page then work in that folder. From any other folder, name it twice:

```bash
{RUN} training --config_file /path/{name}/configs/train.json --bundle_root /path/{name} --dataset_dir DATA
```

`monai.bundle.load` alone does not look there for `common`: it needs the `sys.path` line under "Inference", or in a
shell

```bash
export PYTHONPATH=/path/{name}
```

Two bundles of different versions do not run in one process: each has its own `common`, and the second says so."""


PARTS: dict[str, Callable[[Path], str]] = {
    "commands": commands,
    "networks": networks,
    "training knobs": training_knobs,
    "configs": configs_table,
    "prediction knobs": prediction_knobs,
    "loading": loading,
    "packed": packed,
}


def trainings(configs: Path) -> list[str]:
    """The training configs in the order in which they run: those of earlier stages, then train.json."""
    return [*(f"train_{stage}.json" for stage in first_stages(configs)), "train.json"]


def networks_of(configs: Path, files: Sequence[str]) -> list[tuple[dict, nn.Module]]:
    """The networks at the top of merged configs: each item and what it makes, without memory for its weights."""
    parser = _merged(configs, files)
    items = {key: item for key, item in parser.config.items() if _is_network(item)}
    with torch.device("meta"):
        return [(item, parser.get_parsed_content(key)) for key, item in items.items()]


def _is_network(item: object) -> bool:
    return isinstance(item, dict) and str(item.get("_target_")).startswith(NETWORKS)


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _call(item: dict) -> str:
    """`VNet(norm='instance')` of a config item."""
    arguments = ", ".join(f"{key}={value!r}" for key, value in item.items() if key != "_target_")
    return f"{item['_target_'].rsplit('.', 1)[1]}({arguments})"


def _knob_table(configs: Path, files: Sequence[str]) -> str:
    knobs = {name: _knobs(_planned(configs, name)) for name in files}
    ids = dict.fromkeys(key for own in knobs.values() for key in own)
    rows = [[f"`{key}`", *(f"`{_typed(own[key])}`" if key in own else "" for own in knobs.values())] for key in ids]
    rows = [[*row, RULES[key][0] if key in RULES else ""] for key, row in zip(ids, rows, strict=True)]
    return _table(["knob", *(f"`{name}`" for name in files), "may be"], rows)


def _knobs(config: dict) -> dict:
    """The ids whose values are plain: a number, a truth value, a text, a list of numbers, or the same as another's."""

    def plain(value: object) -> bool:
        if isinstance(value, list):
            return all(isinstance(item, int | float) for item in value)
        if str(value).startswith("@"):
            return plain(config.get(str(value)[1:], {}))
        return not isinstance(value, dict) and not str(value).startswith("$")

    return {key: value for key, value in config.items() if key not in NO_KNOBS and plain(value)}


def _planned(configs: Path, name: str) -> dict:
    """A config whose knobs that the plan decides have the values of the paper's plan."""
    plan, content = _read(configs / "plan.json"), _read(configs / name)
    planned = {key: re.fullmatch(r"\$@(?:plan|recorded)\['(\w+)'\]", str(value)) for key, value in content.items()}
    return content | {key: plan[found[1]] for key, found in planned.items() if found and found[1] in plan}


def _typed(value: object) -> str:
    """A value as one types it on the command line."""
    return "$None" if value is None else str(value)


def _merged(configs: Path, files: Sequence[str]) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(configs / name) for name in files])
    return parser


def _read(file: Path) -> dict:
    return json.loads(file.read_text())


def _metadata(bundle: Path) -> dict:
    return _read(bundle / "configs/metadata.json")


def _about(file: Path) -> str:
    """What a config says it is for.

    Raises:
        ValueError: if it does not say.
    """
    text = _read(file).get("_desc_")
    if not text:
        raise ValueError(f"{file}: it does not say what it is for; expected a line with the id _desc_ at its top")
    return text


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
