"""Registers a study's best model: a version of a registered model, with the alias ``champion`` on the best of them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

__all__ = ["CHALLENGER", "CHAMPION", "register_model"]

CHAMPION = "champion"
CHALLENGER = "challenger"
_VALUE = "hypertune.value"
_MODEL_ID = "hypertune.model_id"  # a search does not return MLflow's own field for it
# Values compare only between models that were chosen by the same number on the same task.
_SAME = ("hypertune.metric", "hypertune.direction", "hypertune.task")


def register_model(
    client: MlflowClient, name: str, *, model_id: str, run_id: str, value: float, tags: Mapping[str, str], note: str
) -> str:
    """Make a logged model a version of a registered model, unless it is one; return the version.

    The alias ``champion`` moves to the new version when there is no champion, when the champion was chosen by another
    metric or on another task, or when the new one's value is better. Otherwise the new version is the ``challenger``.

    Args:
        client: MLflow client.
        name: Registered model; made when it does not exist.
        model_id: Id of the logged model.
        run_id: The study's run.
        value: Value that the study compared.
        tags: Tags of the version, ``hypertune.metric`` and ``hypertune.direction`` among them.
        note: Description of the version, in Markdown.

    Raises:
        Exception: Whatever MLflow raises, on a store without a model registry for one.
    """
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name, description="Best models of hypertune studies.")
    version = _existing(client, name, model_id) or client.create_model_version(
        name,
        source=f"models:/{model_id}",
        run_id=run_id,
        model_id=model_id,
        tags={**tags, _VALUE: repr(value), _MODEL_ID: model_id},
        description=note,
    )
    number = str(version.version)
    champion = _by_alias(client, name, CHAMPION)
    if champion is None or str(champion.version) == number or _better(value, tags, champion):
        client.set_registered_model_alias(name, CHAMPION, number)
        challenger = _by_alias(client, name, CHALLENGER)
        if challenger is not None and str(challenger.version) == number:
            client.delete_registered_model_alias(name, CHALLENGER)
    else:
        client.set_registered_model_alias(name, CHALLENGER, number)
    return number


def _existing(client: MlflowClient, name: str, model_id: str) -> ModelVersion | None:
    quoted = name.replace("'", "''")
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name='{quoted}'", page_token=token)
        for version in page:
            if version.name == name and version.tags.get(_MODEL_ID) == model_id:
                return version
        token = page.token
        if not token:
            return None


def _by_alias(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    version = client.get_registered_model(name).aliases.get(alias)
    return None if version is None else client.get_model_version(name, str(version))


def _better(value: float, tags: Mapping[str, str], champion: ModelVersion) -> bool:
    if any(champion.tags.get(name) != tags.get(name) for name in _SAME):
        return True
    try:
        before = float(champion.tags.get(_VALUE, "nan"))
    except ValueError:
        before = math.nan
    if math.isnan(before):
        return True
    return value < before if tags.get("hypertune.direction") == "minimize" else value > before
