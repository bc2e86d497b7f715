"""A pipeline in which hosts find what they replace."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from monai.transforms import Compose

__all__ = ["flat_compose"]


def flat_compose(transforms: Sequence[Callable]) -> Compose:
    """Compose transforms, with those of every ``Compose`` among them in its place.

    Hosts look through a bundle's ``preprocessing`` for the loader, which they drop, and no deeper: MONAI Label, the
    Deploy App SDK.
    """
    return Compose(transforms).flatten()
