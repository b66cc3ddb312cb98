"""Plot how hyperparameters moved inside a self-tuned trial.

python examples/plot_schedule.py runs/<study>/trials/0003/schedule.csv [picture.svg]
"""

import sys

import matplotlib
import pandas as pd

matplotlib.use("Agg")
from matplotlib import pyplot

_COLUMNS = 3


def main(schedule: str, picture: str = "schedule.svg") -> None:
    table = pd.read_csv(schedule, index_col="step")
    rows = -(-len(table.columns) // _COLUMNS)
    figure, axes = pyplot.subplots(rows, _COLUMNS, figsize=(2.6 * _COLUMNS, 1.9 * rows), squeeze=False)
    for axis, name in zip(axes.flat, table.columns, strict=False):
        axis.plot(table.index, table[name])
        axis.set(title=name, xlabel="gradient step")
        if table[name].min() > 0 and table[name].max() > 20 * table[name].min():
            axis.set_yscale("log")
    for axis in axes.flat[len(table.columns) :]:
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(picture)
    print(f"wrote {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:])
