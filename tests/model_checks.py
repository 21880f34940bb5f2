"""Whether a model that was loaded is the one that was saved."""

import warnings

import numpy as np
from sklearn.pipeline import Pipeline

import kernchem
from kernchem import DeltaLearner
from kernchem.errors import KernchemError, KernchemWarning

#: What a loaded model has on top, what is made anew when it is needed, and room for what may come.
ANEW = ("model_info_", "_posterior", "_places", "room")


def same(a, b):
    """Whether two objects hold the same, to the last bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        alike = a.dtype == b.dtype and a.shape == b.shape
        bits = a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()
        equal = alike and bits
    elif isinstance(a, list | tuple):
        equal = len(a) == len(b) and all(map(same, a, b))
    elif isinstance(a, dict):
        equal = a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    elif hasattr(a, "__dict__"):
        mine, kept = (
            {key: value for key, value in vars(one).items() if key not in ANEW} for one in (a, b)
        )
        equal = same(mine, kept)
    else:
        # The text of a number tells 0.0 from -0.0, and takes NaN for itself.
        equal = repr(a) == repr(b)
    return equal


def saved_and_loaded(model, folder, **named):
    """The model that came out of the file it was written to."""
    kernchem.save(model, folder / "model.kc", **named)
    return kernchem.load(folder / "model.kc")


def last(model):
    """The kernel model within a pipeline or a DeltaLearner."""
    if isinstance(model, DeltaLearner):
        return last(model.model_)
    return model[-1] if isinstance(model, Pipeline) else model


def outcome(function, *arguments):
    """What a call gives, be it an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KernchemWarning)
        try:
            return function(*arguments)
        except KernchemError as error:
            return f"{type(error).__name__}: {error}"
