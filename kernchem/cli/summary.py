"""What ``kernchem train`` says about a fitted model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from kernchem.cli.error_bars import Intervals, percent
from kernchem.cli.inputs import property_column
from kernchem.cli.parity import ErrorSums, write_parity
from kernchem.elements import symbol

if TYPE_CHECKING:
    from kernchem.cli.training_molecules import TrainingMolecules

__all__ = ["Summary", "reference_residuals"]

_Array = npt.NDArray[np.float64]

#: Molecules with the largest errors that are listed.
_WORST = 5
#: Probability of the intervals.
_COVERAGE = 0.9
#: Singular values below this fraction of the largest one are dependencies among columns.
_RANK = 1e-10
#: A row of higher leverage alone determines a direction of the fit.
_SPANNED = 1.0 - 1e-9


class Summary:
    """Leave-one-out predictions of a model and what explains them.

    Parameters
    ----------
    model : KRR, GPR or DeltaLearner
        Fitted. Of a DeltaLearner offsets and slopes stay as they are while a molecule is left out.
    sample : TrainingMolecules
        What it was fitted on.
    descriptor : str
        Short name of the descriptor.
    """

    def __init__(self, model: Any, sample: TrainingMolecules, descriptor: str) -> None:
        self._model, self._sample, self._name = model, sample, descriptor
        self._inner = getattr(model, "model_", model)
        self._residuals: _Array = self._inner.loo_residuals_
        self._baselines = model._baseline_names() if hasattr(model, "model_") else []
        #: Ends of Gaussian intervals for labels that were left out, of a model with error bars.
        self._intervals: tuple[_Array, _Array] | None = None
        if hasattr(self._inner, "loo_std_"):
            left_out = sample.labels - self._residuals
            half = float(ndtri(0.5 + 0.5 * _COVERAGE)) * self._inner.loo_std_
            self._intervals = left_out - half, left_out + half

    def plot(self, path: Path) -> None:
        """Write the leave-one-out predictions over the labels."""
        from kernchem._files import write_atomically

        labels, sample = self._sample.labels, self._sample
        title = f"leave-one-out, {len(labels)} molecules: MAE {self._errors().mae:.3g}"
        if sample.unit:
            title += f" {sample.unit}"
        if self._intervals is not None:
            title += f"; {percent(_COVERAGE)} intervals"
        write_atomically(
            path,
            lambda temporary: write_parity(
                temporary,
                labels,
                labels - self._residuals,
                title=title,
                label=sample.target,
                unit=sample.unit,
                intervals=self._intervals,
            ),
        )

    def print(self, warnings: list[str]) -> None:
        """Print the summary, and the warnings of the fit."""
        for name, text in self._lines():
            click.echo(f"{name:<14}{text}")
        click.echo()
        self._print_worst()
        for text in warnings:
            click.echo(f"Note: {text}")
        for text in dict.fromkeys(one.citation for one in self._descriptors()):
            click.echo(f"Cite: {text}")

    def _lines(self) -> list[tuple[str, str]]:
        sample, inner = self._sample, self._inner
        chosen = " (by leave-one-out)" if inner.trials_ else ""
        varied = chosen if len(inner.kernel_.theta) else ""
        widths = " + ".join(str(one.n_features_out_) for one in self._descriptors())
        lines = [
            ("target", sample.target + (f" / {sample.unit}" if sample.unit else "")),
            ("molecules", self._counted()),
            ("elements", " ".join(symbol(number) for number in sample.structures.elements)),
            ("descriptor", f"{self._name}, {widths} features"),
            ("kernel", f"{inner.kernel_}{varied}"),
            ("alpha", f"{inner.alpha_:.3g}{chosen if inner.alpha in ('loo', 'fit') else ''}"),
            *self._process(),
        ]
        if self._baselines:
            slopes = zip(self._baselines, self._model.slope_, strict=True)
            terms = " + ".join(f"{slope:.4g} * {name}" for name, slope in slopes)
            lines.append(("baseline", f"{terms} (fixed while molecules are left out)"))
        lines.append(("leave-one-out", self._errors().describe(sample.unit)))
        if self._intervals is not None:
            inside = Intervals()
            inside.add(sample.labels, *self._intervals)
            if inside.n:
                lines.append(("", inside.describe(_COVERAGE)))
        alone = "element counts" + (" and baseline" if self._baselines else "")
        reference = ErrorSums()
        own = reference_residuals(sample, self._baselines)
        reference.add(sample.labels, sample.labels - own)
        of = f" {sample.unit}" if sample.unit else ""
        lines.append(("reference", f"{alone} alone: MAE {reference.mae:.4g}{of}, leave-one-out"))
        return lines

    def _process(self) -> list[tuple[str, str]]:
        """Return noise and amplitude of a Gaussian process."""
        if self._intervals is None:
            return []
        unit, inner = self._sample.unit, self._inner
        noise = float(np.sqrt(inner.amplitude_ * inner._posterior.noise))
        of, squared = (f" {unit}", f" ({unit})^2") if unit else ("", "")
        return [
            ("noise", f"{noise:.3g}{of}, standard deviation"),
            ("amplitude", f"{inner.amplitude_:.3g}{squared}"),
        ]

    def _descriptors(self) -> tuple[Any, ...]:
        """Return the fitted descriptors, of terms several."""
        from kernchem.models.joint import descriptors_of

        return descriptors_of(self._inner.descriptor_)

    def _counted(self) -> str:
        sample = self._sample
        text = f"{len(sample.labels)}"
        if len(sample.labels) < sample.n_read:
            text += f" of {sample.n_read}"
        text += f" in {sample.source}"
        if sample.n_missing:
            text += f"; {sample.n_missing} lack target or baseline and were left out"
        return text

    def _errors(self) -> ErrorSums:
        errors = ErrorSums()
        errors.add(self._sample.labels, self._sample.labels - self._residuals)
        return errors

    def _print_worst(self) -> None:
        sample, size = self._sample, np.abs(self._residuals)
        order = np.argsort(np.where(np.isnan(size), -1.0, size), kind="stable")[::-1][:_WORST]
        click.echo(
            f"Largest leave-one-out errors\n{'index':>8}  {'formula':<16}"
            f"{'reference':>14}{'predicted':>14}{'residual':>12}"
        )
        for k in order:
            label, residual = sample.labels[k], self._residuals[k]
            click.echo(
                f"{sample.index[k]:>8}  {sample.structures[int(k)].formula:<16}"
                f"{label:>14.6g}{label - residual:>14.6g}{residual:>12.4g}"
            )


def reference_residuals(sample: TrainingMolecules, baselines: list[str]) -> _Array:
    """Return leave-one-out residuals of least squares on element counts and baselines.

    In closed form, ``e_i / (1 - h_i)`` with the leverage h of each molecule; NaN for a molecule
    that alone determines a coefficient.
    """
    from kernchem.models.composition import CompositionSpace

    structures = sample.structures
    columns = [CompositionSpace(structures).basis(structures)]
    columns += [property_column(structures, name)[:, None] for name in baselines]
    u, values, _ = np.linalg.svd(np.hstack(columns), full_matrices=False)
    u = u[:, values > _RANK * values[0]]
    leverage = (u**2).sum(axis=1)
    rest = sample.labels - u @ (u.T @ sample.labels)
    return np.asarray(rest / np.where(leverage > _SPANNED, np.nan, 1.0 - leverage))
