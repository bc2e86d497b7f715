"""The one error that everything in this folder raises about data."""

from __future__ import annotations

__all__ = ["DataError"]


class DataError(ValueError):
    """Data that cannot be used. The message names every offender and is made to be printed alone, without traceback."""
