"""How much is tried: as plain Python, under coverage, the same lines take a hundred times longer.

Everything runs in full with the compiler on.
"""

from numba import config

__all__ = ["examples", "size"]


def size(compiled, plain):
    """Return the first where functions are compiled, the second where they are plain Python."""
    return plain if config.DISABLE_JIT else compiled


def examples(number):
    """Return how many random examples to try, a tenth of the number as plain Python."""
    return size(number, max(10, number // 10))
