"""How many examples a property is tried on."""

from numba import config

__all__ = ["examples"]


def examples(compiled):
    """Return the number of examples, a tenth of it where nothing is compiled.

    What stands in the same lines was tried on all of them with the compiler on; as plain Python
    under coverage each takes many times longer.
    """
    return max(10, compiled // 10) if config.DISABLE_JIT else compiled
