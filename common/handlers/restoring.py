"""How a training goes on under new settings: these come from its configuration, progress from the checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

__all__ = ["base_rates", "register", "registered", "restore"]

HISTORY = ("best", "cooldown_counter", "num_bad_epochs", "last_epoch", "_last_lr")  # of ReduceLROnPlateau

Rates = dict[str, list[float]]


def register(engine: Engine, name: str, handler: Any) -> None:
    """Let a handler's state belong to the checkpoints of a trainer, under this name."""
    registered(engine)[name] = handler


def registered(engine: Engine) -> dict[str, Any]:
    """name -> handler of all that were registered with a trainer."""
    return vars(engine).setdefault("handlers_with_state", {})


def base_rates(objects: Mapping[str, Any]) -> Rates:
    """The learning rates that the settings ask for: of each optimizer, of each of its groups, before any schedule."""
    return {
        key: [float(group.get("initial_lr", group["lr"])) for group in item.param_groups]
        for key, item in objects.items()
        if isinstance(item, Optimizer)
    }


def restore(objects: Mapping[str, Any], states: Mapping[str, Any], engine: Engine, *, epoch: int, rates: Rates) -> None:
    """Bring new objects to where a training was, as if their settings had been there from its start.

    Optimizers keep their settings and get the stored moments. A schedule that is a function of its steps makes as many
    as it would have made by now; ``ReduceLROnPlateau`` gets its history, and the learning rate that it had, times what
    the settings have changed it by. Everything else loads its own state.

    Args:
        objects: name -> what has a state, just built.
        states: their stored states.
        engine: the trainer, whose ``LrScheduleHandler`` tell whether a schedule makes steps per iteration or per epoch.
        epoch: how many epochs are done.
        rates: :func:`base_rates` of the run that stored the states.
    """
    optimizers = {key: item for key, item in objects.items() if isinstance(item, Optimizer)}
    schedules = {key: item for key, item in objects.items() if isinstance(item, LRScheduler)}
    old_rates = {id(item): rates.get(key) for key, item in optimizers.items()}
    stored_rates = {
        id(item): [group["lr"] for group in states[key]["param_groups"]] for key, item in optimizers.items()
    }
    for key, optimizer in optimizers.items():
        _restore_optimizer(optimizer, states[key])
    for key, schedule in schedules.items():
        if isinstance(schedule, ReduceLROnPlateau):
            known = id(schedule.optimizer)
            _restore_plateau(schedule, states[key], stored_rates.get(known), old_rates.get(known))
        else:
            _replay(schedule, _steps(schedule, engine, epoch, states[key].get("last_epoch", 0)))
    for key, item in objects.items():
        if key not in optimizers and key not in schedules:
            item.load_state_dict(states[key])


def _restore_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    if len(optimizer.param_groups) != len(state["param_groups"]):
        optimizer.load_state_dict(state)  # says what is wrong
    groups = [
        {**group, "params": stored["params"]}
        for group, stored in zip(optimizer.param_groups, state["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({**state, "param_groups": groups})


def _restore_plateau(
    schedule: ReduceLROnPlateau, state: dict[str, Any], stored: list[float] | None, old: list[float] | None
) -> None:
    for key in HISTORY:
        if key in state:
            setattr(schedule, key, state[key])
    if stored is None:
        return
    for n, (group, rate) in enumerate(zip(schedule.optimizer.param_groups, stored, strict=True)):
        base = float(group.get("initial_lr", group["lr"]))
        changed = old is not None and old[n] != base
        group["lr"] = max(rate * (base / old[n]), schedule.min_lrs[n]) if changed else rate
    schedule._last_lr = [group["lr"] for group in schedule.optimizer.param_groups]


def _steps(schedule: LRScheduler, engine: Engine, epoch: int, stored: int) -> int:
    """How many steps a schedule makes in so many epochs; the stored number where no handler makes any."""
    made = {Events.ITERATION_COMPLETED: epoch * engine.state.epoch_length, Events.EPOCH_COMPLETED: epoch}
    for event, steps in made.items():
        if any(getattr(handler, "lr_scheduler", None) is schedule for handler, *_ in engine._event_handlers[event]):
            return steps
    return stored


def _replay(schedule: LRScheduler, steps: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch expects a step of the optimizer before each
        for _ in range(steps - schedule.last_epoch):
            schedule.step()
