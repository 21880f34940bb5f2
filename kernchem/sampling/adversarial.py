"""Displaced structures of which a process knows least, and which are not too high in energy."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_array

from kernchem._validation import generator_of, is_positive, is_whole
from kernchem.errors import KernchemWarning, SettingError
from kernchem.models import GPR
from kernchem.sampling.adversarial_landscape import Landscape, require_smooth
from kernchem.structures import Structures, as_structures

__all__ = ["AdversarialSampler"]

_Array = npt.NDArray[np.float64]

#: Candidates with a smaller distance from others are near-duplicates, in units of the median
#: distance between nearest neighbours of the training set; and the most of its rows that are asked.
_SEPARATION, _ASKED = 0.2, 500
#: Samples of a smaller squared distance are copies.
_COPY = 1e-12
#: Structures with atoms nearer than 0.1 angstrom are none, and differences need room, in angstrom.
_CONTACT = 0.11
#: Steps of one ascent, the first of them relative to the bound, and where it ends.
_STEPS, _FIRST, _LEAST = 40, 0.2, 1e-3


class AdversarialSampler:
    r"""Search for displacements that maximise log variance - E / kT of a fitted process.

    The variance is that of the next label, with the uncertainty of the composition. Random
    displacements of each reference are moved uphill; of what is found, those are taken in turn
    that are best once the ones before them are known.

    Parameters
    ----------
    model : GPR
        Fitted to one target with a ``Gaussian`` kernel or ``Matern`` of smoothness 3/2 or 5/2, on
        arrays or on structures with a descriptor of whole molecules.
    temperature : float, default 1.0
        Temperature kT, in the unit of the labels.
    max_displacement : float, default 0.3
        Largest displacement of any atom, in angstrom; of points, in the unit of the features.
    n_starts : int, default 5
        Random starts from each reference.
    min_distance : float, default 0.7
        Shortest distance between atoms of structures, in angstrom, above 0.11.
    random_state : int, RandomState or None, default 0
        Seed of the starts.

    Raises
    ------
    SettingError
        If the model is not fitted, its kernel has no derivatives, or a setting is out of range.

    Warns
    -----
    KernchemWarning
        If the descriptor sorts its features, which gives the variance kinks.

    Notes
    -----
    Each of at most 40 steps costs n^2 flops, and 6 n_atoms descriptors for the central differences
    of the descriptor, with a step of 1e-4 angstrom. Translations and rotations are projected out,
    to first order in the displacement.

    References
    ----------
    D. Schwalbe-Koda, A. R. Tan, R. Gomez-Bombarelli, Nat. Commun. 12, 5104 (2021),
    https://doi.org/10.1038/s41467-021-25342-8

    Examples
    --------
    >>> import numpy as np
    >>> from kernchem import GPR
    >>> from kernchem.kernels import Gaussian
    >>> X = np.linspace(-1.0, 0.0, 6)[:, None]
    >>> model = GPR(Gaussian(0.5), alpha=1e-6, optimizer=None).fit(X, X[:, 0] ** 2)
    >>> sampler = AdversarialSampler(model, temperature=10.0, max_displacement=0.5)
    >>> points, scores = sampler.sample(X[-1:], 1)
    >>> points.round(1)
    array([[0.5]])
    """

    def __init__(
        self,
        model: GPR,
        *,
        temperature: float = 1.0,
        max_displacement: float = 0.3,
        n_starts: int = 5,
        min_distance: float = 0.7,
        random_state: Any = 0,
    ) -> None:
        require_smooth(model)
        for name, value, least in (
            ("temperature", temperature, 0.0),
            ("max_displacement", max_displacement, 0.0),
            ("min_distance", min_distance, _CONTACT),
        ):
            if not is_positive(value) or value <= least:
                raise SettingError(f"{name}={value!r}; use a number above {least}")
        if not is_whole(n_starts, 1):
            raise SettingError(f"n_starts={n_starts!r}; use 1, 2, 3, ...")
        self.model, self.temperature = model, float(temperature)
        self.max_displacement, self.n_starts = float(max_displacement), int(n_starts)
        self.min_distance, self.random_state = float(min_distance), random_state

    def sample(self, X: Any, n: int) -> tuple[Any, _Array]:
        """Return displaced samples, the best one first given those before it.

        Parameters
        ----------
        X : array (m, n_features) or structures
            References that are displaced, as the model takes them.
        n : int
            Number of samples.

        Returns
        -------
        samples : array (n, n_features) or Structures
            Fewer, with a warning, if there are not so many that differ.
        scores : array (n,)
            Log variance - E / kT of each by itself.

        Raises
        ------
        SettingError
            If ``n`` is no positive number, or no reference is free of short distances.
        """
        if not is_whole(n, 1):
            raise SettingError(f"n={n!r}; use 1, 2, 3, ...")
        structured = self.model.takes_structures
        references = as_structures(X) if structured else check_array(X, dtype=np.float64)
        if not len(references):
            raise SettingError("there is no reference; give at least one structure")
        rng = generator_of(self.random_state)
        samples: list[Any] = []
        scores: list[float] = []
        for k in range(len(references)):
            landscape = Landscape(self.model, references[k : k + 1], self.temperature)
            for _ in range(self.n_starts):
                found = self._climb(landscape, rng)
                if found is not None:
                    samples.append(landscape.samples(found[0][None]))
                    scores.append(found[1])
        if not samples:
            raise SettingError(
                f"all displacements have atoms closer than min_distance={self.min_distance}, or "
                "move nothing but the whole, as of a single atom; lower it, or give other "
                "references"
            )
        found_all = Structures.concatenate(samples) if structured else np.concatenate(samples)
        order = self._chosen(found_all, np.array(scores), int(n))
        if len(order) < n:
            warnings.warn(
                f"only {len(order)} of {n} samples are farther than {self._separation():.2g} from "
                "each other and from the labelled ones in the space of the kernel, a fifth of what "
                "is usual between labelled neighbours; raise n_starts or max_displacement, or give "
                "more references",
                KernchemWarning,
                stacklevel=2,
            )
        return found_all[order], np.array(scores)[order]

    def _climb(self, landscape: Landscape, rng: Any) -> tuple[_Array, float] | None:
        """Return where an ascent from a random displacement ends, and the value there."""
        z = landscape.projector @ rng.standard_normal(len(landscape.start))
        fraction = rng.uniform(0.1, 1.0)
        length = landscape.length(z)
        if length < 1e-12:
            return None
        z *= fraction * self.max_displacement / length
        if landscape.shortest(landscape.start + z) < self.min_distance:
            z *= 0.0
            if landscape.shortest(landscape.start) < self.min_distance:
                return None
        step = _FIRST * self.max_displacement
        value, slope = landscape.slope(landscape.start + z)
        for _ in range(_STEPS):
            direction = landscape.projector @ slope
            size = landscape.length(direction)
            if size == 0.0 or step < _LEAST * self.max_displacement:
                break
            trial = self._bounded(landscape, z + step / size * direction)
            x = landscape.start + trial
            if landscape.shortest(x) >= self.min_distance and landscape.value(x) > value:
                z, step = trial, 1.5 * step
                value, slope = landscape.slope(x)
            else:
                step *= 0.4
        return landscape.start + z, value

    def _bounded(self, landscape: Landscape, z: _Array) -> _Array:
        """Return a displacement, made smaller if it is too large."""
        return z * min(1.0, self.max_displacement / max(landscape.length(z), 1e-300))

    def _separation(self) -> float:
        """Return the distance sqrt(2 - 2 k) below which samples are near-duplicates."""
        kernel, known = self.model.kernel_, self.model._training.features
        asked = known[:: -(-len(known) // _ASKED)]
        squared = 2.0 - 2.0 * np.asarray(kernel(asked, known))
        # Copies of a sample, and itself, are no neighbours; a single one has the farthest.
        nearest = np.where(squared > _COPY, squared, 2.0).min(axis=1)
        return float(_SEPARATION * np.sqrt(np.median(nearest)))

    def _chosen(self, samples: Any, scores: _Array, n: int) -> list[int]:
        """Return the best of the samples in turn, each given those before it."""
        model, posterior = self.model, self.model._posterior
        features, known, basis = model._queries(samples)
        K = np.asarray(model.kernel_(features))
        cross = np.asarray(model.kernel_(features, known))
        least = 1.0 - 0.5 * self._separation() ** 2
        left = np.asarray(cross.max(axis=1) < least)
        V = posterior.solution.covariance(cross, basis, K)
        first = np.log(np.maximum(np.diag(V), 0.0) + posterior.noise)
        chosen: list[int] = []
        while len(chosen) < n and left.any():
            variance = np.maximum(np.diag(V), 0.0) + posterior.noise
            current = np.where(left, scores - first + np.log(variance), -np.inf)
            best = int(np.argmax(current))
            chosen.append(best)
            left &= K[best] < least
            V = V - np.outer(V[:, best], V[best]) / variance[best]
        return chosen
