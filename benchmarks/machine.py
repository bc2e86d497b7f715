"""What both benchmarks say of the machine, and how they read lists on the command line."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from common.kernels import computes_in_bfloat16


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, GPU, versions and commit."""
    models = {line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")}
    cpu = ", ".join(sorted(models)) or platform.processor() or platform.machine()
    memory = next(
        (int(line.split()[1]) / 2**20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), None
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": cpu,
        "cores": cores,
        "threads": torch.get_num_threads(),
        "bfloat16": computes_in_bfloat16(),
        "memory_gib": None if memory is None else round(memory, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "monai", "numpy", "pytorch-ignite")},
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Of the sources, with a plus if they were changed since; None without git."""
    if shutil.which("git") is None:
        return None
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return done.stdout.strip() or None


def listed(value: Any) -> list[Any]:
    """What a person gave: one, several separated by commas, or a list."""
    if isinstance(value, str):
        return [part for part in value.replace(",", " ").split() if part]
    return list(value) if isinstance(value, list | tuple) else [value]


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []
