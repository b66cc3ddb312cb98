"""Tasks drawn at random from scikit-learn's handwritten digits: each user has three digits and a noisy scanner."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.datasets import load_digits

Pair = tuple[np.ndarray, np.ndarray]


def tasks(seed: int, rows: int = 120) -> Iterator[dict[str, Pair]]:
    """Independent tasks without end: which digits, which rows, which pixels, and how much noise are all drawn."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    rng = np.random.default_rng(seed)
    while True:
        digits = rng.choice(10, 3, replace=False)
        chosen = rng.permutation(np.flatnonzero(np.isin(y, digits)))[:rows]
        seen = rng.random(64) < rng.uniform(0.3, 1.0)  # pixels that this scanner has
        noise = rng.uniform(0, 0.5) * rng.standard_normal((rows, 64))
        inputs = (x[chosen] * seen + noise).astype(np.float32)
        labels = np.searchsorted(np.sort(digits), y[chosen])
        cut = rows // 3
        yield {"train": (inputs[cut:], labels[cut:]), "val": (inputs[:cut], labels[:cut])}
