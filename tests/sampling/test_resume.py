"""What a campaign is, and how it is known again: fitted models, targets and seeds."""

import json

import numpy as np
import pytest
from campaign_oracle import TARGET, Oracle, model, pool
from sklearn.frozen import FrozenEstimator

from kernchem.datasets import load_qm_small
from kernchem.descriptors import BagOfBonds, CoulombMatrix
from kernchem.errors import ResumeError, SettingError
from kernchem.models import GPR, KRR, DeltaLearner
from kernchem.sampling import ActiveLearner, BatchSelector
from kernchem.structures import Structures


def fitted(scale=1.0):
    """Return a model of other molecules."""
    data = load_qm_small()[100:160]
    return KRR(descriptor=BagOfBonds()).fit(data, scale * data[TARGET])


def learner(folder, made=None, **settings):
    options = {"batch_size": 6, "stop": 12} | settings
    return ActiveLearner(made or model(), TARGET, folder=folder, **options)


def test_a_fitted_model_selects_as_it_is(tmp_path):
    data, others = pool(40), load_qm_small()[100:160]
    lent = GPR(descriptor=CoulombMatrix()).fit(others, others[TARGET])
    selector = BatchSelector.from_model(lent)
    expected = BatchSelector.from_model(lent).fit(data, []).select(6)
    found = learner(tmp_path, selector=selector).run(data)
    assert found.history_[0]["picks"] == expected.tolist()
    expected = BatchSelector.from_model(lent).fit(data, found.selected_[:6]).select(6)
    assert found.history_[1]["picks"] == expected.tolist()
    assert lent.kernel_ == selector.kernel.kernel_
    more = learner(tmp_path, selector=selector, stop=18).run(data)
    assert len(more.selected_) == 18
    other = GPR(descriptor=CoulombMatrix()).fit(others[:30], -3.0 * others[TARGET][:30])
    with pytest.raises(ResumeError, match="fitted model in the selector are not the same"):
        learner(tmp_path, selector=BatchSelector.from_model(other)).run(data)


def frozen(made):
    return DeltaLearner(model(), FrozenEstimator(made), slope=1)


def test_another_frozen_baseline_is_another_campaign(tmp_path):
    data = pool(40)
    learner(tmp_path, frozen(fitted())).run(data)
    with pytest.raises(ResumeError, match="fitted models in the baseline are not the same"):
        learner(tmp_path, frozen(fitted(0.9))).run(data)
    # Another machine rounds otherwise.
    again = learner(tmp_path, frozen(fitted(1.0 + 1e-10)), stop=18).run(data)
    assert len(again.selected_) == 18


def test_folders_of_older_versions_go_on(tmp_path):
    data = pool(40)
    learner(tmp_path, frozen(fitted())).run(data, targets=data[:5])
    path = tmp_path / "campaign.json"
    told = json.loads(path.read_text())
    assert told["settings"].pop("baselines")
    assert told["settings"].pop("geometries")
    del told["settings"]["lent"]
    path.write_text(json.dumps(told))
    more = learner(tmp_path, frozen(fitted()), stop=18).run(data, targets=data[:5])
    assert len(more.selected_) == 18


def test_targets_at_other_positions_are_others(tmp_path):
    data = pool(40)
    moved = Structures.from_arrays(
        [one.numbers for one in data[:5]], [one.positions * 1.01 for one in data[:5]]
    )
    learner(tmp_path).run(data, targets=data[:5])
    with pytest.raises(ResumeError, match="the structures of the targets are not"):
        learner(tmp_path).run(data, targets=moved)
    assert len(learner(tmp_path, stop=18).run(data, targets=data[:5]).selected_) == 18


def test_a_baseline_that_is_not_frozen_is_refused_before_a_question(tmp_path):
    data, oracle = pool(40), Oracle(tmp_path / "asked.log")
    for made in (DeltaLearner(model(), fitted()), DeltaLearner(model(), [fitted(), "gfn2_energy"])):
        with pytest.raises(SettingError, match=r"KRR is not fitted.*FrozenEstimator"):
            ActiveLearner(made, oracle, folder=tmp_path, batch_size=6, stop=12).run(data)
    assert not (tmp_path / "asked.log").exists()
    found = ActiveLearner(frozen(fitted()), oracle, folder=tmp_path, batch_size=6, stop=12)
    assert len(found.run(data).selected_) == 12


@pytest.mark.parametrize("seed", [np.random.RandomState(3), np.random.default_rng(3)])
def test_a_model_with_a_source_of_randomness_is_refused(tmp_path, seed):
    inner = GPR(descriptor=CoulombMatrix(), random_state=seed)
    for made in (inner, DeltaLearner(inner, "gfn2_atomization_energy")):
        with pytest.raises(SettingError, match=r"model with a .* whole number as .*random_state"):
            learner(tmp_path, made).run(pool(20))
    assert not list(tmp_path.iterdir())
