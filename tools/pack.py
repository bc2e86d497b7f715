"""Pack one bundle, with a `common/` of its own, into a zip that runs with its dependencies alone: behind `make pack`.

The same files give the same bytes on every machine: entries are sorted, all have one date and one mode, and they are
stored, not compressed, because what deflate writes depends on the zlib at hand and weights hardly shrink (by 8 %).
"""

import hashlib
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import NamedTuple

from monai.bundle import ConfigParser

from common.arguments import knows
from common.checkpoints import load_tensors, load_weights
from common.command_line import run_command
from common.datasets import read_plan
from common.datasets.identity import names_hashed
from common.files import read_json, readable, whole_file
from tools.overlays import for_first_stage, for_inference, overlay_names
from tools.packed_metadata import described_by
from tools.pipeline import bundle_configs, first_stages
from tools.report import demonstration_note
from tools.variables import path_of

ROOT = Path(__file__).resolve().parent.parent
RUN_FOLDERS = {"cache", "eval", "output", "mlruns"}  # what plain commands write into the bundle's folder

Entries = dict[str, bytes]


class Packed(NamedTuple):
    """What a zip is made of.

    Attributes:
        bundle: its name, that of the one folder in the zip.
        stem: the zip's name without .zip: BUNDLE_vVERSION, with a run's name behind it.
        entries: name in the folder, with forward slashes -> content.
        said: what whoever packs should know.
    """

    bundle: str
    stem: str
    entries: Entries
    said: str

    def write(self, folder: Path) -> Path:
        """Write FOLDER/STEM.zip, whole or not at all, and say so; its path."""
        path = folder / f"{self.stem}.zip"
        write_zip(path, {f"{self.bundle}/{name}": data for name, data in self.entries.items()})
        weights = [name for name in sorted(self.entries) if name.startswith("models/")]
        print(f"Weights: {', '.join(weights) or 'none'}\n{self.said}", end="")
        print(f"{path.absolute()}\n{path.stat().st_size} bytes\nsha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")
        return path


def pack(bundle: str, *, run: str | None = None, merge: str = "", folder: Path = Path("dist")) -> None:
    """Write FOLDER/BUNDLE_vVERSION.zip: one folder BUNDLE/ with configs, docs, models, common and requirements.txt.

    In a git checkout, what git tracks is packed, as it is in the working tree; elsewhere, everything but leftovers of
    runs. What was left out is printed.

    Args:
        bundle: name of a folder in bundles/.
        run: folder of a training run, whose weights are packed instead of the shipped ones; the zip's name then ends
            in _RUN. The docs of the zip say so, and say "demonstration only" if the run saw generated phantoms alone.
        merge: the overlays that the run was trained with: the packed configs get their networks.
        folder: where the zip is written; made if missing.
    """
    collect(bundle, run=run, merge=merge).write(Path(folder))


def collect(bundle: str, *, run: str | None, merge: str) -> Packed:
    """What :func:`pack` writes, with its arguments; ends with a message where it cannot be packed."""
    configs = bundle_configs(bundle)
    entries, left_out = _files(configs.parent)
    models = configs.parent / "models"
    note = ""
    try:
        names = overlay_names(merge, configs)
        if run is not None:
            models = path_of(run, "RUN") / "models"
            note = _take_run(entries, models=models, configs=configs, names=names)
        elif names:
            raise ValueError("OVERLAYS= belongs to RUN=: the shipped weights are those of the configs as they are")
        if "models/model.pt" in entries:
            _check_weights(json.loads(entries["configs/inference.json"]), models)
        entries["requirements.txt"] = requirements().encode()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(str(error))
    said = note = demonstration_note(models) + note
    version = json.loads(entries["configs/metadata.json"])["version"]
    if note:
        _mark(entries, note, run=run is not None)
    _hash_cases(entries)
    if "models/plan.json" in entries:
        metadata = described_by(json.loads(entries["models/plan.json"]), json.loads(entries["configs/metadata.json"]))
        entries["configs/metadata.json"] = readable(metadata).encode()
    if run is not None and "models/plan.json" in entries:
        said += "The cases of the training are named by hashes in models/*.json.\n"
    if left_out:
        said += f"Left out, as leftovers or not tracked by git: {', '.join(left_out)}\n"
    return Packed(bundle, f"{bundle}_v{version}{f'_{models.parent.name}' if run is not None else ''}", entries, said)


def write_zip(path: Path, entries: Entries) -> None:
    """Write a zip whose bytes depend on nothing but names and contents, whole or not at all.

    Args:
        path: where to; the folder is made if missing.
        entries: name in the zip, with forward slashes -> content.
    """
    with whole_file(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # Unix, also when packed elsewhere
            info.external_attr = 0o100644 << 16
            archive.writestr(info, entries[name])


def requirements(*more: str) -> str:
    """What `common` needs at run time, at the versions of constraints.txt: the text of a requirements.txt.

    Args:
        more: further packages.

    Raises:
        ValueError: if constraints.txt pins no version of a dependency in pyproject.toml.
    """
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {line.split("==")[0]: line for line in lines if "==" in line and not line.startswith("#")}
    names = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"] + [*more]
    missing = [name for name in names if name not in pins]
    if missing:
        raise ValueError(f"{ROOT / 'constraints.txt'}: no version of {', '.join(missing)}, which pyproject.toml needs")
    return "".join(f"{pins[name]}\n" for name in sorted(names, key=str.lower))


def _files(home: Path) -> tuple[Entries, list[str]]:
    """What to pack of a bundle's folder and of common/, by name in the zip; what was left out, as a person says it."""
    tracked = _tracked()
    entries: Entries = {}
    left_out = set()
    for base, inside in ((home, ""), (ROOT / "common", "common/")):
        for path in base.rglob("*"):
            name = inside + path.relative_to(base).as_posix()
            if not path.is_file() or "__pycache__" in path.parts:
                continue
            if _is_leftover(name) or (tracked is not None and path not in tracked):
                first = name.split("/")[0]
                left_out.add(f"{first}/" if first in RUN_FOLDERS else name)
            else:
                entries[name] = path.read_bytes()
    return entries, sorted(left_out)


def _tracked() -> set[Path] | None:
    """The files that git tracks; None where this is no git checkout."""
    if not (ROOT / ".git").exists():
        return None
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=False)
    if listed.returncode:
        sys.exit(f"git cannot say which files to pack: {listed.stderr.decode().strip()}")
    return {ROOT / name for name in listed.stdout.decode().split("\0") if name}


