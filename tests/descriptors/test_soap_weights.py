"""Which weights of neighbours SOAP takes."""

import numpy as np
import pytest

from kernchem.descriptors import SOAP
from kernchem.errors import SettingError

POLY = {"function": "poly", "r0": 3.5, "c": 1.3, "m": 2.0}
POW = {"function": "pow", "r0": 2.0, "c": 0.7, "d": 1.1, "m": 3.0}
EXP = {"function": "exp", "r0": 1.4, "c": 0.9, "d": 0.2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weighting": "poly"}, "weighting='poly' is no mapping"),
        ({"weighting": {"function": "spline"}}, "'spline' is unknown; choose one of 'poly'"),
        ({"weighting": {"function": "poly", "r0": 2.0}}, "it must hold r0, c, m"),
        ({"weighting": {"r0": 2.0}}, "it must hold nothing"),
        ({"weighting": {**POLY, "r0": 0.0}}, r"weighting\['r0'\]=0.0 .* above 0"),
        ({"weighting": {**POW, "d": 0.0}}, r"weighting\['d'\]=0.0 .* above 0"),
        ({"weighting": {"w0": -1.0}}, r"weighting\['w0'\]=-1.0 .* not below 0"),
        ({"weighting": {"function": ["poly"]}}, r"\['poly'\] is unknown"),
        ({"weighting": {**POW, "d": np.zeros(2)}}, r"weighting\['d'\]=array"),
        ({"weighting": {**POW, "d": 0.0, "m": 300.0, "w0": 1.0}}, "up to inf.* a larger d"),
        ({"weighting": {**EXP, "d": 0.0, "r0": 0.005}}, "from 0.05 to 6.1.* angstrom .* up to inf"),
        ({"weighting": {**POLY, "c": 1e200}}, r"up to 1e.200, and features hold 1e.60"),
        ({"weighting": {"w0": 1e100}}, r"up to 1e.100"),
    ],
)
def test_wrong_weights_are_named(molecules, settings, message):
    with pytest.raises(SettingError, match=message):
        SOAP(**settings).fit(molecules[:2])


@pytest.mark.parametrize("average", ["inner", "outer"])
@pytest.mark.parametrize(
    "weighting",
    [
        {**POLY, "c": 1e60},
        {**EXP, "d": 0.0, "r0": 0.05},
        {**POW, "d": 0.0, "m": 30.0, "w0": 1e60},
        {**POW, "c": 1e-300},
    ],
)
def test_features_of_allowed_weights_are_finite(molecules, average, weighting):
    settings = {
        "r_cut": 3.0,
        "n_max": 3,
        "l_max": 2,
        "sigma": 0.4,
        "average": average,
        "weighting": weighting,
    }
    assert np.isfinite(SOAP(**settings).fit_transform(molecules[:3])).all()
