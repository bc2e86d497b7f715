"""``monai.bundle`` on a disk that is full for some files: ``python full_disk.py PATTERN run ... --config_file ...``.

Files whose path holds the regular expression PATTERN find no room as they are to be brought to the disk.
"""

from __future__ import annotations

import errno
import os
import re
import runpy
import sys


def fill(pattern: str) -> None:
    sync = os.fsync

    def full(descriptor: int) -> None:
        if re.search(pattern, os.readlink(f"/proc/self/fd/{descriptor}")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    os.fsync = full


if __name__ == "__main__":
    fill(sys.argv.pop(1))
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
