"""Kernel methods for chemistry: from molecules to predictions with error bars.

Names are imported when they are first used, so ``import kernchem`` itself costs milliseconds.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernchem import (
        baselines,
        benchmark,
        datasets,
        descriptors,
        kernels,
        model_files,
        sampling,
        testing,
        uncertainty,
    )
    from kernchem.io import read
    from kernchem.model_files import load, save
    from kernchem.models import GPR, KRR, CompositionBaseline, DeltaLearner, MultiFidelityGPR
    from kernchem.structures import Structures

__version__ = "0.1.0"

__all__ = [
    "GPR",
    "KRR",
    "CompositionBaseline",
    "DeltaLearner",
    "MultiFidelityGPR",
    "Structures",
    "baselines",
    "benchmark",
    "datasets",
    "descriptors",
    "kernels",
    "load",
    "model_files",
    "read",
    "sampling",
    "save",
    "testing",
    "uncertainty",
]

#: Public name to the module that defines it; the other names of ``__all__`` are modules.
_HOMES = {
    "CompositionBaseline": "kernchem.models",
    "DeltaLearner": "kernchem.models",
    "GPR": "kernchem.models",
    "KRR": "kernchem.models",
    "MultiFidelityGPR": "kernchem.models",
    "Structures": "kernchem.structures",
    "load": "kernchem.model_files",
    "read": "kernchem.io",
    "save": "kernchem.model_files",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'kernchem' has no attribute {name!r}")
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        value = importlib.import_module(f"kernchem.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
