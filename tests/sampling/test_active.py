"""Campaigns: kills, failures, costs, and what a plain loop would have done."""

import csv
import multiprocessing
import os
import signal
import sys
import time

import numpy as np
import pytest
import scipy_kernels
from ase.io import read as ase_read
from campaign_oracle import TARGET, Oracle, campaign, model, pool
from effort import size
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from kernchem.datasets import load_qm_small
from kernchem.descriptors import BagOfBonds, CoulombMatrix
from kernchem.errors import (
    KernchemWarning,
    LabelError,
    OracleError,
    PropertyError,
    ResumeError,
    SettingError,
)
from kernchem.kernels import Laplacian
from kernchem.models import GPR, KRR, DeltaLearner
from kernchem.sampling import ActiveLearner, BatchSelector, Budget, Patience, TargetError
from kernchem.structures import Structures


def test_picks_are_those_of_a_plain_loop(tmp_path):
    data, labels = pool(), pool()[TARGET]
    found = campaign(tmp_path, selector="maxvar", initial=8).run(data)
    rows = BatchSelector("maxvar", kernel=Laplacian(30.0), descriptor=CoulombMatrix()).fit(data)
    chosen = rows.select(8).tolist()
    while len(chosen) < 36:
        fitted = model().fit(data[chosen], labels[chosen])
        selector = BatchSelector("maxvar", kernel=fitted).fit(data, chosen)
        chosen += selector.select(6).tolist()[: 36 - len(chosen)]
    assert found.selected_.tolist() == chosen
    fitted = model().fit(data[chosen], labels[chosen])
    np.testing.assert_allclose(found.model_.predict(data), fitted.predict(data), rtol=1e-9)
    last = found.history_[-1]
    sizes = np.abs(fitted.loo_residuals_)
    assert last["labels"] == last["cost"] == 36
    assert last["loo_mae"] == pytest.approx(sizes.mean(), rel=1e-6)
    assert last["loo_lower"] < last["loo_mae"] < last["loo_upper"]
    assert [row["refit"] for row in found.history_[:4]] == [None, "chosen", "appended", "chosen"]
    assert found.stopped_ == "the budget of 36 labels is used up"


def _run(folder, failing, pause):
    scipy_kernels.use_where_plain(pytest.MonkeyPatch())
    campaign(folder, failing, pause).run(pool())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_killed_at_random_moments(tmp_path, rng):
    failing = (3, 17, 44, 61)
    undisturbed = campaign(tmp_path / "whole", failing).run(pool())
    assert undisturbed.failed_
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kernchem.sampling", "kernchem.datasets"])
    kills, cut, number, longest = 0, 0, 0, 3.0
    while kills < size(20, 5):
        folder = tmp_path / f"killed-{number}"
        begin = time.monotonic()
        process = context.Process(target=_run, args=(folder, failing, 0.01))
        process.start()
        process.join(rng.uniform(0.0, longest))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
            cut += 1
            continue
        assert process.exitcode == 0
        longest = min(longest, 0.6 * (time.monotonic() - begin) + 0.3)
        _check(folder, failing, undisturbed, cut)
        number, cut = number + 1, 0
    campaign(tmp_path / f"killed-{number}", failing, 0.01).run(pool())
    _check(tmp_path / f"killed-{number}", failing, undisturbed, cut)


def _check(folder, failing, undisturbed, n_kills):
    """Compare a finished campaign with an undisturbed one."""
    again = campaign(folder, failing, 0.01)
    asked = again.oracle.asked()
    # A kill costs no more than the question that it interrupts.
    assert len(asked) - len(set(asked)) <= n_kills
    again.run(pool())
    assert again.oracle.asked() == asked
    assert again.selected_.tolist() == undisturbed.selected_.tolist()
    assert again.failed_ == undisturbed.failed_
    np.testing.assert_array_equal(again.labels_, undisturbed.labels_)
    np.testing.assert_array_equal(again.model_.predict(pool()), undisturbed.model_.predict(pool()))
    rows = [{**row, "seconds": 0} for row in again.history_]
    assert rows == [{**row, "seconds": 0} for row in undisturbed.history_]


def test_files_of_a_campaign(tmp_path):
    learner = campaign(tmp_path, (3, 17)).run(pool())
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["labels"]) for row in rows] == [row["labels"] for row in learner.history_]
    assert float(rows[-1]["loo_mae"]) == learner.history_[-1]["loo_mae"]
    labelled = ase_read(tmp_path / "labelled.xyz", ":")
    assert [atoms.info["pool_index"] for atoms in labelled] == learner.selected_.tolist()
    found = [
        atoms.info.get("energy", atoms.calc and atoms.get_potential_energy()) for atoms in labelled
    ]
    np.testing.assert_allclose(found, learner.labels_[learner.selected_])
    assert (tmp_path / "history.png").read_bytes()[:4] == b"\x89PNG"
    ax = learner.plot()
    assert ax.lines[0].get_xdata().tolist() == [
        r["labels"] for r in learner.history_ if r["loo_mae"]
    ]


