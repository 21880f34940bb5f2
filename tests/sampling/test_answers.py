"""Campaigns that ask the user: answers, corrections, and what they do to the files."""

import numpy as np
import pytest
from ase.io import read as ase_read
from ase.io import write
from campaign_oracle import TARGET, answer, campaign, model, pool

from kernchem.errors import FileFormatError, KernchemWarning, PropertyError, ResumeError
from kernchem.sampling import BatchSelector, Budget, StopRule, TargetError


def test_the_user_is_asked(tmp_path):
    data, labels = pool(), pool()[TARGET]
    learner = campaign(tmp_path, stop=14, selector=BatchSelector("fps", random_state=1))
    learner.oracle = None
    whole = campaign(tmp_path / "whole", stop=14, selector=BatchSelector("fps", random_state=1))
    whole.run(data)
    for turn in range(6):
        learner.run(data)
        if not len(learner.waiting_):
            break
        assert "waiting for" in learner.stopped_
        asked = ase_read(tmp_path / "questions.xyz", ":")
        assert [atoms.info["pool_index"] for atoms in asked] == learner.waiting_.tolist()
        if turn == 0:
            # Half of the answers come later, in another file.
            for k, atoms in enumerate(asked[:3]):
                atoms.info["energy"] = labels[learner.waiting_[k]]
            write(tmp_path / "answers.xyz", asked[:3], format="extxyz")
        else:
            lines = [f"{k},{float(labels[k])!r}" for k in learner.waiting_]
            (tmp_path / f"answers_{turn}.csv").write_text("\n".join(["pool_index,energy", *lines]))
    assert learner.stopped_ == "the budget of 14 labels is used up"
    assert not len(learner.waiting_)
    assert len(learner.selected_) == 14
    assert sorted(learner.selected_[:12]) == sorted(whole.selected_[:12])
    assert not (tmp_path / "questions.xyz").exists()


def asked_for(folder):
    """Return a pool, its labels, the file for answers, and a campaign with its first questions."""
    data = pool(30)
    learner = campaign(folder, stop=18)
    learner.oracle = None
    first = learner.run(data).waiting_
    return data, data[TARGET], folder / "answers.csv", learner, first


@pytest.mark.filterwarnings("ignore:.*cannot be left out")
def test_answers_can_be_corrected(tmp_path):
    data, labels, table, learner, first = asked_for(tmp_path)
    answer(table, first, np.where(first == first[2], 7.0, labels[first]))
    second = learner.run(data).waiting_
    answer(table, first, labels[first])
    told = rf"structure {first[2]} .* was 7\.0 and is now {labels[first[2]]}"
    with pytest.warns(KernchemWarning, match=told):
        learner.run(data)
    assert learner.waiting_.tolist() == second.tolist()
    expected = model().fit(data[first], labels[first])
    np.testing.assert_allclose(learner.model_.predict(data), expected.predict(data), rtol=1e-9)
    assert learner.run(data).labels_[first[2]] == labels[first[2]]
    answer(tmp_path / "answers_2.csv", first[:1], [3.0])
    with pytest.raises(FileFormatError, match=r"answers_2\.csv and .*answers\.csv have different"):
        learner.run(data)


@pytest.mark.filterwarnings("ignore:.*cannot be left out")
def test_a_failure_can_be_mended_by_an_answer(tmp_path):
    data, labels, table, learner, first = asked_for(tmp_path)
    answer(table, first[1:], labels[first[1:]])
    table.write_text(f"{table.read_text()}\n{first[0]},,no convergence")
    second = learner.run(data).waiting_
    assert learner.failed_ == {first[0]: "no convergence"}
    answer(table, first, labels[first])
    with pytest.warns(KernchemWarning, match="was no convergence and is now"):
        learner.run(data)
    assert not learner.failed_
    assert sorted(learner.selected_) == sorted(first)
    assert learner.waiting_.tolist() == second.tolist()
    # What was paid for is the same.
    assert learner.history_[-1]["cost"] == 6.0


def asked_campaign(folder, data, **settings):
    """Return a campaign that asks the user, who has answered all but for one wrong number."""
    learner = campaign(folder, **settings)
    learner.oracle = None
    first = learner.run(data).waiting_
    values = np.where(np.arange(len(data)) == first[0], 7.0, data[TARGET])
    while len(learner.waiting_):
        rows = np.concatenate([learner.selected_, learner.waiting_])
        answer(folder / "answers.csv", rows, values[rows])
        learner.run(data)
    return learner, first[0]


