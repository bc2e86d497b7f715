"""The plan of a training: what is derived from the data or decided for it, with reasons."""

from common.datasets.planning.make import make_plan
from common.datasets.planning.rules import Traits
from common.datasets.planning.table import plan_table

__all__ = ["Traits", "make_plan", "plan_table"]
