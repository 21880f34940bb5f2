"""Stop rules by hand, the journal under cuts, answers from files, and models that follow labels."""

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.io import read as ase_read
from ase.io import write

from kernchem.datasets import load_qm_small
from kernchem.descriptors import CoulombMatrix
from kernchem.errors import (
    FileFormatError,
    PropertyError,
    ResumeError,
    SettingError,
    StructureError,
)
from kernchem.kernels import Laplacian
from kernchem.models import GPR, KRR, DeltaLearner
from kernchem.sampling import Budget, Patience, ProjectedGain, TargetError
from kernchem.sampling.campaign.folder import Journal
from kernchem.sampling.campaign.following import Follower, bounds_of_mae
from kernchem.sampling.campaign.oracles import make_oracle, read_answers, write_questions
from kernchem.sampling.campaign.stop import stop_rule


def row(labels=0, loo=None, upper=None, gain=None, refit="chosen", cost=0.0):
    return {
        "labels": labels, "loo_mae": loo, "loo_upper": upper, "gain": gain, "refit": refit,
        "cost": cost,
    }  # fmt: skip


def rounds_until(rule, rows):
    """Number of rounds after which a rule stops first, None if it never does."""
    found = (n for n in range(1, len(rows) + 1) if rule.reason(rows[:n]))
    return next(found, None)


@pytest.mark.parametrize(
    ("rule", "rows", "stops"),
    [
        (TargetError(1.0), [row(loo=0.5, upper=1.1), row(loo=0.9, upper=1.0)], 2),
        (TargetError(1.0), [row(), row(loo=0.5, upper=1.1)], None),
        (Patience(2), [row(loo=x) for x in (3, 2, 2, 1.9, 2, 1.9)], 6),
        (Patience(2, 0.1), [row(loo=x) for x in (3, 2, 1.9, 1.85)], 4),
        (Patience(2), [row(), row(), row(), row(loo=1.0)], None),
        (ProjectedGain(0.1), [row(gain=9.0, refit=None), row(gain=1.0), row(gain=0.09)], 3),
        (ProjectedGain(0.5, relative=False), [row(gain=1.0), row(gain=0.5), row(gain=0.4)], 3),
        (Budget(labels=10), [row(labels=5), row(labels=10)], 2),
        (Budget(cost=7.5), [row(cost=7.0), row(cost=7.5)], 2),
        (Budget(labels=5) | TargetError(1.0), [row(upper=2.0), row(upper=0.9)], 2),
        (Budget(labels=5) & TargetError(1.0), [row(7, upper=2.0), row(8, upper=0.9)], 2),
    ],
)
def test_stop_rules(rule, rows, stops):
    assert rounds_until(rule, rows) == stops


def test_budget_before_a_question():
    assert Budget(labels=3).exhausted(2, 0.0, 1.0) is None
    assert "3 labels" in Budget(labels=3).exhausted(3, 0.0, 1.0)
    assert Budget(cost=3.0).exhausted(9, 2.0, 1.0) is None
    assert Budget(cost=3.0).exhausted(9, 2.0, 1.5)
    assert stop_rule([3, TargetError(1.0)]).exhausted(3, 0.0, 0.0)
    assert stop_rule(None).reason([row(9, upper=0.0)]) is None
    for wrong in (0, "x", 1.5):
        with pytest.raises(SettingError):
            stop_rule(wrong)


def test_bounds_are_those_of_normal_means(rng):
    residuals = rng.normal(size=400)
    mean, lower, upper = bounds_of_mae(np.append(residuals, np.nan), 0)
    sizes = np.abs(residuals)
    width = 1.645 * sizes.std() / 20
    assert mean == pytest.approx(sizes.mean())
    assert (mean - lower, upper - mean) == pytest.approx((width, width), rel=0.15)


def test_journal_cut_at_every_byte(tmp_path):
    Journal(tmp_path, {"a": 1}).append({"k": 0})
    journal = tmp_path / "journal.jsonl"
    whole = len(journal.read_bytes())
    Journal(tmp_path, {"a": 1}).append({"k": 1})
    content = journal.read_bytes()
    for end in range(whole, len(content)):
        journal.write_bytes(content[:end])
        opened = Journal(tmp_path, {"a": 1})
        assert opened.records == [{"k": 0}]
        opened.append({"k": 2})
        assert Journal(tmp_path, {"a": 1}).records == [{"k": 0}, {"k": 2}]
    journal.write_bytes(content[:12] + b"X" + content[13:])
    with pytest.raises(ResumeError, match="line 1 is damaged"):
        Journal(tmp_path, {"a": 1})
    # A line with an end was written as a whole, so that what it tells is not lost.
    journal.write_bytes(content[:-3] + b"X" + content[-2:])
    with pytest.raises(ResumeError, match="line 2 is damaged"):
        Journal(tmp_path, {"a": 1})


