"""The steps by which Gaussian processes are fitted, and grow and shrink by labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from kernchem._threads import blas_for
from kernchem._validation import check_labels, generator_of, is_whole, sample_numbers
from kernchem.errors import CompositionError, LabelError, SettingError
from kernchem.models.composition import CompositionSpace
from kernchem.models.error_likeness import ErrorLikeness
from kernchem.models.gp_search import Noise, Settings, choose, noise_variances
from kernchem.models.joint import JointKernel, descriptors_of
from kernchem.models.kernel_model import KernelModel, panels, require_choice, settled
from kernchem.models.label_errors import LabelErrors
from kernchem.models.posterior import Labels, Posterior, Queries
from kernchem.models.training_set import TrainingSet
from kernchem.models.unsettled import LATE, Unsettled, late
from kernchem.solvers import CholeskyFactor, GeneralisedLeastSquares, equal_labels
from kernchem.structures import as_structures
from kernchem.uncertainty import IsotonicCalibration, ScaleModel

__all__ = ["ProcessModel"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]


class ProcessModel(KernelModel):
    """Base class of regressors that are Gaussian processes."""

    alpha: float | Literal["fit"]
    amplitude: float | Literal["loo", "lml"]
    optimizer: Literal["loo", "lml"] | None
    calibration: Literal["scale"] | None
    n_restarts: int
    random_state: Any
    _noise_levels: Noise
    _diagonal: float
    _likeness: ErrorLikeness | None
    _unsettled: Unsettled

    # -- more and fewer labels --------------------------------------------------------------------

    def append(
        self,
        X: Any,
        y: Any,
        noise: Any = None,
        noise_groups: Any = None,
        *,
        calibrate: bool = True,
    ) -> Self:
        """Learn further labels at fixed hyperparameters, without a new factorisation.

        Parameters
        ----------
        X : array (b, n_features) or structures
            New samples. They are not merged with equal ones.
        y : array (b,) or (b, n_targets)
            Their labels.
        noise, noise_groups : array (b,), optional
            As in ``fit``, of groups that were there.
        calibrate : bool, default True
            Learn anew how far error bars are off, which costs a few factorisations of at most 1500
            rows and one of all; False keeps what was learnt.

        Returns
        -------
        GPR
            This object, as a fit at its hyperparameters would leave it. Kernel and noise stay the
            same, so ``alpha_`` and the weights of terms change with the means that they are
            relative to.

        Raises
        ------
        CompositionError, UnknownElementError
            If the composition of a new molecule lies outside what the training set determines:
            ``fit`` anew.
        SingularKernelError
            If new samples are duplicates, and there is next to no noise.

        Notes
        -----
        With ``calibrate=False`` b n^2 flops and 2 b n numbers beside the factor, which is not
        copied. Whatever comes from leaving samples out (``loo_residuals_``, ``loo_std_``,
        ``amplitude_``, error bars) is found when it is first asked for, in 2 b n^2 flops and with a
        copy of the factor, for all labels appended until then.
        """
        X = self._samples(X)
        features, known, basis = self._queries(X)
        n_new, training = len(features), self._training
        labels = check_labels(y, n_new).reshape(n_new, -1)
        if labels.shape[1] != training.targets.shape[1]:
            raise LabelError(
                f"y has {labels.shape[1]} targets; the model has {training.targets.shape[1]}"
            )
        errors = training.errors.appended(LabelErrors.of(noise, noise_groups, n_new))
        larger = training.appended(known, features, labels, basis, errors)
        new_rows = np.arange(len(larger)) >= len(training)
        variances = noise_variances(self._noise_levels, larger, self._diagonal) + self.jitter_
        block = np.asarray(self.kernel_(features))
        block[np.diag_indices(n_new)] += variances[new_rows]
        with blas_for(len(larger)):
            cross = self._cross_kernel(features, known)
            left = self._late()
            source = left or self._posterior
            factor = source.factor.append(cross, block)
            solution = source.solution.appended(factor, larger.targets, larger.basis)
            origin = np.arange(len(training)) if left is None else left.origin
            # Nothing has changed before: a model that cannot learn the labels stays as it was.
            if self.takes_structures:
                if self._likeness is not None:
                    self._likeness = self._likeness.appended(X)
                self.descriptor_, _ = self.descriptor_.widened(X)
                self._largest = max(int(self._largest or 0), int(X.sizes.max()))
                self._resize_space(n_new)
            if self._group_folds is not None:
                self._group_folds = np.append(self._group_folds, np.full(n_new, -1))
            self._refresh(
                larger,
                factor,
                solution,
                np.concatenate([self._kept, len(self._labels) + np.arange(n_new)]),
                np.concatenate([self._labels, labels]),
                None if calibrate else np.concatenate([origin, np.full(n_new, -1)]),
            )
        return self

    def forget(self, samples: Any, *, calibrate: bool = True) -> Self:
        """Unlearn labels at fixed hyperparameters, without a new factorisation.

        Parameters
        ----------
        samples : array of int (b,), or of bool (n_samples,)
            Training samples, numbered as they were given, or a mask of them; the others move up.
        calibrate : bool, default True
            As in :meth:`append`.

        Returns
        -------
        GPR
            This object, as a fit of the others at its hyperparameters would leave it.

        Raises
        ------
        SettingError
            If there are no such samples, all of them, or only some of several identical ones.
        CompositionError
            If the others do not determine the energies of the elements.

        Notes
        -----
        3 b n^2 flops and a copy of the factor.
        """
        check_is_fitted(self, "dual_coef_")
        training, n_samples = self._training, len(self._labels)
        chosen = sample_numbers(samples, n_samples)
        gone = np.isin(self._kept, chosen)
        left = np.bincount(training.member[~gone], minlength=len(training))
        lost = np.bincount(training.member[gone], minlength=len(training))
        partly = np.flatnonzero((left > 0) & (lost > 0))
        if len(partly):
            copies = self._kept[training.member == partly[0]]
            raise SettingError(
                f"samples {', '.join(map(str, copies))} are identical and were merged; forget all "
                "of them, or fit anew"
            )
        rows = np.flatnonzero(lost > 0)
        if len(rows) == len(training):
            raise SettingError("all samples would be forgotten; leave at least one")
        smaller = training.without(rows, ~gone)
        basis = smaller.basis
        if basis is not None and np.linalg.matrix_rank(basis) < basis.shape[1]:
            raise CompositionError(
                "without these samples the energies of the elements are not determined; fit the "
                "model anew, or forget fewer"
            )
        self._resize_space(-len(chosen))
        with blas_for(len(training)):
            factor = self._posterior.factor
            if len(rows):
                factor = factor.forget(rows)
            if self._likeness is not None:
                self._likeness = self._likeness.without(rows)
            if self._group_folds is not None:
                self._group_folds = np.delete(self._group_folds, chosen)
            numbers = np.cumsum(~np.isin(np.arange(n_samples), chosen)) - 1
            self._refresh(
                smaller,
                factor,
                GeneralisedLeastSquares(factor, smaller.targets, smaller.basis),
                numbers[self._kept[~gone]],
                np.delete(self._labels, chosen, axis=0),
                None if calibrate else np.delete(np.arange(len(training)), rows),
            )
        return self

    def _resize_space(self, more: int) -> None:
        space = self._space
        if space is not None:
            self._space = CompositionSpace.restored(
                space.elements, space.vectors, space.n_structures + more, int(self._largest or 1)
            )

    def _refresh(
        self,
        training: TrainingSet,
        factor: CholeskyFactor,
        solution: GeneralisedLeastSquares,
        kept: _Rows,
        labels: _Array,
        origin: _Rows | None,
    ) -> None:
        """Take over a training set with its factor; with ``origin``, what was learnt of errors."""
        # The kernel and the noise stay; what they are relative to are means over the training set.
        if isinstance(self.kernel_, JointKernel):
            self.kernel_ = self.kernel_.rescaled_to(training.features)
        diagonal = float(np.mean(self.kernel_.diag(training.features)))
        levels = self._noise_levels
        self._noise_levels = replace(levels, alphas=levels.alphas * (self._diagonal / diagonal))
        self._diagonal = diagonal
        self._report_noise(training)
        self._keep(training, solution.dual, solution.coef, kept, labels, self._target_shape)
        if origin is None:
            self._settle(factor, solution, None)
        else:
            learnt = self._late() or self._posterior
            unsettled = Unsettled(factor, solution, learnt.scales, learnt.quantiles, origin)
            for name in LATE:
                self.__dict__.pop(name, None)
            self._unsettled = unsettled
        # Errors of another model, perhaps on labels that this one has learnt, promise nothing.
        self.__dict__.pop("_scores", None)

    def _settle(
        self, factor: CholeskyFactor, solution: GeneralisedLeastSquares, learnt: Unsettled | None
    ) -> None:
        """Find what comes from leaving samples out."""
        self.__dict__.pop("_unsettled", None)
        residuals = solution.loo(self._training.partition)[0]
        self.loo_residuals_ = self._residuals_of_samples(self._training, residuals)
        self._finish(factor, solution, learnt)

    def _late(self) -> Unsettled | None:
        """Return what an ``append`` left to be found when it is asked for."""
        return self.__dict__.get("_unsettled")

    def _settled(self, name: str) -> Any:
        """Return an attribute of those."""
        left = self._late()
        if left is None:
            raise AttributeError(f"{type(self).__name__} has no {name}: it is not fitted")
        with blas_for(left.factor.n):
            self._settle(left.factor, left.solution, left)
        return self.__dict__[name]

    loo_residuals_ = late("loo_residuals_")
    loo_std_ = late("loo_std_")
    amplitude_ = late("amplitude_")
    _scales = late("_scales")
    _quantiles = late("_quantiles")

    # -- the steps of fit -------------------------------------------------------------------------

    def _check_own_settings(self) -> None:
        for name, word in (("alpha", ("fit",)), ("amplitude", ("loo", "lml"))):
            value = getattr(self, name)
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not (value in word if isinstance(value, str) else number and 0 < value < np.inf):
                told = " or ".join(map(repr, word))
                raise SettingError(f"{name}={value!r}; use a positive number or {told}")
        require_choice("optimizer", self.optimizer, ("loo", "lml", None))
        require_choice("calibration", self.calibration, ("scale", None))
        if not is_whole(self.n_restarts, 0):
            raise SettingError(f"n_restarts={self.n_restarts!r}; use 0, 1, 2, ...")
        if self._precomputed:
            raise SettingError(
                "kernel='precomputed' has no variances of new samples; use KRR, or a kernel object"
            )

    def _choose(self, training: TrainingSet, folds: list[_Rows] | None) -> None:
        kernel = self._initial_kernel(training.features)
        settings = Settings(
            "lml" if self.optimizer == "lml" else "loo",
            varied=self.optimizer is not None and len(kernel.theta) > 0,
            alpha=None if isinstance(self.alpha, str) else float(self.alpha),
            amplitude=None if isinstance(self.amplitude, str) else float(self.amplitude),
            folds=folds,
            n_restarts=self.n_restarts,
            seed=int(generator_of(self.random_state).randint(2**31 - 1)),
        )
        kernel, self._noise_levels, self.trials_ = choose(training, kernel, settings)
        self.kernel_ = settled(kernel, training.features)
        self._diagonal = float(np.mean(self.kernel_.diag(training.features)))
        self._report_noise(training)

    def _report_noise(self, training: TrainingSet) -> None:
        alphas = self._noise_levels.alphas
        self.alpha_ = alphas if training.errors.groups is not None else float(alphas[0])
        if training.errors.groups is not None:
            self.noise_groups_ = training.errors.names

    def _noise(self, K: _Array, training: TrainingSet) -> _Array:
        return noise_variances(self._noise_levels, training, self._diagonal)

    def _finish(
        self, factor: CholeskyFactor, solution: GeneralisedLeastSquares, learnt: Any = None
    ) -> None:
        """Keep the posterior, and learn of errors unless that was done before."""
        posterior = self._posterior_of(factor, solution, self._found_amplitudes(solution))
        if learnt is None:
            posterior.learn_errors(None if self.calibration is None else self._alike(factor))
        else:
            posterior.take_errors(learnt.scales, learnt.quantiles, learnt.origin)
        self._posterior = posterior
        self.loo_std_ = self._of_labels(posterior.of_labels(posterior.loo_std, posterior.variances))
        self._keep_errors(posterior.amplitudes, posterior.scales, posterior.quantiles)

    def _alike(self, factor: CholeskyFactor) -> _Array:
        """Return what scale models compare training samples by, array (n, n)."""
        K = factor.kernel_matrix(np.asarray(self.kernel_.diag(self._training.features)))
        if self._likeness is None:
            return K
        self._likeness = self._likeness.settled()
        return self._likeness.matrix(K, self._diagonal)

    def _keep_errors(
        self, amplitudes: _Array, scales: list[ScaleModel], quantiles: list[IsotonicCalibration]
    ) -> None:
        """Keep amplitudes (t,) and what was learnt of errors, for a posterior that is made anew."""
        self._scales, self._quantiles = scales, quantiles
        self.amplitude_ = self._like_labels(amplitudes[None])[0]

    def _posterior_of(
        self, factor: CholeskyFactor, solution: GeneralisedLeastSquares, amplitudes: _Array
    ) -> Posterior:
        training = self._training
        basis = training.basis
        if basis is None:
            basis = np.zeros((len(training), 0))
        return Posterior(
            factor,
            solution,
            training.targets,
            basis,
            amplitudes,
            self._noise_of_new_labels(),
            self._repeated_labels(),
            training.partition,
        )

    def _repeated_labels(self) -> Labels | None:
        """Return the labels that were merged into targets, if any were."""
        training = self._training
        if training.label_weights is None:
            return None
        values, member = self._labels[self._kept], training.member
        noise = noise_variances(self._noise_levels, training, self._diagonal)[member]
        extra, counted = np.zeros_like(values), np.zeros(values.shape, dtype=bool)
        for t, own in enumerate(values.T):
            first, weights = equal_labels(own, training.label_weights, member)
            extra[:, t] = noise * (training.weights[member] / weights - 1.0)
            counted[first, t] = True
        return Labels(values, member, extra, counted, training.first)

    @cached_property
    def _posterior(self) -> Posterior:
        """The posterior; a fit sets it, and a model from a file makes it when it needs it first."""
        if self._late() is not None:
            return cast("Posterior", self._settled("_posterior"))
        with blas_for(len(self._training)):
            factor, solution = self._solve(self._training, self.jitter_)
            # Of labels that were appended, rounding makes others; means are those of `predict`.
            solution.dual, solution.coef = self._dual, self._linear_coef
            posterior = self._posterior_of(factor, solution, np.reshape(self.amplitude_, -1))
        posterior.scales, posterior.quantiles = self._scales, self._quantiles
        return posterior

    def _found_amplitudes(self, solution: GeneralisedLeastSquares) -> _Array:
        """Return the amplitude of each target, array (t,)."""
        training = self._training
        targets = training.targets
        if self._noise_levels.amplitude is not None:
            return np.full(targets.shape[1], self._noise_levels.amplitude)
        noise = noise_variances(self._noise_levels, training, self._diagonal) + self.jitter_
        if self.amplitude == "lml":
            free = np.maximum(training.n_labels - len(solution.coef), 1)
            found = np.einsum("it,it->t", targets, solution.dual)
            if training.repeats is not None:
                found += training.repeats.quadratic(noise)
            found /= free
        else:
            residuals, variances = solution.loo(training.partition)
            scores = residuals**2 / variances[:, None]
            known = np.isfinite(scores).all(axis=1)
            found, number = scores[known].sum(axis=0), np.full(targets.shape[1], known.sum())
            if training.repeats is not None:
                found += training.repeats.quadratic(noise)
                number += training.repeats.n_more
            found /= np.maximum(number, 1)
        # Labels that are all explained leave an amplitude of zero; error bars are above it.
        return np.asarray(np.maximum(found, np.finfo(float).tiny))

    def _noise_of_new_labels(self) -> float:
        """Return the mean noise of the training labels of weight 1, in units of the kernel."""
        alphas = self._noise_levels.alphas[self._training.errors.numbers(len(self._training))]
        return float(alphas.mean()) * self._diagonal

    # -- helpers ----------------------------------------------------------------------------------

    def _training_set(
        self, samples: Any, targets: _Array, weights: _Array, errors: LabelErrors
    ) -> TrainingSet:
        training = super()._training_set(samples, targets, weights, errors)
        self._likeness = None
        if self._compares_errors:
            self._likeness = ErrorLikeness.of(samples[training.first])
        return training

    @property
    def _compares_errors(self) -> bool:
        """Whether errors are compared by encoded bonds too.

        They are not where features of atoms know the neighbourhoods in which the process errs.
        """
        if self.calibration is None or not self.takes_structures:
            return False
        return not any(one.local or one.periodic for one in descriptors_of(self.descriptor_))

    def _samples(self, X: Any) -> Any:
        """Return samples that can be read more than once."""
        return as_structures(X) if self.takes_structures else X

    def _panels(self, X: Any) -> Iterator[Queries]:
        """Yield new samples panel by panel."""
        samples = self._samples(X)
        found = self._queries(samples)
        for panel in panels(len(found[0])):
            yield self._query(samples, found, panel)

    def _query(self, X: Any, found: tuple[Any, Any, _Array], rows: slice) -> Queries:
        """Return some of the :meth:`_samples` X, for which :meth:`_queries` found what is given."""
        features, known, basis = found
        part = features[rows]
        cross, prior = self._cross_kernel(part, known), np.asarray(self.kernel_.diag(part))
        likeness = None
        if self._likeness is not None:
            likeness = self._likeness.cross(X[rows], cross, self._diagonal)
        return Queries(cross, prior, basis[rows], likeness)

    def _mean_and_std(self, X: Any) -> tuple[_Array, _Array]:
        """Return means and standard deviations (m, n_targets)."""
        # Of no samples there is no panel either.
        means, stds = [np.zeros((0, self._dual.shape[1]))], [np.zeros((0, self._dual.shape[1]))]
        for some in self._panels(X):
            means.append(self._posterior.mean(some))
            stds.append(self._posterior.std(some))
        return np.concatenate(means), np.concatenate(stds)

    def _left_out(self, folds: list[_Rows] | None) -> _Array:
        return self._posterior.left_out(folds)[0]

    def _solution(self) -> GeneralisedLeastSquares:
        return self._posterior.solution

    def _of_samples(self, values: _Array) -> _Array:
        """Return values of the distinct samples (n, t) for all samples, in the labels' shape."""
        return self._of_labels(values[self._training.member])

    def _of_labels(self, values: _Array) -> _Array:
        """Return values of the samples that have a weight, for all samples."""
        out = np.full_like(self._labels, np.nan)
        out[self._kept] = values
        return self._like_labels(out)
