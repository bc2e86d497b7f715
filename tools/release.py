"""Make dist/ a release page: zips, the model zoo's list of them with checksums, and large files. For `make release`.

The list is `model_info.json`, as `monai.bundle` reads it: `{"NAME_vVERSION": {"checksum": SHA1, "source": URL}}`.
"""

import hashlib
import json
import re
import sys
from pathlib import Path
from urllib.parse import quote, urlsplit

from common.command_line import run_command
from common.files import read_json, whole_file
from tools.pack import Entries, Packed, collect, requirements

LARGE = 25_000_000  # bytes; the zoo's git repository takes no larger file


def release(bundle: str, source: str, *, run: str | None = None, merge: str = "", folder: Path = Path("dist")) -> None:
    """Write FOLDER/BUNDLE_vVERSION.zip as `make pack` does, and its line in FOLDER/model_info.json.

    Weights of more than 25 MB go beside the zip, not into it; large_files.yml in the zip says where they are and what
    their SHA-256 is, as the model zoo has it. Upload the folder as it is to SOURCE.

    Args:
        bundle: name of a folder in bundles/.
        source: URL of the folder from which others will download.
        run: folder of a training run, whose weights are packed.
        merge: the overlays that the run was trained with.
        folder: where to write; what model_info.json there lists already stays listed.
    """
    parts = urlsplit(source)
    if parts.scheme not in ("http", "https") or not parts.netloc or re.search(r"[\s?#\x00-\x1f]", source):
        sys.exit(f"SOURCE={source}: name the URL of the folder from which others will download, https://...")
    base, home = source.rstrip("/"), Path(folder)
    if (home / "model_info.json").exists():
        read_json(home / "model_info.json")  # a damaged one is refused before anything is written
    packed = collect(bundle, run=run, merge=merge)
    large = set_apart(packed, base)
    for name, data in large.items():
        with whole_file(home / name) as partial:
            partial.write_bytes(data)
    zipped = packed.write(home)
    with whole_file(home / "model_info.json") as partial:
        partial.write_text(json.dumps(listed(zipped, base), indent=4) + "\n")
    for name in [*large, "model_info.json"]:
        print((home / name).absolute())


def set_apart(packed: Packed, base: str) -> Entries:
    """Take the large files of `models/` out of a pack, whose large_files.yml then says where they are.

    Args:
        packed: its entries are changed.
        base: URL of the folder from which they will be downloaded.

    Returns:
        name on the release page -> content.
    """
    entries, large = packed.entries, {}
    lines = ["large_files:"]
    for inside in sorted(name for name, data in entries.items() if name.startswith("models/") and len(data) > LARGE):
        data = entries.pop(inside)
        name = f"{packed.stem}_{Path(inside).name}"
        large[name] = data
        values = {"path": inside, "url": f"{base}/{quote(name)}", "hash_val": hashlib.sha256(data).hexdigest()}
        fields = [f"{key}: {json.dumps(value)}" for key, value in (values | {"hash_type": "sha256"}).items()]
        lines += [f"- {fields[0]}", *(f"  {field}" for field in fields[1:])]
    if large:
        entries["large_files.yml"] = ("\n".join(lines) + "\n").encode()
        entries["requirements.txt"] = requirements("PyYAML").encode()  # what MONAI reads that file with
        title, rest = entries["docs/README.md"].decode().split("\n", 1)
        note = "Fetch the weights first, in this folder: `python -m monai.bundle download_large_files`"
        entries["docs/README.md"] = f"{title}\n\n> **{note}**\n{rest}".encode()
    return large


def listed(path: Path, base: str) -> dict[str, dict[str, str]]:
    """The content of model_info.json beside a zip, with the zip in it.

    Args:
        path: the zip.
        base: URL of the folder from which it will be downloaded.
    """
    known = path.with_name("model_info.json")
    entries = read_json(known) if known.is_file() else {}
    checksum = hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
    entries[path.stem] = {"checksum": checksum, "source": f"{base}/{quote(path.name)}"}
    return dict(sorted(entries.items()))


if __name__ == "__main__":
    run_command(release, name="tools.release")
