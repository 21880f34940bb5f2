"""The only place that knows Numba's options.

Every compiled function of kernchem is decorated with :func:`jit`. It is compiled in nopython mode
without the interpreter lock, divides by zero as NumPy does, and is cached on disk.

Numba stamps a cached function with the content of the file that defines it and of no other, so a
function that calls a compiled helper of *another* file would go on returning the numbers of the
old helper after only the helper was edited. :class:`_StampedCache` therefore mixes a digest of
every source with compiled code into the stamp. Where no cache folder can be written, functions are
compiled anew in each process.
"""

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, overload

import numba
from numba.core.caching import FunctionCache

__all__ = ["FASTMATH", "jit"]

_F = TypeVar("_F", bound=Callable[..., Any])

#: Fast-math flags that leave NaN and infinity alone (``fastmath=True`` would delete their checks).
FASTMATH = frozenset({"nsz", "arcp", "contract", "afn", "reassoc"})


@functools.cache
def _sources_digest() -> str:
    """Digest of every source file of the package that holds compiled code."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    for folder, subfolders, files in os.walk(package, followlinks=True):
        subfolders.sort()
        for name in sorted(files):
            if name.endswith("_jit.py") or name in {"_fastmath.py", "_numba.py"}:
                digest.update(name.encode())
                digest.update(Path(folder, name).read_bytes())
    return digest.hexdigest()


class _StampedCache(FunctionCache):
    """Numba's disk cache, stale as soon as any source with compiled code has changed."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file._source_stamp = (self._cache_file._source_stamp, _sources_digest())


@overload
def jit(function: _F) -> _F: ...
@overload
def jit(*, fastmath: bool = ...) -> Callable[[_F], _F]: ...
def jit(function: Any = None, *, fastmath: bool = False) -> Any:
    """Compile a function with kernchem's options.

    Parameters
    ----------
    function : callable
        Plain Python on scalars and NumPy arrays.
    fastmath : bool, default False
        Allow the compiler to reorder sums (the flags of :data:`FASTMATH`, never all of them).

    Returns
    -------
    callable
        The compiled function; the function itself under ``NUMBA_DISABLE_JIT=1``.
    """
    if function is None:
        return functools.partial(jit, fastmath=fastmath)
    flags = set(FASTMATH) if fastmath else False
    compiled = numba.njit(nogil=True, error_model="numpy", fastmath=flags)(function)
    if not numba.config.DISABLE_JIT:
        # No folder can be written, or a Numba whose cache we do not know: numbers of a stale
        # cache would be worse than compiling again.
        with contextlib.suppress(RuntimeError, OSError, AttributeError):
            compiled._cache = _StampedCache(function)
    return compiled