def test_more_budget_goes_on_as_if_it_had_been_there(tmp_path):
    data = pool()
    whole = campaign(tmp_path / "whole").run(data)
    pieces = campaign(tmp_path / "pieces", stop=20).run(data)
    assert len(pieces.selected_) == 20
    assert pieces.history_[-1]["labels"] == 20
    pieces.set_params(stop=36).run(data)
    assert pieces.selected_.tolist() == whole.selected_.tolist()
    assert len(pieces.oracle.asked()) == 36


def test_failures_are_stepped_over(tmp_path):
    learner = campaign(tmp_path, tuple(range(0, 80, 2)), stop=None).run(pool())
    assert sorted(learner.failed_) == list(range(0, 80, 2))
    assert sorted(learner.selected_) == list(range(1, 80, 2))
    assert learner.failed_[4] == "ArithmeticError: structure 4 does not converge"
    assert learner.stopped_ == "the whole pool is labelled or failed"
    assert learner.history_[-1]["cost"] == 80


def test_a_broken_oracle_costs_no_candidate(tmp_path):
    data = pool()
    learner = campaign(tmp_path, tuple(range(80)), max_failures=7)
    for _ in range(2):
        with pytest.raises(OracleError, match=r"7 labels in a row failed.*asked for again"):
            learner.run(data)
        assert not learner.failed_
    first = learner.oracle.asked()[:7]
    assert learner.oracle.asked() == 2 * first
    mended = campaign(tmp_path, (first[3],), max_failures=7, stop=Budget(cost=24.0)).run(data)
    whole = campaign(tmp_path / "whole", (first[3],), stop=Budget(cost=24.0)).run(data)
    assert mended.selected_.tolist() == whole.selected_.tolist()
    assert mended.failed_ == whole.failed_
    assert mended.history_[-1]["cost"] == 24.0
    again = campaign(tmp_path, (first[3],), max_failures=7, stop=Budget(cost=24.0)).run(data)
    assert again.selected_.tolist() == whole.selected_.tolist()
    assert len(again.oracle.asked()) == 14 + 24


def test_costs_known_labels_and_rules(tmp_path):
    data, labels = pool(), pool()[TARGET]
    known = np.full(80, np.nan)
    known[:10] = labels[:10]
    costs = np.full(80, 2.0)
    seen = []
    learner = campaign(tmp_path, stop=[Budget(cost=25.0), TargetError(1e-9)], initial=10)
    learner.run(data, known, costs=costs, report=seen.append)
    assert learner.history_[0]["labels"] == 10
    assert learner.history_[0]["refit"] == "chosen"
    assert len(learner.selected_) == 22
    assert set(learner.oracle.asked()).isdisjoint(range(10))
    assert learner.stopped_ == "the budget is used up: 24 of 25 spent"
    assert seen == learner.history_
    patient = campaign(tmp_path / "patient", stop=Patience(1, 0.999)).run(data)
    assert "has not improved for 1 rounds" in patient.stopped_
    assert len(patient.selected_) == 12


@pytest.mark.parametrize("kind", ["krr", "delta", "terms"])
def test_other_models(tmp_path, kind):
    data = pool()
    made = {
        "krr": lambda: KRR(descriptor=CoulombMatrix()),
        "delta": lambda: DeltaLearner(model(), "gfn2_atomization_energy", slope=1),
        "terms": lambda: GPR(_terms()),
    }[kind]()
    learner = ActiveLearner(made, TARGET, folder=tmp_path, stop=30, batch_size=10).run(data)
    assert len(learner.selected_) == 30
    expected = {"krr": "refitted", "delta": "appended", "terms": "appended"}
    refits = [row["refit"] for row in learner.history_]
    assert refits[:3] == [None, "chosen", "chosen"]
    assert refits[3] == expected[kind]
    assert np.isfinite(learner.model_.predict(data)).all()


def _terms():
    from kernchem.models import Term

    return Term(CoulombMatrix(), Laplacian(30.0)) + Term(CoulombMatrix(), Laplacian(300.0))


def test_labels_that_do_not_determine_the_elements(tmp_path):
    data = pool()
    whole = ActiveLearner(
        GPR(descriptor=CoulombMatrix()), TARGET, folder=tmp_path / "a", batch_size=2
    )
    found = whole.set_params(stop=20).run(data)
    refits = [row["refit"] for row in found.history_]
    first = refits.index("chosen")
    assert first > 1
    assert set(refits[:first]) == {None}
    assert found.model_ is not None
    few = ActiveLearner(
        GPR(descriptor=CoulombMatrix()), TARGET, folder=tmp_path / "b", batch_size=2
    )
    with pytest.warns(KernchemWarning, match="no molecule of the training set can be left out"):
        few.set_params(stop=4).run(data)
    assert few.model_ is None
    assert len(few.selected_) == 4


