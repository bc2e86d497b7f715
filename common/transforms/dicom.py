"""What kind of DICOM a file holds, from its first bytes."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["dicom_class", "holds_slices", "stated_values"]

HEAD = 4096  # bytes in which a file says what it is
MAGIC = slice(128, 132)
# (0002,0002) in the file's meta information, (0008,0016) in its data set: PS3.10, 7.1, and PS3.5, 7.1
CLASS = re.compile(rb"(?:\x02\x00\x02\x00|\x08\x00\x16\x00)(?:UI..|..\x00\x00)([0-9.]{5,64})", re.DOTALL)
GROUPS = (b"\x02\x00", b"\x08\x00")  # with which a file without preamble begins
ELEMENTS = (b"\x00\x00", b"\x01\x00", b"\x02\x00", b"\x05\x00", b"\x08\x00", b"\x10\x00", b"\x16\x00")
STORAGE = "1.2.840.10008.5.1.4.1.1."
NO_SLICES = re.compile(  # PS3.4, B.5
    r"1\.2\.840\.10008\.1\.3\.10"  # DICOMDIR
    + "|"
    + re.escape(STORAGE)
    + r"(4\.2|9|11|66|67|68|78|79|88|104|481)(\..+)?"  # spectra, waveforms, presentation states, raw data and
    # segmentations, mappings, surfaces, eye measurements, reports, documents, radiotherapy's plans, structures, doses
)


PIXELS = re.compile(rb"\xe0\x7f\x10\x00(?:O[BW]\x00\x00|....)", re.DOTALL)  # (7FE0,0010), little endian


def stated_values(path: str | Path, group: int, element: int) -> list[list[float]]:
    """The numbers of every element of this tag in a file's header, those within sequences too, in their order.

    Of little-endian files that are not deflated, as all are whose frames differ; empty for others.
    """
    header = PIXELS.split(Path(path).read_bytes(), maxsplit=1)[0]
    tag = re.escape(group.to_bytes(2, "little") + element.to_bytes(2, "little"))
    found = re.findall(tag + rb"(?:DS..|..\x00\x00)([-+0-9.eE \\]{1,128})", header, re.DOTALL)
    try:
        return [[float(number) for number in text.split(b"\\")] for text in found]
    except ValueError:
        return []


def dicom_class(path: str | Path) -> str | None:
    """The SOP class UID of a DICOM file, with or without preamble; empty where it does not say.

    None for other files, and where none can be read.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError:
        return None
    plain = head[:2] in GROUPS and head[2:4] in ELEMENTS
    if head[MAGIC] != b"DICM" and not plain:
        return None
    found = CLASS.search(head)
    return found[1].decode() if found else ""


def holds_slices(path: str | Path) -> bool:
    """Whether a file is DICOM and may be a slice or a volume: no DICOMDIR, report, segmentation or plan."""
    kind = dicom_class(path)
    return kind is not None and not NO_SLICES.fullmatch(kind)