def test_another_campaign_and_another_process(tmp_path):
    Journal(tmp_path, {"a": 1}).append({"k": 0})
    with pytest.raises(ResumeError, match="a was 1 and is now 2"):
        Journal(tmp_path, {"a": 2})
    refused = pytest.raises(ResumeError, match="another process")
    with Journal.locked(tmp_path), refused, Journal.locked(tmp_path):
        pass
    with Journal.locked(tmp_path):
        pass


def test_answers_of_oracles():
    pool = load_qm_small()[:3]

    def fails(structure):
        if structure.sizes[0] == pool.sizes[0]:
            raise ArithmeticError("no convergence")
        return [1.0]

    ask, _ = make_oracle(fails)
    assert ask(pool[:1]).reason == "ArithmeticError: no convergence"
    assert make_oracle(lambda _: np.nan)[0](pool[:1]).reason == "the label is nan"
    for wrong in ([1.0, 2.0], True, "1.5", None):
        told = make_oracle(lambda _, wrong=wrong: wrong)[0](pool[:1]).reason
        assert "not one number" in told
    stored, _ = make_oracle("atomization_energy")
    assert stored(pool[1:2]) == (pool["atomization_energy"][1], "")
    assert make_oracle(None)[0] is None
    with pytest.raises(SettingError, match="use a function of structures"):
        make_oracle(3)


def test_questions_and_answers(tmp_path):
    pool, path = load_qm_small()[:10], tmp_path / "ask.xyz"
    write_questions(path, pool, [7, 2, 4])
    asked = ase_read(path, ":")
    assert [atoms.info["pool_index"] for atoms in asked] == [7, 2, 4]
    assert all("atomization_energy" not in atoms.info for atoms in asked)
    asked[0].info["e"], asked[2].info["failed"] = 1.5, "no convergence"
    write(path, asked, format="extxyz")
    answers = read_answers(path, "e", pool)
    assert answers[7] == (1.5, "")
    assert answers[4].reason == "no convergence"
    assert 2 not in answers
    asked[0].positions[0] += 0.1
    write(path, asked, format="extxyz")
    with pytest.raises(StructureError, match="pool_index 7"):
        read_answers(path, "e", pool)
    table = tmp_path / "answers.csv"
    table.write_text("pool_index,e\n3,-1e2\n5,\n")
    assert read_answers(table, "e", pool) == {3: (-100.0, "")}
    table.write_text("pool_index,e\n3,x\n")
    with pytest.raises(FileFormatError, match="line 2"):
        read_answers(table, "e", pool)
    with pytest.raises(PropertyError, match="no 'f'"):
        read_answers(table, "f", pool)


@pytest.mark.parametrize("kind", ["gpr", "delta", "krr"])
def test_following_equals_a_full_refit(kind):
    data = load_qm_small()[:120]
    labels = data["atomization_energy"]
    settings = {"descriptor": CoulombMatrix(), "alpha": 1e-4, "optimizer": None}
    kernel = Laplacian(30.0)
    inner = KRR(kernel, **settings) if kind == "krr" else GPR(kernel, **settings)
    baseline = data["gfn2_atomization_energy"]
    model = DeltaLearner(inner, "gfn2_atomization_energy", slope=1) if kind == "delta" else inner
    follower = Follower(model)
    how = [follower.learn(data[:n], labels[:n]) for n in (40, 55, 70, 80)]
    between = "refitted" if kind == "krr" else "appended"
    assert how == ["chosen", between, between, "chosen"]
    assert follower.learn(data[:90], labels[:90]) == between
    targets = labels - baseline if kind == "delta" else labels
    full = type(inner)(kernel, **settings).fit(data[:90], targets[:90])
    expected = full.predict(data[90:]) + (baseline[90:] if kind == "delta" else 0.0)
    np.testing.assert_allclose(follower.model.predict(data[90:]), expected, rtol=1e-9)


def test_wrong_rules():
    for wrong in (
        Budget, lambda: Budget(labels=0), lambda: Budget(cost=-1.0), lambda: Patience(0),
        lambda: Patience(2, 1.0), lambda: TargetError(0.0), lambda: ProjectedGain(-1.0),
        lambda: Patience(2, "a"), lambda: Patience(2, -0.1),
    ):  # fmt: skip
        with pytest.raises(SettingError):
            wrong()
    both = Budget(labels=5) & Budget(cost=2.0)
    assert both.exhausted(5, 1.0, 0.5) is None
    assert "5 labels" in both.exhausted(5, 2.0, 0.5)
    assert Budget(labels=5).reason([]) is None


