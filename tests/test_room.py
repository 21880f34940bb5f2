"""Rows that are appended again and again, against arrays that are joined each time."""

import copy
import pickle

import numpy as np
from numpy.testing import assert_array_equal

from kernchem import _room
from kernchem._room import Room
from kernchem.kernels import Gaussian
from kernchem.models import GPR


def test_rows_come_behind_each_other(rng, monkeypatch):
    monkeypatch.setattr(_room, "_LEAST", 0)
    room, rows = Room(), rng.normal(size=(40, 3))
    found, moves = rows[:20], 0
    for k in range(20, 40, 2):
        before = found
        found = room.joined(found, rows[k : k + 2])
        moves += not np.shares_memory(found, before)
        assert_array_equal(found, rows[: k + 2])
        assert found.flags.c_contiguous
        assert_array_equal(before, rows[:k])
    # Room for a quarter more: memory is taken anew at 20, 28 and 36 rows.
    assert moves == 3


def test_views_stay_as_they_are(rng):
    """Two arrays that go on from the same one do not write into each other."""
    room, rows = Room(), rng.normal(size=(10, 2))
    first = room.joined(rows[:6], rows[6:7])
    second = room.joined(first, rows[7:8])
    other = room.joined(first, -rows[7:8])
    third = room.joined(second, rows[8:9])
    assert_array_equal(second, rows[:8])
    assert_array_equal(third, rows[:9])
    assert_array_equal(other, np.concatenate([rows[:7], -rows[7:8]]))


def test_copies_are_empty(rng):
    room = Room()
    rows = room.joined(rng.normal(size=(4, 2)), rng.normal(size=(1, 2)))
    for made in (copy.copy(room), copy.deepcopy(room), pickle.loads(pickle.dumps(room))):
        assert not np.shares_memory(made.joined(rows, rows[:1]), rows)
    assert len(pickle.dumps(room)) < 200


def test_models_that_share_a_past_do_not_disturb_each_other(rng):
    X, new = rng.normal(size=(50, 3)), rng.normal(size=(12, 3))
    y = np.sin(X).sum(axis=1)
    fixed = {"optimizer": None, "alpha": 1e-4, "calibration": None}
    model = GPR(Gaussian(1.0), **fixed).fit(X[:40], y[:40])
    model.append(X[40:42], y[40:42])
    twin = copy.copy(model)
    model.append(X[42:45], y[42:45])
    twin.append(X[45:48], y[45:48])
    model.append(X[48:], y[48:])
    for found, rows in ((model, [*range(45), 48, 49]), (twin, [*range(42), 45, 46, 47])):
        expected = GPR(Gaussian(1.0), **fixed).fit(X[rows], y[rows])
        np.testing.assert_allclose(found.predict(new), expected.predict(new), rtol=1e-7)
