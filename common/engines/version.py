"""A bundle and the ``common`` it was made with belong together."""

from __future__ import annotations

from pathlib import Path

import common

__all__ = ["check_version"]


def check_version(version: str) -> str:
    """The version of ``common``, which must be that of the bundle that runs.

    Args:
        version: that of the bundle, from its ``configs/metadata.json``.

    Raises:
        RuntimeError: if Python found another version, a second bundle's or an installed one, with its place.
    """
    if version != common.__version__:
        raise RuntimeError(
            f"this bundle is version {version}, but Python found `common` {common.__version__} in "
            f"{Path(common.__file__).parent}: run one bundle per process, from its own folder, or uninstall the other"
        )
    return version
