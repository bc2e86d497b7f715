"""The plan of a training: what is derived from the data or decided for it, with reasons."""

from common.datasets.planning.make import make_plan, plan_table
from common.datasets.planning.rules import Traits

__all__ = ["Traits", "make_plan", "plan_table"]