def _is_leftover(name: str) -> bool:
    """Whether a run, an editor or the system left this file: nothing that anyone else needs."""
    *folders, last = name.split("/")
    return (
        name.split("/")[0] in RUN_FOLDERS
        or any(part.startswith(".") for part in [*folders, last])
        or re.search(r"_epoch=\d+\.pt$|\.(pyc|tmp)$", last) is not None
    )


def _take_run(entries: Entries, *, models: Path, configs: Path, names: list[str]) -> str:
    """Put a run's weights in place of the shipped ones, and its networks into the configs; say whose weights they are.

    Raises:
        FileNotFoundError: if the run left no weights.
        ValueError: if they do not fit the network in the packed inference.json.
    """
    if not (models / "model.pt").is_file():
        raise FileNotFoundError(f"{models / 'model.pt'}: no such weights; RUN= is the folder of a training run")
    for name in [name for name in entries if name.startswith("models/") and name.endswith((".pt", ".json"))]:
        del entries[name]
    for path in [*models.glob("*.pt"), *models.glob("*.json")]:
        if not _is_leftover(path.name):
            entries[f"models/{path.name}"] = path.read_bytes()

    first = first_stages(configs)
    taken = dict.fromkeys(("inference.json", "train.json"), for_inference(configs, names))
    for stage in first:
        taken[f"train_{stage}.json"] = own = {}
        for name in for_first_stage(configs, names, stage):
            own |= {key: value for key, value in read_json(configs / name).items() if key == "network_def"}
    for name, networks in taken.items():
        if networks:
            config = json.loads(entries[f"configs/{name}"])
            for key, value in networks.items():
                if knows(config, key):
                    _set(config, key, value)
            entries[f"configs/{name}"] = readable(config).encode()
    return (
        f"The weights are of a training run of whoever packed this{', merging ' if names else ''}{', '.join(names)}: "
        "results, costs and data named in these docs belong to other weights.\n"
    )


def _check_weights(inference: dict, models: Path) -> None:
    """Raise an error unless the weights are whole, have their plan.json, and are of inference.json's network."""
    for path in sorted(models.glob("*.pt")):
        if not _is_leftover(path.name):
            load_tensors(path)
    plan = models / "plan.json"
    if plan.is_file() and "network" not in read_json(plan):
        raise ValueError(f"{plan}: says nothing of the network; it is no plan.json that a training wrote")
    network = ConfigParser({**inference, "ckpt_dir": str(models)}).get_parsed_content("network_def")
    try:
        load_weights(models / "model.pt", network)
        read_plan(plan, network=network)
    except ValueError as error:
        advice = "Give pack the OVERLAYS= of the training (sample data: sample.json)"
        raise ValueError(f"not packed, {error}. {advice}") from None


def _hash_cases(entries: Entries) -> None:
    """Put hashes in place of the cases' names in what lies beside the weights, so that no patient's name leaves."""
    for name in [name for name in entries if name in ("models/plan.json", "models/split.json")]:
        content = json.loads(entries[name])
        for stored in (content, content.get("init") or {}):
            stored |= {key: names_hashed(stored[key]) for key in ("cases", "without") if stored.get(key)}
        if isinstance(content.get("folds"), list):
            content["folds"] = [
                {part: names_hashed(cases) for part, cases in fold.items()} for fold in content["folds"]
            ]
        entries[name] = readable(content).encode()


def _set(config: dict, key: str, value: object) -> None:
    """Set an id such as `locator#network`, which exists up to its last part."""
    *parents, last = key.split("#")
    for part in parents:
        config = config[part]
    config[last] = value


def _mark(entries: Entries, note: str, *, run: bool) -> None:
    """Say in the packed docs and metadata what the weights are."""
    text = " ".join(note.split())
    readme = entries["docs/README.md"].decode()
    title, rest = readme.split("\n", 1)
    entries["docs/README.md"] = f"{title}\n\n> **{text}**\n{rest}".encode()
    if run and "docs/data_license.txt" in entries:
        entries["docs/data_license.txt"] = f"{text}\n\n".encode() + entries["docs/data_license.txt"]
    metadata = json.loads(entries["configs/metadata.json"])
    metadata["intended_use"] = f"{text} {metadata.get('intended_use', '')}".strip()
    entries["configs/metadata.json"] = readable(metadata).encode()


if __name__ == "__main__":
    run_command(pack, name="tools.pack")