def test_new_elements_and_copies_are_learnt_by_a_refit():
    data = load_qm_small()
    labels = data["atomization_energy"]
    fluorine = np.array([9 in one.numbers for one in data])
    without, rows = np.flatnonzero(~fluorine)[:60], np.flatnonzero(fluorine)[:5]
    model = GPR(descriptor=CoulombMatrix())
    follower = Follower(model)
    assert follower.learn(data[without], labels[without]) == "chosen"
    every = np.concatenate([without, rows])
    kernel, alpha = follower.model.kernel_, follower.model.alpha_
    assert follower.learn(data[every], labels[every]) == "refitted"
    assert follower.model.kernel_ == kernel
    assert follower.model.alpha_ == alpha
    full = GPR(kernel, descriptor=CoulombMatrix(), alpha=alpha, optimizer=None)
    expected = full.fit(data[every], labels[every]).predict(data)
    np.testing.assert_allclose(follower.model.predict(data), expected, rtol=1e-9)


def test_a_delta_learner_keeps_its_hyperparameters():
    data = load_qm_small()[:70]
    labels = data["atomization_energy"]
    follower = Follower(DeltaLearner(KRR(descriptor=CoulombMatrix()), "gfn2_atomization_energy"))
    follower.learn(data[:50], labels[:50])
    kernel = follower.model.model_.kernel_
    assert follower.learn(data, labels) == "refitted"
    assert follower.model.model_.kernel_ == kernel


def test_no_residuals_have_no_bounds():
    assert bounds_of_mae(np.full(3, np.nan), 0) == (None, None, None)


def test_damaged_folders(tmp_path):
    Journal(tmp_path, {"a": 1}).append({"k": 0})
    run = tmp_path / "campaign.json"
    run.write_text("[]")
    with pytest.raises(ResumeError, match=r"campaign\.json is damaged"):
        Journal(tmp_path, {"a": 1})
    run.unlink()
    with pytest.raises(ResumeError, match=r"lies there without campaign\.json"):
        Journal(tmp_path, {"a": 1})


def test_a_folder_is_bound_by_its_first_record(tmp_path):
    Journal(tmp_path, {"a": 1})
    other = Journal(tmp_path, {"a": 2})
    assert not list(tmp_path.iterdir())
    other.append({"k": 0})
    with pytest.raises(ResumeError, match="a was 2 and is now 1"):
        Journal(tmp_path, {"a": 1})


def test_answers_of_spreadsheets(tmp_path):
    pool, table = load_qm_small()[:10], tmp_path / "answers.csv"
    table.write_text("pool_index,e\n3,1.5\n", encoding="utf-8-sig")
    assert read_answers(table, "e", pool)[3].label == 1.5
    table.write_text("pool_index,e,failed\n3,,größer\n", encoding="latin-1")
    with pytest.raises(FileFormatError, match=r"answers\.csv, line 2.*UTF-8"):
        read_answers(table, "e", pool)


def test_wrong_answers(tmp_path):
    pool, path, table = load_qm_small()[:10], tmp_path / "ask.xyz", tmp_path / "answers.csv"
    for text, error in (("99,1.0", StructureError), ("3,1.0\n3,2.0", FileFormatError)):
        table.write_text(f"pool_index,e\n{text}\n")
        with pytest.raises(error, match="pool_index"):
            read_answers(table, "e", pool)
    for text, message in (
        ("pool_index,e\n3,-1289,5", "line 2 has more cells"),
        ("pool_index,e\n3,1_000", "1_000"),
        ("pool_index,e\n1_0,1.0", "1_0"),
        ("pool_index,e,e\n3,1.0,2.0", "column occurs twice"),
        ('pool_index,e\n3,"' + "1" * 200_000, "field larger"),
    ):
        table.write_text(text)
        with pytest.raises(FileFormatError, match=message):
            read_answers(table, "e", pool)
    write_questions(path, pool, [7, 2])
    asked = ase_read(path, ":")
    for atoms in asked:
        atoms.info["e"] = 1.0
    asked[0].info["failed"] = True
    write(path, asked, format="extxyz")
    assert read_answers(path, "e", pool)[7].reason == "failed"
    asked[0].info["pool_index"] = 7.5
    write(path, asked, format="extxyz")
    with pytest.raises(PropertyError, match="no pool_index"):
        read_answers(path, "e", pool)
    asked[0].info["pool_index"] = "seven"
    write(path, asked, format="extxyz")
    with pytest.raises(PropertyError, match="one number per structure"):
        read_answers(path, "e", pool)


def test_calculators_label():
    def factory():
        return EMT()

    ask, identity = make_oracle(factory)
    assert "factory" in identity
    data = load_qm_small()
    k = next(k for k, one in enumerate(data) if set(one.numbers) <= {1, 6, 7, 8})
    atoms = data[k].to_ase()
    atoms.calc = EMT()
    assert ask(data[k : k + 1]).label == pytest.approx(
        atoms.get_potential_energy() * 23.060548, rel=1e-6
    )
    with pytest.raises(PropertyError, match="not one real number"):
        make_oracle("smiles")[0](data[:1])