def test_the_end_of_what_tells_anything_new(tmp_path):
    data = pool(12)
    # All copies of each other but for rounding: a batch cannot be filled.
    moved = Structures.from_arrays(
        [one.numbers for k in range(3) for one in data],
        [one.positions + 1e-10 * k for k in range(3) for one in data],
    )
    oracle = dict(zip(range(36), 3 * data[TARGET].tolist(), strict=True))
    asked = []

    def energy(structure):
        k = next(
            k
            for k, one in enumerate(moved)
            if np.array_equal(one.positions, structure[0].positions)
        )
        asked.append(k % 12)
        return oracle[k]

    learner = ActiveLearner(
        model(), energy, folder=tmp_path, batch_size=30, selector=BatchSelector("maxvar", noise=0.0)
    ).run(moved)
    assert sorted(asked) == list(range(12))
    assert learner.stopped_.startswith("the other 24 structures are copies of those")


def rare():
    """Molecules of H, C, N and O, and two of H and C with fluorine, which come last."""
    data = load_qm_small()
    heavy = np.array([9 in one.numbers for one in data])
    return data[np.concatenate([np.flatnonzero(~heavy)[:40], np.flatnonzero(heavy)[:2]])]


@pytest.mark.filterwarnings("ignore:.*cannot be left out")
@pytest.mark.parametrize("kind", ["gpr", "krr", "delta", "terms"])
@pytest.mark.parametrize("strategy", ["isd", "random"])
def test_a_rare_element_ends_no_campaign(tmp_path, kind, strategy):
    data = rare()
    made = {
        "gpr": lambda: GPR(descriptor=BagOfBonds()),
        "krr": lambda: KRR(descriptor=BagOfBonds()),
        "delta": lambda: DeltaLearner(GPR(descriptor=BagOfBonds()), "gfn2_atomization_energy"),
        "terms": lambda: GPR(_terms()),
    }[kind]()
    learner = ActiveLearner(
        made, TARGET, folder=tmp_path, batch_size=10, stop=36, selector=strategy
    )
    # The first labels are there and hold no fluorine.
    labels = np.where(np.arange(42) < 12, data[TARGET], np.nan)
    learner.run(data, labels)
    assert len(learner.selected_) == 36
    assert learner.model_ is not None
    assert {40, 41} & set(learner.selected_)


@pytest.mark.filterwarnings("ignore:.*cannot be left out")
def test_the_whole_pool_makes_a_model_of_any_size(tmp_path):
    data = pool(12)
    learner = campaign(tmp_path, initial=50, stop=None).run(data)
    assert len(learner.selected_) == 12
    expected = model().fit(data[learner.selected_], data[TARGET][learner.selected_])
    np.testing.assert_allclose(learner.model_.predict(data), expected.predict(data), rtol=1e-9)
    assert [(row["labels"], row["refit"]) for row in learner.history_] == [
        (0, None),
        (12, "chosen"),
    ]
    small = campaign(tmp_path / "few", initial=50, stop=8).run(data)
    assert small.model_ is not None
    more = campaign(tmp_path / "few", initial=50, stop=None).run(data)
    assert more.selected_.tolist() == learner.selected_.tolist()


def test_the_whole_pool(tmp_path):
    learner = campaign(tmp_path, failing=(3,), stop=None).run(pool(12))
    assert learner.stopped_ == "the whole pool is labelled or failed"
    assert len(learner.selected_) == 11


