"""Gaussian and Laplacian kernels between rows of features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np

from kernchem._threads import run_panels
from kernchem.kernels.base import Matrix, RadialKernel
from kernchem.kernels.vector_jit import (
    TILE,
    UNROLL,
    centre_rows,
    exp_scaled,
    fill_l1,
    finish_squared,
    mirror,
    pack_columns,
)

__all__ = ["Gaussian", "Laplacian"]

# Rows per panel, at most for the Gaussian. A GEMM wants tall panels, as it packs the other operand
# anew for each, yet the panel must stay in cache for the pass that follows; the L1 filler wants its
# rows and totals (64 KiB) in the second-level cache.
_GAUSSIAN_PANEL = 900
_LAPLACIAN_PANEL = 64
_MIRROR_PANEL = 128
_ELEMENTS_PANEL = 1 << 18

# Squared distances below this part of the norms they come from have lost more than six of their
# sixteen digits to cancellation, and are recomputed from the features.
_CANCELLATION = 1e-6


def _gaussian_panel(n_rows: int) -> int:
    """Return rows per panel for an even number of equal panels, which two threads share fairly."""
    pairs = max(1, -(-n_rows // (2 * _GAUSSIAN_PANEL)))
    return -(-n_rows // (2 * pairs))


def _centred(features: Matrix, centre: Matrix) -> tuple[Matrix, Matrix]:
    """Return features less their centre, and the squared norms of those rows."""
    rows, norms = np.empty_like(features), np.empty(len(features))
    centre_rows(features, centre, rows, norms)
    return rows, norms


class _ExponentialKernel(RadialKernel):
    """A kernel exp(factor * distance)."""

    @abstractmethod
    def _factor(self) -> float:
        """Return the negative factor of the distance in the exponent."""

    def _map(self, distances: Matrix, out: Matrix) -> None:
        factor = self._factor()

        def fill(start: int, stop: int) -> None:
            exp_scaled(distances[start:stop], factor, out[start:stop])

        run_panels(fill, distances.size, _ELEMENTS_PANEL, self.n_jobs)

    def _fill_symmetric(self, fill: Callable[[int, int], object], panel: int, out: Matrix) -> None:
        """Fill the panels on and below the diagonal, then mirror them.

        The last panels are the longest, so they go first: threads finish together.
        """
        n = len(out)
        run_panels(lambda start, stop: fill(n - stop, n - start), n, panel, self.n_jobs)
        run_panels(lambda start, stop: mirror(out, start, stop), n, _MIRROR_PANEL, self.n_jobs)


class Gaussian(_ExponentialKernel):
    """Gaussian kernel, k(x, x') = exp(-|x - x'|_2^2 / (2 length_scale^2)).

    The same as scikit-learn's ``RBF`` with one length scale, and qmllib's ``gaussian_kernel`` with
    ``sigma`` = length_scale.

    Parameters
    ----------
    length_scale : float, default 1.0
        Width of the kernel, in the units of the features.
    length_scale_bounds : pair of float or "fixed", default (1e-5, 1e8)
        Range in which an optimizer may tune the width; "fixed" takes it out of ``theta``.
    n_jobs : int or None, default None
        Number of threads; None uses every core. The numbers do not depend on it.

    Notes
    -----
    Cost O(n_samples n_others n_features), as one matrix product. The squared distances come from
    inner products of centred features; those that lose more than six digits to cancellation are
    summed anew from the features, so near-duplicates are told apart whatever the offset.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press (2006),
    section 4.2, https://doi.org/10.7551/mitpress/3206.001.0001

    Examples
    --------
    >>> from kernchem.kernels import Gaussian
    >>> Gaussian(length_scale=2.0)([[0.0], [2.0]]).round(4)
    array([[1.    , 0.6065],
           [0.6065, 1.    ]])
    """

    def _pair(self, x: Matrix, y: Matrix) -> float:
        return float(np.exp(-np.sum((x - y) ** 2) / (2.0 * self._positive_length_scale() ** 2)))

    def _typical_length_scale(self, distance: float) -> float:
        return float(np.sqrt(distance))

    def _gradient(self, D: Matrix, K: Matrix) -> Matrix:
        gradient = D * K
        gradient *= -2.0 * self._factor()
        return gradient

    def _factor(self) -> float:
        return -0.5 / self._positive_length_scale() ** 2

    def _fill(self, X: Matrix, Y: Matrix | None, as_kernel: bool, out: Matrix) -> None:
        others = X if Y is None else Y
        centre = others.mean(axis=0)
        columns, column_norms = _centred(others, centre)
        factor = self._factor()

        def fill(start: int, stop: int) -> None:
            if Y is None:
                rows, norms, width = columns[start:stop], column_norms[start:stop], stop
            else:
                rows, norms = _centred(X[start:stop], centre)
                width = len(columns)
            # Products that overflow are among those that are summed anew.
            with np.errstate(over="ignore", invalid="ignore"):
                np.matmul(rows, columns[:width].T, out=out[start:stop, :width])
            finish_squared(
                X[start:stop],
                others,
                norms,
                column_norms,
                Y is None,
                _CANCELLATION,
                as_kernel,
                factor,
                start,
                width,
                out,
            )

        if Y is None:
            self._fill_symmetric(fill, _gaussian_panel(len(X)), out)
        else:
            run_panels(fill, len(X), _gaussian_panel(len(X)), self.n_jobs)


class Laplacian(_ExponentialKernel):
    """Laplacian kernel, k(x, x') = exp(-|x - x'|_1 / length_scale), with the L1 distance.

    The same as scikit-learn's ``laplacian_kernel`` with ``gamma = 1 / length_scale``, and qmllib's
    ``laplacian_kernel`` with ``sigma`` = length_scale.

    Parameters
    ----------
    length_scale : float, default 1.0
        Width of the kernel, in the units of the features.
    length_scale_bounds : pair of float or "fixed", default (1e-5, 1e8)
        Range in which an optimizer may tune the width; "fixed" takes it out of ``theta``.
    n_jobs : int or None, default None
        Number of threads; None uses every core. The numbers do not depend on it.

    Notes
    -----
    Cost O(n_samples n_others n_features), at about half the rate of a matrix product; one of the
    operands is copied. Models with this kernel have no forces: it has a kink wherever two samples
    agree in a feature.

    References
    ----------
    K. Hansen et al., J. Chem. Theory Comput. 9, 3404 (2013), https://doi.org/10.1021/ct400195d

    Examples
    --------
    >>> from kernchem.kernels import Laplacian
    >>> Laplacian(length_scale=2.0)([[0.0, 1.0], [2.0, 1.0]]).round(4)
    array([[1.    , 0.3679],
           [0.3679, 1.    ]])
    """

    def _pair(self, x: Matrix, y: Matrix) -> float:
        return float(np.exp(-np.sum(np.abs(x - y)) / self._positive_length_scale()))

    def _typical_length_scale(self, distance: float) -> float:
        return distance

    def _gradient(self, D: Matrix, K: Matrix) -> Matrix:
        gradient = D * K
        gradient *= -self._factor()
        return gradient

    def _factor(self) -> float:
        return -1.0 / self._positive_length_scale()

    def _fill(self, X: Matrix, Y: Matrix | None, as_kernel: bool, out: Matrix) -> None:
        columns = X if Y is None else Y
        n_columns, n_features = columns.shape
        padded = -(-n_features // UNROLL) * UNROLL
        packed = np.empty(-(-n_columns // TILE) * TILE * padded)
        pack_columns(columns, packed)
        factor = self._factor()

        def fill(start: int, stop: int) -> None:
            rows = np.zeros((stop - start, padded))
            rows[:, :n_features] = X[start:stop]
            width = stop if Y is None else n_columns
            fill_l1(rows, packed, as_kernel, factor, start, width, out)

        if Y is None:
            self._fill_symmetric(fill, _LAPLACIAN_PANEL, out)
        else:
            run_panels(fill, len(X), _LAPLACIAN_PANEL, self.n_jobs)
