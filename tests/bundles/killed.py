"""``monai.bundle`` that ends itself with SIGKILL: ``python killed.py MOMENT run training --config_file ...``.

MOMENT is ``iterating:N`` (before the last iteration of epoch N), ``before:NAME`` (as the file NAME is about to be
written) or ``half:NAME`` (with half of its bytes on the disk).
"""

from __future__ import annotations

import io
import os
import runpy
import signal
import sys
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import Trainer


def kill(*_: object) -> None:
    os.killpg(0, signal.SIGKILL)


def kill_while_iterating(epoch: int) -> None:
    run = Trainer.run

    def run_and_die(trainer: Trainer) -> None:
        def last(engine: Engine, iteration: int) -> bool:
            return iteration == epoch * engine.state.epoch_length

        trainer.add_event_handler(Events.ITERATION_STARTED(event_filter=last), kill)
        run(trainer)

    Trainer.run = run_and_die


def kill_while_saving(name: str, *, share: float) -> None:
    save = torch.save

    def save_and_die(obj: Any, file: Any, *args: Any, **kwargs: Any) -> None:
        if str(getattr(file, "name", file)).endswith(name):
            whole = io.BytesIO()
            save(obj, whole, *args, **kwargs)
            file.write(whole.getvalue()[: int(share * whole.tell())])
            file.flush()
            kill()
        save(obj, file, *args, **kwargs)

    torch.save = save_and_die


if __name__ == "__main__":
    os.setsid()  # the workers of the loader die too, and nobody else
    moment, _, what = sys.argv.pop(1).partition(":")
    if moment == "iterating":
        kill_while_iterating(int(what))
    else:
        kill_while_saving(what, share={"before": 0.0, "half": 0.5}[moment])
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
