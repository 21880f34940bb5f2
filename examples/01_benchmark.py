"""Learning curves from Python: two descriptors on the molecules that come with kernchem.

The mean absolute error over the number of training molecules, of atomisation energies learnt
directly and as a correction to GFN2-xTB. The command line has the same: ``kernchem benchmark``.
"""

import argparse
from pathlib import Path

from kernchem.benchmark import learning_curves
from kernchem.datasets import load_qm_small


def main(out: Path, repeats: int) -> None:
    """Measure, print and save."""
    curves = learning_curves(
        load_qm_small(),
        "atomization_energy",
        baseline="gfn2_atomization_energy",
        descriptors=["bob", "encoded-bonds-3"],
        sizes=[100, 200, 400],
        repeats=repeats,
        unit="kcal/mol",
        out=out,  # started again, an interrupted run goes on here
        overwrite=True,
    )
    print("mean absolute error / kcal/mol")
    for row in curves.summary():
        print(
            f"{row['mode']:8}{row['descriptor']:18}N = {row['n_train']:4}"
            f"{row['mae']:8.2f} ± {row['mae_std']:.2f}"
        )
    print(f"figure: {out / 'learning_curves.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("kernchem-benchmark-example"))
    parser.add_argument("--repeats", type=int, default=3)
    main(**vars(parser.parse_args()))
