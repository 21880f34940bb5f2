"""Settings files of ``kernchem train``: wrong values are told first, with the name of the file."""

import pytest
from command import runner

from kernchem.benchmark.candidates import DESCRIPTORS
from kernchem.cli import main
from kernchem.cli.choice import checked_settings
from kernchem.models.recipes import RECIPES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[descriptor]\nname = "soap"\nr_cut = "5"\n', "r_cut='5'"),
        ('[descriptor]\nname = "soap"\nn_max = 100\n', "n_max=100"),
        ('descriptor = "bob"\n[kernel]\nname = "polynomial"\ndegree = 0\n', "degree"),
        ('descriptor = "bob"\n[kernel]\nname = "laplacian"\nlength_scale = -1\n', "length_scale"),
    ],
)
def test_wrong_values_in_settings_are_told_before_molecules_are_read(tmp_path, text, message):
    path = tmp_path / "e.toml"
    path.write_text(text)
    more = ["--target", "energy", "--settings", path, "--out", tmp_path / "m.kc"]
    result = runner().invoke(main, ["train", str(tmp_path / "absent.xyz"), *map(str, more)])
    assert result.exit_code == 2
    assert f"{path}: " in result.stderr
    assert message in result.stderr
    assert "absent.xyz" not in result.stderr


@pytest.mark.parametrize("name", [*DESCRIPTORS, *RECIPES])
def test_right_settings_suit_the_molecule_that_checks_them(tmp_path, name):
    (tmp_path / "e.toml").write_text(f'descriptor = "{name}"\n')
    settings, _ = checked_settings(tmp_path / "e.toml")
    assert settings.kernel == "auto"
