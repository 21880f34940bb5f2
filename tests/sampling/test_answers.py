"""Campaigns that ask the user: answers, corrections, and what they do to the files."""

import numpy as np
import pytest
from ase.io import read as ase_read
from ase.io import write
from campaign_oracle import TARGET, answer, campaign, model, pool

from kernchem.errors import FileFormatError, KernchemWarning
from kernchem.sampling import BatchSelector


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


@pytest.mark.filterwarnings("ignore:.*cannot be left out")
def test_answers_can_be_corrected(tmp_path):
    data, labels, table = pool(30), pool(30)[TARGET], tmp_path / "answers.csv"
    learner = campaign(tmp_path, stop=18)
    learner.oracle = None
    first = learner.run(data).waiting_
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
    data, labels, table = pool(30), pool(30)[TARGET], tmp_path / "answers.csv"
    learner = campaign(tmp_path, stop=18)
    learner.oracle = None
    first = learner.run(data).waiting_
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
