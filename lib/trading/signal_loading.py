"""Loading the signal class that the settings name, and whether it takes batches."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from lib.process.traceback_frames import error_text, frames_of, innermost
from lib.settings import SettingsError, settings_place
from lib.signals import Signal


def takes_batches(signal_class: type[Signal]) -> bool:
    """Return whether the `on_batch` of a signal belongs to its `on_tick`: one class defines both.

    A class that overrides `on_tick` alone has inherited an `on_batch` that says something else.
    """

    def home(method: str) -> type | None:
        return next((c for c in signal_class.__mro__ if method in vars(c)), None)

    return home("on_batch") is not None and home("on_batch") is home("on_tick")


def load_signal_class(name: str, key: str = "strategy.class") -> type[Signal]:
    """Load the class that a strategy's settings name as "module:Name".

    Raises SettingsError, which names the process's settings file and `key`, if there is no such
    module or class, or if it has no `on_tick`.
    """
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
        signal_class: Any = getattr(module, class_name)
    except (Exception, SystemExit) as error:  # a user's module may fail in any way
        place = innermost(frames_of(error))
        # An error of this file itself means that there is no such module or class.
        at = f" ({place})" if place and not place.is_of(Path(__file__)) else ""
        problem = f"{key}: cannot load {name}: {error_text(error)}{at}"
        raise SettingsError(settings_place(), problem) from None
    if not isinstance(signal_class, type) or not callable(getattr(signal_class, "on_tick", None)):
        problem = f"{key}: {name} must be a class with an on_tick method"
        raise SettingsError(settings_place(), problem)
    return signal_class
