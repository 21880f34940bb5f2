"""Gaussian, Laplacian and Matern kernels between rows of features."""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np
import numpy.typing as npt

from kernchem._threads import run_panels
from kernchem.errors import SettingError
from kernchem.kernels.base import RadialKernel
from kernchem.kernels.direct_jit import fill_direct, fill_row
from kernchem.kernels.features import LARGEST, Bounds, Matrix, fill_symmetric, product_panel
from kernchem.kernels.vector_jit import (
    EXPONENTIAL,
    MATERN_32,
    MATERN_52,
    centre_rows,
    finish_squared,
    map_distances,
)
from kernchem.kernels.zeros import Layout

__all__ = ["Gaussian", "Laplacian", "Matern"]

# Rows per panel of direct sums: they (if they have 300 features) stay in the second-level cache.
_DIRECT_PANEL = 128
_ELEMENTS_PANEL = 1 << 18

# Squared distances below this part of the norms they come from have lost more than six of their
# sixteen digits to cancellation, and are recomputed from the features.
_CANCELLATION = 1e-6

#: Smoothness to compiled profile.
_PROFILES = {0.5: EXPONENTIAL, 1.5: MATERN_32, 2.5: MATERN_52}
# Beyond this a profile and all its derivatives are zero.
_LARGEST_U = 1000.0


def _centred(features: Matrix, centre: Matrix) -> tuple[Matrix, Matrix]:
    """Return features less their centre, and the squared norms of those rows."""
    rows, norms = np.empty_like(features), np.empty(len(features))
    centre_rows(features, centre, rows, norms)
    return rows, norms


class _ProfileKernel(RadialKernel):
    """A kernel whose profile is one of the compiled ones, of t = factor * distance."""

    @abstractmethod
    def _profile(self) -> tuple[int, float]:
        """Return the number of the profile, and the negative factor of the distance."""

    def _map(self, distances: Matrix, out: Matrix) -> None:
        profile, factor = self._profile()

        def fill(start: int, stop: int) -> None:
            map_distances(distances[start:stop], profile, factor, out[start:stop])

        run_panels(fill, distances.size, _ELEMENTS_PANEL, self.n_jobs)


class _DirectKernel(_ProfileKernel):
    """A kernel whose distances are summed directly, without cancellation."""

    #: Whether the distance is Euclidean; else it is the sum of absolute differences.
    _euclidean: bool

    def _typical_length_scale(self, distance: float) -> float:
        return distance

    def _parts(self, differences: Matrix) -> Matrix:
        return differences**2 if self._euclidean else np.abs(differences)

    def _fill(self, X: Matrix, Y: Matrix | None, as_kernel: bool, out: Matrix) -> None:
        others = X if Y is None else Y
        layout = Layout(others)
        profile, factor = self._profile()
        if Y is not None and len(X) == 1:
            order, bounds = layout.order, layout.bounds
            fill_row(X[0], Y, order, bounds, self._euclidean, as_kernel, profile, factor, out[0])
            return
        columns, column_zeros = layout.sorted_samples(others)
        packed, tile_zeros = layout.packed(others, columns, column_zeros)
        rows, row_zeros = (columns, column_zeros) if Y is None else layout.sorted_samples(X)

        def fill(start: int, stop: int) -> None:
            fill_direct(
                X,
                row_zeros[start:stop],
                rows[start:stop],
                layout.order,
                layout.bounds,
                packed,
                tile_zeros,
                self._euclidean,
                as_kernel,
                profile,
                factor,
                columns,
                stop if Y is None else len(others),
                Y is None,
                out,
            )

        if Y is None:
            fill_symmetric(fill, _DIRECT_PANEL, out, self.n_jobs, columns)
        else:
            run_panels(fill, len(X), _DIRECT_PANEL, self.n_jobs)


