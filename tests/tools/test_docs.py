"""The READMEs say what configs and metadata say, and all model cards have one structure."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tools import docs as module
from tools.docs import ROOT, docs, filled, readmes

BUNDLES = sorted(path.parents[1] for path in ROOT.glob("bundles/*/configs/train.json"))
OPENING = ["What", "Cost", "Result", "Commands"]
SECTIONS = ["Data", "Preprocessing", "Networks", "Training", "Inference", "Metrics", "Without the repository"]
SECTIONS += ["Limits and intended use", "Differences from the original, and why", "References", "License"]
BEGIN = "<!-- begin generated: {} -->"


@pytest.mark.parametrize("file", readmes(ROOT), ids=lambda file: str(file.relative_to(ROOT)))
def test_generated_parts_are_what_configs_and_metadata_say(file: Path) -> None:
    current = file.read_text() == filled(file, readmes(ROOT)[file])
    assert current, f"{file.relative_to(ROOT)} is stale; `make docs` mends it"


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_a_card_opens_with_what_it_is_what_it_costs_what_it_reaches_and_the_commands(bundle: Path) -> None:
    opening = (bundle / "docs/README.md").read_text().split("\n## ")[0]
    assert re.findall(r"^\*\*(\w+)\.\*\*", opening, re.MULTILINE) == OPENING


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_every_card_has_the_same_sections_in_the_same_order_and_something_in_each(bundle: Path) -> None:
    _, *sections = re.split(r"^## ", (bundle / "docs/README.md").read_text(), flags=re.MULTILINE)
    assert [section.split("\n")[0] for section in sections] == SECTIONS
    assert [section for section in sections if not section.split("\n", 1)[1].strip()] == []


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("vnet_left_atrium", {"train_locator.json": "10,759,306", "train.json": "10,759,306"}),
        ("unet_liver_tumor", {"train.json": "5,836,099"}),
        ("efficient_seg_net", {"train_coarse.json": "2,676,480", "train.json": "9,366,016"}),
        ("oss_net", {"experiments/o_net.json": "6,890,753", "experiments/d.json": "8,704,653"}),
    ],
)
def test_cards_give_the_parameter_counts_of_the_papers(name: str, counts: dict[str, str]) -> None:
    rows = (ROOT / "bundles" / name / "docs/README.md").read_text().splitlines()
    for config, count in counts.items():
        assert [row for row in rows if row.startswith(f"| `{config}` |") and f"| {count} |" in row], config


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one bundle, its READMEs as `make docs` writes them."""
    for part in ("configs", "docs"):
        shutil.copytree(ROOT / "bundles/unet_liver_tumor" / part, tmp_path / "bundles/unet_liver_tumor" / part)
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "benchmarks/results", tmp_path / "benchmarks/results")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    docs()
    docs(check=True)
    return tmp_path


@pytest.fixture
def card(root: Path) -> Path:
    return root / "bundles/unet_liver_tumor/docs/README.md"


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_stale_card_is_named_with_the_remedy_and_left_as_it_is(root: Path, card: Path) -> None:
    change(root / "bundles/unet_liver_tumor/configs/train.json", epochs=7)
    before = card.read_text()
    with pytest.raises(SystemExit, match=r"unet_liver_tumor/docs/README\.md: not what .*`make docs` mends it"):
        docs(check=True)
    assert card.read_text() == before


def test_a_changed_knob_network_or_tensor_changes_those_lines_of_the_card_alone(root: Path, card: Path) -> None:
    configs = root / "bundles/unet_liver_tumor/configs"
    before = card.read_text().splitlines()
    network = {"_target_": "common.networks.UNet3d", "channels": [16, 32, 64, 128], "norm": "instance"}
    change(configs / "train.json", epochs=7, network_def=network)
    metadata = json.loads((configs / "metadata.json").read_text())
    metadata["network_data_format"]["outputs"]["pred"]["channel_def"]["2"] = "logit of lesion"
    change(configs / "metadata.json", **metadata)
    docs()
    after = card.read_text().splitlines()
    new = [line for line, old in zip(after, before, strict=True) if line != old]
    # By hand: (27 * in + 1) * out, added up over the convolutions of the description at half their widths.
    assert new[0].startswith("| `train.json` | `UNet3d(channels=[16, 32, 64, 128], norm='instance')` | 1,459,619 |")
    assert "2: logit of lesion" in new[1]
    assert new[2:] == ["| `epochs` | `7` | a whole number of at least 1 |"]


def test_a_new_overlay_has_its_line_with_what_it_says_of_itself(root: Path, card: Path) -> None:
    (root / "bundles/unet_liver_tumor/configs/long.json").write_text('{"_desc_": "Trains for longer", "epochs": 900}')
    docs()
    assert "| `long.json` | `train.json` | Trains for longer |  |" in card.read_text().splitlines()


def test_a_config_that_does_not_say_what_it_is_for_is_named(root: Path) -> None:
    (root / "bundles/unet_liver_tumor/configs/long.json").write_text('{"epochs": 900}')
    with pytest.raises(SystemExit, match=r"configs/long\.json: it does not say what it is for; expected .* _desc_"):
        docs()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("network", r"no part is called 'network'; there are: commands, networks, training knobs"),
        ("commands", r"the part 'commands' is there 2 times, expected once"),
    ],
)
def test_a_part_of_another_name_or_twice_is_an_error(card: Path, name: str, message: str) -> None:
    card.write_text(card.read_text().replace(BEGIN.format("networks"), BEGIN.format(name)))
    with pytest.raises(SystemExit, match=rf"docs/README\.md: {message}"):
        docs()


def test_a_missing_part_is_named_with_the_lines_to_add_and_keeps_no_other_file_from_being_written(
    root: Path, card: Path
) -> None:
    text = card.read_text()
    card.write_text(re.sub(r"<!-- begin generated: loading -->.*?<!-- end generated -->", "", text, flags=re.DOTALL))
    metadata = root / "bundles/unet_liver_tumor/configs/metadata.json"
    change(metadata, task="Segmentation of everything")
    with pytest.raises(SystemExit, match=r"'loading' is there 0 times.*<!-- begin generated: loading -->"):
        docs()
    assert "| everything |" in (root / "README.md").read_text()


def test_what_was_measured_stays_in_the_table_of_bundles_and_a_new_bundle_has_dashes(root: Path) -> None:
    readme, bundle = root / "README.md", root / "bundles/unet_liver_tumor"
    (row,) = [line for line in readme.read_text().splitlines() if line.startswith("| [unet_liver_tumor]")]
    *_, step, memory, result = row.strip("| ").split(" | ")
    readme.write_text(readme.read_text().replace(result, "Dice 0.123"))
    shutil.copytree(bundle, bundle.with_name("another"))
    docs()
    rows = [line for line in readme.read_text().splitlines() if re.match(r"\| \[(another|unet_liver_tumor)\]", line)]
    assert [row.strip("| ").split(" | ")[-3:] for row in rows] == [["-", "-", "-"], [step, memory, "Dice 0.123"]]
