"""What both benchmarks share: the machine they ran on, lists on the command line, Markdown tables."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from common.kernels import computes_in_bfloat16


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, GPU, versions and commit (a plus: changed since; None: no git)."""
    info = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    models = {line.split(":")[1].strip() for line in info if line.startswith("model name")}
    try:
        git = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
        commit = subprocess.run(git, cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        commit = ""
    return {
        "cpu": ", ".join(sorted(models)) or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bfloat16": computes_in_bfloat16(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "monai", "numpy", "pytorch-ignite")},
        "commit": commit or None,
    }


def listed(value: Any) -> list[Any]:
    """One value, several separated by commas or spaces, or a list: as a list."""
    if isinstance(value, str):
        return value.replace(",", " ").split()
    return list(value) if isinstance(value, list | tuple) else [value]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of rows, each column name -> cell."""
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)
