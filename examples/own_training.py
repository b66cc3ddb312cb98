"""Your own training loop: hypertune calls `train(trial)` and minimizes what it returns. Config: own_training.yaml."""

from __future__ import annotations

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from hypertune import Trial, TrialPruned, TrialResult


def train(trial: Trial) -> TrialResult:
    x, y = load_breast_cancer(return_X_y=True)
    x_rest, x_test, y_rest, y_test = train_test_split(x, y, test_size=0.2, random_state=0, stratify=y)
    x_train, x_val, y_train, y_val = train_test_split(x_rest, y_rest, test_size=0.25, random_state=0, stratify=y_rest)
    scaler = StandardScaler().fit(x_train)
    model = SGDClassifier(
        loss="log_loss",
        alpha=trial.params["alpha"],
        eta0=trial.params["eta0"],
        learning_rate="constant",
        random_state=trial.seed,
    )
    value = float("inf")
    for epoch in range(20):
        model.partial_fit(scaler.transform(x_train), y_train, classes=[0, 1])
        value = log_loss(y_val, model.predict_proba(scaler.transform(x_val)))
        trial.report(epoch, {"value": value})
        if trial.should_prune():
            raise TrialPruned(f"pruned in epoch {epoch}")
    accuracy = model.score(scaler.transform(x_test), y_test)
    return TrialResult(value, metrics={"test/accuracy": accuracy})
