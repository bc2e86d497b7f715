"""A bundle that meets another version's `common` says so."""

from __future__ import annotations

import pytest

import common
from common.engines import check_version


def test_the_version_of_common_is_accepted() -> None:
    assert check_version(common.__version__) == common.__version__


def test_another_version_ends_the_run_and_says_where_common_was_found() -> None:
    with pytest.raises(RuntimeError, match=rf"version 9\.9\.9.*{common.__version__}"):
        check_version("9.9.9")
