"""Plot how hyperparameters moved inside a self-tuned trial.

python examples/plot_schedule.py runs/<study>/trials/0003/schedule.csv [picture.svg]
"""

import sys

import matplotlib
import pandas as pd

matplotlib.use("Agg")
from matplotlib import pyplot


def main(schedule: str, picture: str = "schedule.svg") -> None:
    table = pd.read_csv(schedule, index_col="step")
    figure, axes = pyplot.subplots(1, len(table.columns), figsize=(2.4 * len(table.columns), 2.2), squeeze=False)
    for axis, name in zip(axes[0], table.columns, strict=True):
        axis.plot(table.index, table[name])
        axis.set(title=name, xlabel="gradient step")
        if table[name].min() > 0 and table[name].max() > 20 * table[name].min():
            axis.set_yscale("log")
    figure.tight_layout()
    figure.savefig(picture)
    print(f"wrote {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:])