def test_the_first_model_comes_with_the_initial_labels_of_groups(tmp_path):
    learner = campaign(tmp_path, initial=10, batch_size=1, stop=22)
    learner.run(pool(40), groups=np.arange(40) // 5)
    first = next(row for row in learner.history_ if row["loo_mae"] is not None)
    assert first["labels"] == 10
    assert [row["labels"] for row in learner.history_[:4]] == [0, 10, 15, 20]


def test_wrong_calls_leave_the_folder_free(tmp_path):
    data = pool(40)
    for options in ({"costs": -np.ones(40)}, {"groups": [0]}, {"targets": []}):
        with pytest.raises(SettingError, match=next(iter(options))):
            campaign(tmp_path, stop=12).run(data, **options)
    with pytest.raises(LabelError, match="weight"):
        campaign(tmp_path, stop=12).run(data, weights=-np.ones(40))
    oracle = Oracle(tmp_path / "asked.log")
    for baseline, error in (("gfn2_typo", PropertyError), (None, SettingError)):
        wrong = DeltaLearner(model(), baseline=baseline)
        with pytest.raises(error, match=r"gfn2_typo|baseline"):
            ActiveLearner(wrong, oracle, folder=tmp_path, target="energy", stop=12).run(data)
    assert not (tmp_path / "asked.log").exists()
    assert len(campaign(tmp_path, stop=12).run(data).selected_) == 12


def test_wrong_folders_and_seeds(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file, file / "inside", None):
        with pytest.raises(SettingError, match="folder"):
            ActiveLearner(model(), TARGET, folder=folder).run(pool(10))
    for target in ("failed", "pool_index", "charge"):
        with pytest.raises(SettingError, match="means something else"):
            campaign(tmp_path, target=target).run(pool(10))
    selector = BatchSelector(random_state=np.random.RandomState(0))
    with pytest.raises(SettingError, match="RandomState"):
        campaign(tmp_path, selector=selector).run(pool(10))


def test_errors(tmp_path):
    data = pool()
    for wrong in (
        {"batch_size": 0}, {"initial": 1}, {"max_failures": None}, {"target": "a b"},
        {"selector": 3}, {"selector": "best"}, {"stop": "soon"},
    ):  # fmt: skip
        with pytest.raises(SettingError, match=r"batch|initial|max_|target|selector|strategy|stop"):
            campaign(tmp_path, **wrong).run(data)
    with pytest.raises(SettingError, match="no kernel to select in"):
        ActiveLearner(DummyRegressor(), TARGET, folder=tmp_path).run(data)
    for labels in ([1.0], ["a"] * 80, ["1.5"] * 80, [True] * 80, [np.inf] * 80):
        with pytest.raises(SettingError, match="one number for each of the 80"):
            campaign(tmp_path).run(data, labels)
    campaign(tmp_path, stop=18, batch_size=np.int64(6)).run(data)
    with pytest.raises(ResumeError, match="batch_size was 6 and is now 7"):
        campaign(tmp_path, batch_size=7).run(data)
    for other in ({"initial": 9}, {"selector": "fps"}, {"target": "e"}):
        with pytest.raises(ResumeError, match=next(iter(other))):
            campaign(tmp_path, **other).run(data)
    with pytest.raises(ResumeError, match="costs"):
        campaign(tmp_path).run(data, costs=np.ones(80))
    with pytest.raises(ResumeError, match="the structures of the pool"):
        campaign(tmp_path).run(data[:70])


@pytest.mark.parametrize("place", [3, 14])
def test_a_molecule_is_named_by_its_number_in_the_pool(tmp_path, place):
    data = pool()
    order = campaign(tmp_path / "first", stop=18).run(data).selected_
    odd = data[int(order[place])].positions

    def baseline(structures):
        values = structures.sizes * 1.0
        same = [np.array_equal(one.positions, odd) for one in structures]
        return np.where(same, np.nan, values)

    learner = ActiveLearner(
        DeltaLearner(model(), baseline, slope=1),
        TARGET,
        folder=tmp_path / "c",
        batch_size=6,
        stop=18,
    )
    with pytest.raises(PropertyError, match=f"^structure {order[place]} "):
        learner.run(data)


@pytest.mark.filterwarnings("ignore:.*cannot be left out")
@pytest.mark.parametrize("given", [True, False])
def test_a_campaign_that_ends_before_its_first_model_has_one(tmp_path, given):
    data = pool(40)
    known = np.where(np.arange(40) < 15, data[TARGET], np.nan)
    # Labels that were there before, or ten of twenty questions that are paid for.
    rule = Budget(labels=15) if given else Budget(cost=20)
    failing = () if given else tuple(range(0, 40, 2))
    learner = campaign(tmp_path, failing, batch_size=20, stop=rule, selector="random")
    found = learner.run(data, known if given else None)
    rows = found.selected_
    assert 5 < len(rows) <= 15
    expected = model().fit(data[rows], data[TARGET][rows])
    np.testing.assert_allclose(
        found.model_.predict(data[rows]), expected.predict(data[rows]), rtol=1e-9
    )
    assert found.history_[-1]["refit"] == "chosen"
    more = campaign(tmp_path, failing, batch_size=20, stop=None, selector="random")
    assert more.run(data, known if given else None).model_ is not None


def test_rules_that_need_residuals_say_so(tmp_path):
    data, made = pool(30), make_pipeline(CoulombMatrix(), Ridge())
    selector = BatchSelector(descriptor=CoulombMatrix())
    learner = ActiveLearner(made, TARGET, folder=tmp_path, batch_size=6, selector=selector)
    for rule in (TargetError(1e9), Patience(1) | Budget(labels=12), TargetError(1) & Patience(1)):
        with pytest.raises(SettingError, match=r"Pipeline has no leave-one-out residuals.*Budget"):
            learner.set_params(stop=rule).run(data)
        assert len(learner.selected_) == 6
    assert len(learner.set_params(stop=12).run(data).selected_) == 12
