"""``monai.bundle`` on a disk that is full for some files: ``python full_disk.py PATTERN run ... --config_file ...``.

Files whose path holds the regular expression PATTERN find no room: as they are opened, or brought to the disk.
"""

from __future__ import annotations

import errno
import io
import os
import re
import runpy
import sys
from typing import Any


def fill(pattern: str) -> None:
    sync, opened = os.fsync, io.open

    def check(path: object) -> None:
        if re.search(pattern, str(path)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full_sync(descriptor: int) -> None:
        check(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    def full_open(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if set(mode) & set("wax+"):
            check(file)
        return opened(file, mode, *args, **kwargs)

    os.fsync, io.open = full_sync, full_open  # the second is what Path.open calls


if __name__ == "__main__":
    fill(sys.argv.pop(1))
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
