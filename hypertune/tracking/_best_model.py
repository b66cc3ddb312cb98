"""Logs the best trial's model to the study's run: ``mlflow.pytorch.load_model("runs:/<run id>/model")``."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlflow.entities import LoggedModel, LoggedModelStatus
from mlflow.tracking import MlflowClient

from hypertune.tracking._names import key, param_text
from hypertune.tracking._store import used_store
from hypertune.tracking.contract import LoadModel

__all__ = ["MODEL_NAME", "log_best_model"]

MODEL_NAME = "model"
_TRIAL_TAG = "hypertune.trial"
# What `mlflow models serve` installs; naming it spares MLflow's own guess, which loads the model in a new process.
_REQUIREMENTS = ("mlflow", "torch", "numpy", "hypertune")


def log_best_model(
    client: MlflowClient,
    *,
    uri: str,
    experiment_id: str,
    run_id: str,
    trial: int,
    params: Mapping[str, str],
    load_model: LoadModel,
    code_paths: Sequence[str],
) -> str | None:
    """Log the model of a trial unless that was done before, and remove what an earlier best or a crash left.

    The module is pickled, not exported as a graph: any module can be logged, it comes back as the same class, and
    logging takes one second instead of five. Loading it needs the module's class, from an installed package or from
    ``code_paths``.

    Returns:
        Id of the logged model; None when the trial has none.

    Raises:
        Exception: Whatever the callable, torch or MLflow raises; a model half logged is removed by the next call.
    """
    ready = None
    for model in _models_of(client, experiment_id, run_id):
        if model.tags.get(_TRIAL_TAG) == str(trial) and model.status == LoggedModelStatus.READY and ready is None:
            ready = model
        else:  # `runs:/<run id>/model` has to name one model only
            client.delete_logged_model(model.model_id)
    if ready is not None:
        return str(ready.model_id)

    loaded = load_model(trial)
    if loaded is None:
        return None
    module, example = loaded
    module = module.cpu().eval()
    logged = client.create_logged_model(
        experiment_id,
        name=MODEL_NAME,
        source_run_id=run_id,
        tags={_TRIAL_TAG: str(trial)},
        params={key(name): param_text(value) for name, value in params.items()},
    )
    with used_store(uri):
        _log(module, example, run_id=run_id, model_id=logged.model_id, code_paths=list(code_paths) or None)
    return str(logged.model_id)


def _log(module: Any, example: Any, **options: Any) -> None:
    # Imported here alone: torch and MLflow's flavor take seconds and are of no use to a study without a model.
    import mlflow.pytorch
    import torch
    from mlflow.models import infer_signature

    signature = None
    if example is not None:
        with torch.no_grad():
            output = module(torch.as_tensor(example))
        if isinstance(output, torch.Tensor) and not output.is_complex():
            # MLflow has no complex type: such models are logged without signature and example.
            signature = None if example.dtype.kind == "c" else infer_signature(example, output.numpy())
    mlflow.pytorch.log_model(
        module,
        name=MODEL_NAME,
        signature=signature,
        input_example=None if signature is None else example,
        pip_requirements=list(_installed()),
        serialization_format="pickle",
        step=-1,  # MLflow copies the run's metrics of this step to the model; the caller knows which belong to it
        **options,
    )


def _models_of(client: MlflowClient, experiment_id: str, run_id: str) -> list[LoggedModel]:
    models: list[LoggedModel] = []
    token: str | None = None
    while True:
        page = client.search_logged_models([experiment_id], filter_string=f"name = '{MODEL_NAME}'", page_token=token)
        models += [model for model in page if model.source_run_id == run_id]
        token = page.token
        if not token:
            return models


def _installed() -> Iterator[str]:
    for name in _REQUIREMENTS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            # A local version, such as 2.13.0+cpu, is on no package index.
            yield f"{name}=={importlib.metadata.version(name).partition('+')[0]}"
