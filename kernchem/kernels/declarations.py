"""What kernels declare about themselves, in sums and products of them too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sklearn.gaussian_process.kernels import WhiteKernel

from kernchem.kernels.elementary import WhiteNoise

__all__ = ["holds_noise", "indefinite_cause"]


def holds_noise(kernel: Any) -> bool:
    """Return whether a kernel is white noise or is made of it.

    Parameters
    ----------
    kernel : kernel
        Of :mod:`kernchem.kernels` or of scikit-learn.

    Returns
    -------
    bool
        Then a sample of two sets is not like itself.
    """
    return any(isinstance(part, WhiteNoise | WhiteKernel) for part in _parts(kernel))


def indefinite_cause(kernel: Any) -> str:
    """Return a sentence that names kernels that are not positive semi-definite, empty without any.

    Parameters
    ----------
    kernel : kernel or None
        One that may declare ``positive_semidefinite = False``, or that is made of such kernels.

    Returns
    -------
    str
        For the message of a factorisation that failed.
    """
    names = sorted(
        {
            type(part).__name__
            for part in _parts(kernel)
            if not getattr(part, "positive_semidefinite", True)
        }
    )
    if not names:
        return ""
    verb = "is" if len(names) == 1 else "are"
    return (
        f"{' and '.join(names)} {verb} not positive semi-definite in general: negative eigenvalues "
        "need an alpha above their size relative to the mean diagonal."
    )


def _parts(kernel: Any) -> Iterator[Any]:
    """Yield a kernel and the kernels among its arguments, those in lists too."""
    if isinstance(kernel, list | tuple):
        for part in kernel:
            yield from _parts(part)
    elif hasattr(kernel, "get_params"):
        yield kernel
        yield from _parts(list(kernel.get_params(deep=False).values()))
