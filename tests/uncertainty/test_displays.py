"""Displays draw what they were given, where they were told."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import kernchem
from kernchem import KRR
from kernchem import uncertainty as unc
from kernchem.errors import SettingError

WITH_STD = [
    unc.ParityDisplay,
    unc.CalibrationDisplay,
    unc.ErrorUncertaintyDisplay,
    unc.RetentionDisplay,
]
ALL = [*WITH_STD, unc.ResidualsDisplay]


@pytest.fixture(autouse=True)
def no_windows():
    import matplotlib.pyplot as plt

    with mpl.rc_context({"backend": "agg"}):
        yield
        plt.close("all")


@pytest.fixture
def predictions(rng):
    std = np.exp(rng.normal(size=60))
    y = 100.0 * rng.normal(size=60)
    return y, y + std * rng.normal(size=60), std


def draw(display, predictions, **options):
    y, mean, std = predictions
    std = () if display is unc.ResidualsDisplay else (std,)
    return display.from_predictions(y, mean, *std, **options)


def lines(ax):
    """Coordinates of all lines, by their labels where they have some."""
    return {line.get_label(): np.array(line.get_data()) for line in ax.get_lines()}


@pytest.mark.parametrize("display", ALL)
def test_draws_on_new_and_on_given_axes(display, predictions):
    import matplotlib.pyplot as plt

    shown = draw(display, predictions, unit="kcal/mol")
    assert isinstance(shown, display)
    assert shown.ax_.figure is shown.figure_
    if display is not unc.CalibrationDisplay:
        assert "kcal/mol" in shown.ax_.get_xlabel() + shown.ax_.get_ylabel()
    _, (left, right) = plt.subplots(1, 2)
    before = left.get_position().bounds
    again = shown.plot(right)
    assert again is shown
    assert shown.ax_ is right
    assert not left.has_data()
    assert left.get_position().bounds == before
    assert draw(display, predictions, ax=left).ax_ is left
    assert "/" not in left.get_xlabel() + left.get_ylabel()


@pytest.mark.parametrize("display", ALL)
def test_texts_do_not_lie_on_one_another(display, predictions):
    shown = draw(display, predictions, unit="kcal/mol")
    shown.figure_.canvas.draw()
    renderer = shown.figure_.canvas.get_renderer()
    boxes = []
    for ax in [shown.ax_, *shown.ax_.child_axes]:
        texts = [ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels()]
        legend = ax.get_legend()
        texts += legend.get_texts() if legend else []
        for text in texts:
            box = text.get_window_extent(renderer)
            inside = ax.bbox.expanded(1.02, 1.02).overlaps(box) or text in {
                ax.xaxis.label,
                ax.yaxis.label,
            }
            if text.get_text() and text.get_visible() and inside:
                boxes.append((text.get_text(), box))
    for k, (first, box) in enumerate(boxes):
        assert [second for second, other in boxes[:k] if box.overlaps(other)] == [], first


def test_parity_shows_points_bars_and_diagonal(predictions):
    y, mean, std = predictions
    ax = draw(unc.ParityDisplay, predictions).ax_
    (bars,) = ax.containers
    assert_allclose(bars.lines[0].get_data(), (y, mean))
    ends = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
    assert_allclose(ends, np.column_stack([mean - std, mean + std]))
    assert ax.get_xlim() == ax.get_ylim()


def test_calibration_shows_curve_and_area(predictions):
    ax = draw(unc.CalibrationDisplay, predictions).ax_
    area = f"observed, area {unc.miscalibration_area(*predictions):.3f}"
    assert_allclose(lines(ax)[area], unc.calibration_curve(*predictions))
    (band,) = ax.collections
    low, high = unc.coverage_band(60, 1 / 99, 0.95)
    at_level = [v[1] for v in band.get_paths()[0].vertices if abs(v[0] - 1 / 99) < 1e-9]
    assert_allclose(sorted(set(at_level)), sorted({low, high}))


def test_bins_show_root_mean_squares(predictions):
    y, mean, std = predictions
    shown = lines(draw(unc.ErrorUncertaintyDisplay, predictions).ax_)
    order = np.argsort(std).reshape(6, 10)
    expected = [np.sqrt(np.mean(values[order] ** 2, axis=1)) for values in (std, y - mean)]
    assert_allclose(shown["RMSE in bins"], expected)
    assert any(
        points.shape == (2, 60) and np.array_equal(points, [std, np.abs(y - mean)])
        for points in shown.values()
    )
    assert_array_equal(*shown["ideal"])


def test_retention_shows_the_curve_between_its_limits(predictions):
    y, mean, _ = predictions
    shown = lines(draw(unc.RetentionDisplay, predictions).ax_)
    assert_allclose(shown["by std"], unc.error_retention_curve(*predictions))
    assert_allclose(shown["in random order"][1], np.mean(np.abs(y - mean)))
    assert (shown["by error"][1] <= shown["by std"][1] + 1e-12).all()


def test_residuals_are_labels_minus_predictions(predictions):
    y, mean, _ = predictions
    ax = draw(unc.ResidualsDisplay, predictions).ax_
    assert any(np.array_equal(line.get_data(), (mean, y - mean)) for line in ax.get_lines())
    (side,) = ax.child_axes
    assert sum(patch.get_width() for patch in side.patches) == 60
    assert side.get_ylim() == ax.get_ylim()


@pytest.mark.parametrize("display", ALL)
def test_from_estimator(display, rng):
    X = rng.uniform(0, 6, size=(40, 1))
    y = np.sin(X[:, 0]) + 0.1 * rng.normal(size=40)
    model = GaussianProcessRegressor(RBF() + WhiteKernel(0.01), optimizer=None).fit(X[:30], y[:30])
    shown = display.from_estimator(model, X[30:], y[30:])
    assert_allclose(shown.mean, model.predict(X[30:]))
    assert_allclose(shown.y, y[30:])
    if display is not unc.ResidualsDisplay:
        assert_allclose(shown.std, model.predict(X[30:], return_std=True)[1])


@pytest.mark.parametrize("display", WITH_STD)
def test_a_model_without_error_bars_has_none_to_show(display, rng):
    X = rng.uniform(0, 6, size=(20, 1))
    y = np.sin(X[:, 0])
    model = KRR(alpha=0.1, optimizer=None)
    for one in (model, make_pipeline(StandardScaler(), model)):
        with pytest.raises(SettingError, match=r"no standard deviations.*such as GPR"):
            display.from_estimator(one.fit(X, y), X, y)


def test_residuals_from_leave_one_out(rng):
    y, residuals = rng.normal(size=(2, 25))
    shown = unc.ResidualsDisplay.from_loo(SimpleNamespace(loo_residuals_=residuals), y)
    assert_allclose(shown.y - shown.mean, residuals)
    residuals[3] = np.nan
    shown = unc.ResidualsDisplay.from_loo(SimpleNamespace(loo_residuals_=residuals), y)
    assert_array_equal(shown.y, np.delete(y, 3))
    assert_allclose(shown.y - shown.mean, np.delete(residuals, 3))
    for wrong in (y[:24], np.zeros((25, 2))):
        with pytest.raises(SettingError, match="y has shape"):
            unc.ResidualsDisplay.from_loo(SimpleNamespace(loo_residuals_=residuals), wrong)
    several = SimpleNamespace(loo_residuals_=np.zeros((25, 2)))
    with pytest.raises(SettingError, match="each column"):
        unc.ResidualsDisplay.from_loo(several, y)


@pytest.mark.parametrize("display", ALL)
@pytest.mark.parametrize("case", ["one", "exact", "constant", "many"])
def test_odd_predictions_can_be_drawn(display, case, rng):
    n = {"one": 1, "many": 3001}.get(case, 12)
    y, std = rng.normal(size=n), np.exp(rng.normal(size=n))
    mean = y.copy() if case in {"exact", "one"} else y + rng.normal(size=n)
    std = np.ones(n) if case == "constant" else std
    shown = draw(display, (y, mean, std))
    limits = [*shown.ax_.get_xlim(), *shown.ax_.get_ylim()]
    assert np.isfinite(limits).all()


@pytest.mark.parametrize("display", WITH_STD)
def test_wrong_arrays_are_refused(display):
    with pytest.raises(SettingError, match="above zero"):
        display([1.0], [1.0], [0.0])
    with pytest.raises(SettingError, match="mean has shape"):
        unc.ResidualsDisplay([1.0], [1.0, 2.0])


def test_the_package_loads_no_pictures():
    code = "import kernchem.uncertainty, sys; print('matplotlib' in sys.modules)"
    path = os.pathsep.join([str(Path(kernchem.__file__).parent.parent), *sys.path])
    shown = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ).stdout
    assert shown.strip() == "False"
