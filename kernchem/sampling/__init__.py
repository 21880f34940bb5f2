"""Which structure to compute next: campaigns that label what teaches a model most.

Names are imported when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernchem.sampling.active_stop import Budget, Patience, ProjectedGain, StopRule, TargetError

__all__ = [
    "Budget",
    "Patience",
    "ProjectedGain",
    "StopRule",
    "TargetError",
]

#: Public name to the module that defines it.
_HOMES = {
    "Budget": "active_stop",
    "Patience": "active_stop",
    "ProjectedGain": "active_stop",
    "StopRule": "active_stop",
    "TargetError": "active_stop",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kernchem.sampling' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"kernchem.sampling.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
