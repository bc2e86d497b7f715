"""``torchrun`` that leaves the last word to what it runs: ``python -m common.launch --standalone ...``.

Arguments are those of ``torchrun``. Where a process fails, its own message stands alone: no trace of the launcher
follows, and the exit code is that of the process that failed first.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from common.command_line import without_remark

__all__ = ["launch"]


def launch(arguments: Sequence[str] | None = None) -> int:
    """Run the processes, as ``torchrun`` does.

    Args:
        arguments: of ``torchrun``; default those of the command line.

    Returns:
        The exit code, as a shell gives it (128 + n for signal n): of the process that failed first, or 0.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    os.environ.update(without_remark(os.environ))
    for name in list(logging.root.manager.loggerDict):  # each has a level of its own
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        run(parse_args(arguments))
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        return code if code > 0 else 128 - code
    except SignalException as error:
        return 128 + error.sigval
    return 0


if __name__ == "__main__":
    sys.exit(launch())