@pytest.mark.filterwarnings("ignore:.*cannot be left out")
@pytest.mark.parametrize(
    ("n", "stop"), [(30, 12), (18, None), (30, TargetError(1e9) | Budget(labels=18)), (30, 10)]
)
def test_answers_can_be_corrected_after_the_end(tmp_path, n, stop):
    data = pool(n)
    learner, wrong = asked_campaign(tmp_path, data, stop=stop)
    assert learner.labels_[wrong] == 7.0
    rows = learner.selected_
    answer(tmp_path / "answers.csv", rows, data[TARGET][rows])
    with pytest.warns(KernchemWarning, match=rf"structure {wrong} .* was 7\.0 and is now"):
        learner.run(data)
    assert not len(learner.waiting_)
    np.testing.assert_array_equal(learner.labels_[rows], data[TARGET][rows])
    expected = model().fit(data[rows], data[TARGET][rows])
    np.testing.assert_allclose(learner.model_.predict(data), expected.predict(data), rtol=1e-9)
    known = learner.history_[-1]["loo_mae"]
    assert known == pytest.approx(np.nanmean(np.abs(expected.loo_residuals_)), rel=1e-6)
    again = learner.model_.predict(data)
    np.testing.assert_allclose(learner.run(data).model_.predict(data), again, rtol=1e-12)


class Hopeless(StopRule):
    """Stops when errors are large."""

    def reason(self, history):
        large = history and (history[-1]["loo_mae"] or 0.0) > 90.0
        return "hopeless" if large else None


@pytest.mark.filterwarnings("ignore:.*cannot be left out")
def test_rules_judge_the_corrected_model(tmp_path):
    data = pool(30)
    learner, _ = asked_campaign(tmp_path, data, stop=Hopeless())
    assert learner.stopped_ == "hopeless"
    rows = learner.selected_
    answer(tmp_path / "answers.csv", rows, data[TARGET][rows])
    with pytest.warns(KernchemWarning, match="is now"):
        learner.run(data)
    assert "waiting for" in learner.stopped_
    # What is asked for is what the corrected model would pick.
    fitted = model().fit(data[rows], data[TARGET][rows])
    expected = BatchSelector(kernel=fitted).fit(data, rows).select(6)
    assert learner.waiting_.tolist() == expected.tolist()
    waiting = learner.waiting_
    assert learner.run(data).waiting_.tolist() == waiting.tolist()


@pytest.mark.filterwarnings("ignore:.*cannot be left out")
@pytest.mark.parametrize("value", ["", "-100.0"])
@pytest.mark.parametrize("stop", [12, 18])
def test_a_label_can_be_taken_back(tmp_path, value, stop):
    data, table = pool(30), tmp_path / "answers.csv"
    learner, wrong = asked_campaign(tmp_path, data, stop=12)
    learner.set_params(stop=stop)
    rows = learner.selected_[learner.selected_ != wrong]
    answer(table, rows, data[TARGET][rows])
    table.write_text(f"{table.read_text()}\n{wrong},{value},wrong state")
    with pytest.warns(KernchemWarning, match=rf"structure {wrong} .*was 7\.0 and is now wrong st"):
        learner.run(data)
    assert learner.failed_ == {wrong: "wrong state"}
    assert np.isnan(learner.labels_[wrong])
    assert learner.selected_.tolist() == rows.tolist()
    assert len(learner.waiting_) == min(stop - 11, 6)
    expected = model().fit(data[rows], data[TARGET][rows]).predict(data)
    np.testing.assert_allclose(learner.model_.predict(data), expected, rtol=1e-9)
    # What was paid for is the same, and so is what the next call finds.
    assert learner.history_[-1]["cost"] == 12.0
    assert learner.history_[-1]["labels"] == 11
    learner.run(data)
    assert learner.failed_ == {wrong: "wrong state"}
    np.testing.assert_allclose(learner.model_.predict(data), expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["labelled.xyz", "history.csv", "questions.xyz", "history.png"])
def test_files_of_others_are_not_replaced(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ResumeError, match=rf"{name} and no campaign.*name another folder"):
        campaign(tmp_path, stop=12).run(pool(20))
    assert (tmp_path / name).read_text() == "mine"
    assert not (tmp_path / "asked.log").exists()
    assert not (tmp_path / "journal.jsonl").exists()


def test_labels_in_the_questions_are_answers(tmp_path):
    data, path = pool(20), tmp_path / "questions.xyz"
    learner = campaign(tmp_path, stop=12)
    learner.oracle = None
    first = learner.run(data).waiting_
    assert learner.run(data).waiting_.tolist() == first.tolist()
    asked = ase_read(path, ":")
    for atoms in asked[1:]:
        atoms.info["energy"] = data[TARGET][atoms.info["pool_index"]]
    write(path, asked, format="extxyz")
    learner.run(data)
    assert learner.waiting_.tolist() == first[:1].tolist()
    np.testing.assert_allclose(learner.labels_[first[1:]], data[TARGET][first[1:]])
    # What cannot be read is not replaced.
    asked[0].info["energy"] = "much"
    write(path, asked[:1], format="extxyz")
    told = path.read_text()
    with pytest.raises(PropertyError, match="one number per structure"):
        learner.run(data)
    assert path.read_text() == told
