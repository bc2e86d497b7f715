"""A path is a path: what a person types arrives at the bundle unchanged, or is refused before anything is written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import fire
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser, update_kwargs

from common.files import usable_path
from tools.stages import Stage, commands

REPOSITORY = Path(__file__).parents[2]
CONFIG = {
    "dataset_dir": "data",
    "ckpt_dir": "models",
    "output_dir": "output",
    "weights": "$@ckpt_dir + '/model.pt'",
    "reader": {"_target_": "builtins.dict", "source": "@dataset_dir", "parts": ["@output_dir"]},
}
AWKWARD = ["Fall #12", "@#", "@dataset_dir", "100%", "%x", "$HOME", "$$", "a$b", "$(id)", "`id`", "~", "~x", "a::b"]
AWKWARD += ["2024_05_01", "1.10", "1e5", "2018.10", "20180217_064501", "None", "True", "[a]", "['a']", "{b}", "{a: 1}"]
AWKWARD += ["Smith,John", "a b", "a  b ", "-x", "--epochs", "--", "-", "a=b", "=", "it's", 'a"b', "a\\", "\\x41", "#"]
AWKWARD += ["Größe", "e\u0301", "心臓", "\udcff\udcfe", "🫀", "a;b", "a&b", "a|b", ">x", "*", "?", "!x", "import os"]

# All that Linux allows in a name: \udc80 to \udcff stand for bytes that are no UTF-8.
CHARACTERS = st.one_of(
    st.sampled_from("#@%$~:,;=+-_.()[]{}'\"\\ !?*&|<>^`0123456789eEaj"),
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"),
    st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=("Cs",)),
)
NAMES = st.one_of(st.sampled_from(AWKWARD), st.text(CHARACTERS, min_size=1, max_size=30))
NAMES = NAMES.filter(lambda name: name not in (".", ".."))


def arrived(arguments: list[str]) -> dict[str, object]:
    """What the ids of CONFIG are after the command line's parser and the config parser of ``monai.bundle run``."""
    overrides: dict[str, object] = {}

    def run(run_id: str, config_file: object = None, **override: object) -> None:
        overrides.update(update_kwargs(config_file=None, **override))

    fire.Fire(run, command=["run", *arguments])
    parser = ConfigParser(json.loads(json.dumps(CONFIG)))
    parser.update(overrides)
    parser.parse()
    return {key: parser.get_parsed_content(key) for key in CONFIG}


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(data=NAMES, run=NAMES)
@example(data="@x", run="a\\")
def test_every_name_reaches_the_config_through_the_pipelines_command_line(
    tmp_path_factory: pytest.TempPathFactory, data: str, run: str
) -> None:
    configs = tmp_path_factory.getbasetemp() / "configs"
    configs.mkdir(exist_ok=True)
    (configs / "inference.json").write_text(json.dumps(CONFIG))
    stage = Stage("predictions", run_id="run", files=["inference.json"], multi_gpu="")
    paths = {"dataset_dir": f"/data/{data}", "ckpt_dir": f"/{run}/models", "output_dir": f"/{run}"}
    command = commands(configs, [stage], paths=paths, given={})["predictions"]
    found = arrived(command[command.index("run") + 2 :])
    assert found["dataset_dir"] == found["reader"]["source"] == f"/data/{data}"
    assert found["weights"] == f"/{run}/models/model.pt"
    assert found["reader"]["parts"] == [f"/{run}/predictions"]


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(names=st.lists(NAMES, min_size=2, max_size=3))
def test_a_list_of_names_reaches_the_config_too(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    configs = tmp_path_factory.getbasetemp() / "configs"
    configs.mkdir(exist_ok=True)
    (configs / "inference.json").write_text(json.dumps(CONFIG))
    stage = Stage("predictions", run_id="run", files=["inference.json"], multi_gpu="")
    paths = {"dataset_dir": [f"/{name}" for name in names], "output_dir": "/out"}
    command = commands(configs, [stage], paths=paths, given={})["predictions"]
    assert arrived(command[command.index("run") + 2 :])["reader"]["source"] == [f"/{name}" for name in names]


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(name=NAMES, folder=st.sampled_from(["", "/data/", "./"]))
def test_every_name_typed_by_hand_arrives_unchanged_or_is_refused(name: str, folder: str) -> None:
    """Refused by usable_path, or by the config parser as a reference or an expression that does not exist."""
    typed = folder + name
    assume(typed[0] not in "'\"$" and typed not in ("@dataset_dir", "%dataset_dir"))  # quotes and config syntax
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["/x/monai/bundle/__main__.py", "run", "run", "--output_dir", typed])
        try:
            value = arrived(["--output_dir", typed])["output_dir"]
            usable_path(value, "output_dir")
        except (Exception, fire.core.FireExit):
            return
    assert value == typed


@pytest.mark.parametrize("target", ["train", "evaluate", "infer", "pack", "release", "sample-data"])
def test_a_typo_in_bundle_lists_the_bundles_before_anything_is_set_up(target: str) -> None:
    command = ["make", "-s", "-o", ".venv/.ready", target, "BUNDLE=unet liver"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    known = sorted(path.parents[1].name for path in REPOSITORY.glob("bundles/*/configs/train.json"))
    first, own = done.stderr.splitlines()
    assert first == f"BUNDLE=unet liver: no such bundle; there are: {' '.join(known)}"
    assert re.match(r"make(\[\d+\])?: \*\*\*", own) and done.returncode == 2


def test_make_hands_every_name_on_as_it_was_typed(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[3:]))\n")
    program.chmod(0o755)
    for name in AWKWARD:
        for target, variable in (("infer", "WEIGHTS"), ("train", "INIT")):
            variables = [f"{each}={name}" for each in ("DATASET_DIR", "RUN", variable)]
            command = ["make", "-s", "-o", ".venv/.ready", f"PY={program}", target, *variables]
            done = subprocess.run(list(map(os.fsencode, command)), cwd=REPOSITORY, capture_output=True, check=True)
            paths = [f"--dataset_dir={name}", f"--run={name}", f"--{variable.lower()}={name}"]
            assert json.loads(done.stdout) == [target, "--bundle=vnet_left_atrium", *paths, "--gpus=1"]
