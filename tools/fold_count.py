"""How many folds the cases of a data set make: its check and its split, without a training.

Called like `monai.bundle run`, in the bundle's folder: `python -m tools.fold_count --config_file=... --answer=FILE`.
"""

import json
from pathlib import Path

from fire.parser import DefaultParseValue
from monai.bundle import ConfigWorkflow

from common.command_line import run_command
from common.files import whole_file


def fold_count(config_file: str, answer: Path, **overrides: object) -> None:
    """Write `{"folds": n}`.

    Args:
        config_file: as for `monai.bundle run`: files of a training.
        answer: JSON file to write.
        overrides: of the config.

    Raises:
        ValueError: if the config makes no folds, or the cases cannot be split.
        DataError: for data that cannot be used.
    """
    settings = {key: DefaultParseValue(text) for key, text in {"config_file": config_file, **overrides}.items()}
    parser = ConfigWorkflow(**settings, workflow_type="train").parser
    if "planned" in parser:  # whose channels and structures the cases are checked by
        parser.get_parsed_content("planned")
    folds = getattr(parser.get_parsed_content("split"), "folds", None)
    if folds is None:
        raise ValueError("these settings train and validate on the same cases, so there are no folds; leave out FOLDS=")
    with whole_file(answer) as file:
        file.write_text(json.dumps({"folds": folds}) + "\n")


if __name__ == "__main__":
    run_command(fold_count, name="tools.fold_count")
