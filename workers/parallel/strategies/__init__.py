"""How a model is trained by one or several processes, one strategy a module."""

from __future__ import annotations

from workers.parallel.plan import SINGLE, ParallelPlan
from workers.parallel.processes import Processes
from workers.parallel.strategies.base import Strategy

STRATEGIES: dict[str, type[Strategy]] = {SINGLE: Strategy}


def make_strategy(plan: ParallelPlan, processes: Processes) -> Strategy:
    return STRATEGIES[plan.strategy](plan, processes)