class Gaussian(_ProfileKernel):
    """Gaussian kernel, k(x, x') = exp(-|x - x'|_2^2 / (2 length_scale^2)).

    The same as scikit-learn's ``RBF`` with one length scale, and qmllib's ``gaussian_kernel`` with
    ``sigma`` = length_scale.

    Parameters
    ----------
    length_scale : float or array (n_features,), default 1.0
        Width of the kernel, in the units of the features; several are one width per feature.
    length_scale_bounds : pair of float, array (n_features, 2) or "fixed", default (1e-5, 1e8)
        Range in which an optimizer may tune the widths; "fixed" takes them out of ``theta``.
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
        return float(np.exp(-np.sum((x - y) ** 2) / (2.0 * self._width() ** 2)))

    def _typical_length_scale(self, distance: float) -> float:
        return float(np.sqrt(distance))

    def _gradient(self, D: Matrix, K: Matrix) -> Matrix:
        gradient = np.minimum(D, LARGEST) * K
        gradient *= -2.0 * self._profile()[1]
        return gradient

    def _parts(self, differences: Matrix) -> Matrix:
        return differences**2

    def _profile(self) -> tuple[int, float]:
        return EXPONENTIAL, -0.5 / self._width() ** 2

    def _fill(self, X: Matrix, Y: Matrix | None, as_kernel: bool, out: Matrix) -> None:
        others = X if Y is None else Y
        centre = others.mean(axis=0)
        columns, column_norms = _centred(others, centre)
        factor = self._profile()[1]

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
            fill_symmetric(fill, product_panel(len(X)), out, self.n_jobs)
        else:
            run_panels(fill, len(X), product_panel(len(X)), self.n_jobs)


class Laplacian(_DirectKernel):
    """Laplacian kernel, k(x, x') = exp(-|x - x'|_1 / length_scale), with the L1 distance.

    The same as scikit-learn's ``laplacian_kernel`` with ``gamma = 1 / length_scale``, and qmllib's
    ``laplacian_kernel`` with ``sigma`` = length_scale.

    Parameters
    ----------
    length_scale : float or array (n_features,), default 1.0
        Width of the kernel, in the units of the features; several are one width per feature.
    length_scale_bounds : pair of float, array (n_features, 2) or "fixed", default (1e-5, 1e8)
        Range in which an optimizer may tune the widths; "fixed" takes them out of ``theta``.
    n_jobs : int or None, default None
        Number of threads; None uses every core. The numbers do not depend on it.

    Notes
    -----
    Cost O(n_samples n_others n_features), at about half the rate of a matrix product; one of the
    operands is copied. Features that are zero in one of two samples, such as the padding of bags
    and Coulomb matrices, cost little. To that end the features are summed in an order that follows
    the zeros of the second operand; a row alone has the same bits as among others. Models with this
    kernel have no forces: it has a kink wherever two samples agree in a feature.

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

    _euclidean = False

    def _pair(self, x: Matrix, y: Matrix) -> float:
        return float(np.exp(-np.sum(np.abs(x - y)) / self._width()))

    def _gradient(self, D: Matrix, K: Matrix) -> Matrix:
        gradient = np.minimum(D, LARGEST) * K
        gradient *= -self._profile()[1]
        return gradient

    def _profile(self) -> tuple[int, float]:
        return EXPONENTIAL, -1.0 / self._width()


class Matern(_DirectKernel):
    r"""Matern kernel of smoothness 1/2, 3/2 or 5/2.

    With the Euclidean distance r = \|x - x'\|_2 over ``length_scale``:

    - nu = 0.5: k = exp(-r)
    - nu = 1.5: k = (1 + sqrt(3) r) exp(-sqrt(3) r)
    - nu = 2.5: k = (1 + sqrt(5) r + 5 r^2 / 3) exp(-sqrt(5) r)

    The same as scikit-learn's ``Matern``. Functions drawn from it have 0, 1 or 2 derivatives.

    Parameters
    ----------
    length_scale : float or array (n_features,), default 1.0
        Width of the kernel, in the units of the features; several are one width per feature.
    length_scale_bounds : pair of float, array (n_features, 2) or "fixed", default (1e-5, 1e8)
        Range in which an optimizer may tune the widths; "fixed" takes them out of ``theta``.
    nu : {0.5, 1.5, 2.5}, default 1.5
        Smoothness.
    n_jobs : int or None, default None
        Number of threads; None uses every core. The numbers do not depend on it.

    Notes
    -----
    Cost O(n_samples n_others n_features). The distance is summed directly from the differences of
    the features: a difference of squared norms would have an absolute error that its square root
    makes large just where r is small. Features that are zero in one of two samples, such as the
    padding of bags and Coulomb matrices, cost little. To that end the features are summed in an
    order that follows the zeros of the second operand; a row alone has the same bits as among
    others.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press (2006),
    section 4.2, https://doi.org/10.7551/mitpress/3206.001.0001

    Examples
    --------
    >>> from kernchem.kernels import Matern
    >>> Matern(length_scale=2.0, nu=2.5)([[0.0], [2.0]]).round(4)
    array([[1.   , 0.524],
           [0.524, 1.   ]])
    """

    _euclidean = True

    def __init__(
        self,
        length_scale: float | npt.ArrayLike = 1.0,
        length_scale_bounds: Bounds = (1e-5, 1e8),
        *,
        nu: float = 1.5,
        n_jobs: int | None = None,
    ) -> None:
        super().__init__(length_scale, length_scale_bounds, n_jobs=n_jobs)
        self.nu = nu

    def _pair(self, x: Matrix, y: Matrix) -> float:
        r = float(np.linalg.norm(x - y)) / self._width()
        u = math.sqrt(2.0 * self._smoothness()) * r
        polynomial = {0.5: 1.0, 1.5: 1.0 + u, 2.5: 1.0 + u + u**2 / 3.0}[self._smoothness()]
        return polynomial * math.exp(-u)

    def _gradient(self, D: Matrix, K: Matrix) -> Matrix:
        _, factor = self._profile()
        u = np.minimum(-factor * D, _LARGEST_U)
        if self._smoothness() == 0.5:
            return u * K
        rest = np.exp(-u)
        rest *= u**2
        return rest if self._smoothness() == 1.5 else rest * (1.0 + u) / 3.0

    def _profile(self) -> tuple[int, float]:
        nu = self._smoothness()
        return _PROFILES[nu], -math.sqrt(2.0 * nu) / self._width()

    def _smoothness(self) -> float:
        if not isinstance(self.nu, int | float | np.number) or self.nu not in _PROFILES:
            raise SettingError(
                f"nu={self.nu!r} has no closed form here; use 0.5, 1.5 or 2.5, or scikit-learn's "
                "Matern, which takes any smoothness and is slower"
            )
        return float(self.nu)

    def _other_settings(self) -> str:
        return f"nu={self.nu}, "
