"""Generated patients, written in the file layouts that the bundles read. For demonstration only.

Example::

    python -m common.phantoms --layout atria2018 --folder sample_data/atria2018 --cases 12
"""

from common.phantoms.abdomen import abdomen_phantom
from common.phantoms.atrium import atrium_phantom
from common.phantoms.brain import brain_phantom
from common.phantoms.data_sets import (
    write_atria2018,
    write_brats2020,
    write_flare21,
    write_lits,
    write_msd_task01,
    write_task03_liver,
)
from common.phantoms.heart import write_task02_heart
from common.phantoms.plain_layouts import (
    write_bids,
    write_brats2023,
    write_datalist,
    write_images_labels,
    write_nnunet,
)

__all__ = [
    "WRITERS",
    "abdomen_phantom",
    "atrium_phantom",
    "brain_phantom",
    "write_atria2018",
    "write_bids",
    "write_brats2020",
    "write_brats2023",
    "write_datalist",
    "write_flare21",
    "write_images_labels",
    "write_lits",
    "write_msd_task01",
    "write_nnunet",
    "write_task02_heart",
    "write_task03_liver",
]

# Layout -> ``(folder, cases, seed)`` -> names of the phantoms written.
WRITERS = {
    "atria2018": write_atria2018,
    "bids": write_bids,
    "brats2020": write_brats2020,
    "brats2023": write_brats2023,
    "datalist": write_datalist,
    "decathlon": write_task02_heart,
    "flare21": write_flare21,
    "images_labels": write_images_labels,
    "lits": write_lits,
    "msd_task01": write_msd_task01,
    "nnunet": write_nnunet,
    "task03_liver": write_task03_liver,
}
