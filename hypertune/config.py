"""config.yaml: what it may say, read strictly, with errors that name the key and the line."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticUndefined

from hypertune._secrets import redact_mapping, remember, secrets_in
from hypertune._yaml import dump_yaml, parse_value, read_yaml
from hypertune.errors import ConfigError, did_you_mean
from hypertune.registry import KINDS, names

__all__ = [
    "Component",
    "Config",
    "RunnerConfig",
    "SelfTuningConfig",
    "StudyConfig",
    "TasksConfig",
    "TrackingConfig",
    "TrialConfig",
    "json_schema",
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=True)


class Component(BaseModel):
    """A named part with options: ``tpe``, or ``{name: tpe, multivariate: false}``.

    Every key beside ``name`` is an option of the part itself, which checks it.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    name: str = Field(min_length=1, description="A shipped name, or my_module:attribute.")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and not (
            "name" in value or cls.model_fields["name"].default is PydanticUndefined
        ):
            return value  # a part with a name of its own: `runner: {workers: 2}`
        if not isinstance(value, cls) and not (isinstance(value, Mapping) and isinstance(value.get("name"), str)):
            raise ValueError(f"must be a name or a mapping with a name and options; given {value!r}")
        return value

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class StudyConfig(_Section):
    """What is searched for, and for how long."""

    name: str | None = Field(None, min_length=1, description="Study name; family, task and time of day by default.")
    direction: Literal["minimize", "maximize"] = Field("minimize", description="What to do with the metric.")
    metric: str = Field("val/loss", description="Reported metric that decides; test metrics are refused.")
    n_trials: int | None = Field(20, ge=1, description="Finished trials wanted; null: until the timeout.")
    timeout: float | None = Field(None, gt=0, description="Seconds after which no new trial starts.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the sampler, and through it of every trial.")
    storage: str | None = Field(None, description="Optuna storage URL; sqlite file study.db in the folder by default.")
    folder: str = Field("runs", description="Folder that holds one folder for each run.")

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str | None) -> str | None:
        if name is not None and (name in {".", ".."} or any(c in name for c in "/\\\0\n") or len(name) > 200):
            raise ValueError("a name is a folder name too: at most 200 characters, no slash, no line break")
        return name

    @field_validator("metric")
    @classmethod
    def _honest_metric(cls, metric: str) -> str:
        if metric.startswith("test/"):
            raise ValueError("selecting on a test metric makes it a validation metric; use val/...")
        return metric

    @model_validator(mode="after")
    def _ends(self) -> StudyConfig:
        if self.n_trials is None and self.timeout is None:
            raise ValueError("the study would never end; give n_trials or timeout")
        return self


class SelfTuningConfig(_Section):
    """How a trial tunes the hyperparameters marked ``self_tune`` while it trains."""

    enabled: bool | None = Field(None, description="null: when the sampler is one for self-tuning trials, such as stn.")
    algorithm: Literal["stn", "delta_stn"] = Field("stn", description="stn or delta_stn.")
    warmup: float = Field(0.08, ge=0, lt=1, description="Share of the epochs before tuning starts.")
    train_steps: int = Field(5, ge=1, description="Weight steps between two rounds of tuning.")
    tune_steps: int = Field(1, ge=1, description="Tune steps in a round.")
    lr: float = Field(0.05, gt=0, description="Learning rate of the unconstrained hyperparameters (Adam).")
    scale: float = Field(0.5, gt=0, description="Initial standard deviation of their perturbation.")
    tune_scale: bool = Field(True, description="Whether the perturbation scales are tuned too.")
    entropy: float = Field(1e-3, ge=0, description="Weight of the entropy bonus on the scales.")
    clip: float | None = Field(1.0, gt=0, description="Largest norm of the hyperparameters' gradient.")
    response_lr: float = Field(1.0, gt=0, description="Learning rate of the response, in that of the weights.")
    rank: int = Field(0, ge=0, description="0: weights of a unit scale together; r: along r learned directions.")
    per_example: bool = Field(True, description="A perturbation for every example, or one for the batch.")
    antithetic: bool = Field(True, description="Perturbations in pairs of opposite sign.")
    linearize: bool = Field(True, description="delta_stn: train the response on the linearised model.")
    tuning_fraction: float = Field(0.5, gt=0, lt=1, description="Share of validation to tune on; the rest selects.")
    include: list[str] = Field(["*"], description="Path patterns of the layers that respond.")
    exclude: list[str] = Field([], description="Path patterns of the layers that stay plain.")
    bind: dict[str, Any] = Field({}, description="Hyperparameter: dropout paths, or {action: paths}.")
    batch_axes: dict[str, int | Literal["merged"]] = Field({}, description="Path pattern: axis of the batch.")
    replay: str | None = Field(None, description="schedule.csv of a self-tuned trial to follow instead of tuning.")


class TrialConfig(_Section):
    """How one trial trains."""

    epochs: int = Field(20, ge=1, description="Passes over the training data.")
    batch_size: int = Field(128, ge=1, description="Examples in a batch.")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps, ...")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="Autocast type of the forward.")
    timeout: float | None = Field(None, gt=0, description="Seconds after which a trial is stopped and fails.")
    patience: int | None = Field(None, ge=1, description="Epochs without a better metric after which to stop.")
    grad_clip: float | None = Field(None, gt=0, description="Largest global gradient norm.")
    deterministic: bool = Field(False, description="Ask torch for deterministic algorithms.")
    reserve: float = Field(0.0, ge=0, lt=1, description="Share of validation that chooses nothing and certifies.")
    keep_checkpoints: Literal["best", "all", "none"] = Field("best", description="Which trials' weights stay on disk.")
    state_seconds: float | None = Field(
        60.0, ge=0, description="Seconds between saved states that an interrupted trial continues from; null: never."
    )
    init_from_hypernet: bool = Field(False, description="Begin trials with the weights a hypernetwork predicts.")
    self_tuning: SelfTuningConfig = Field(
        default_factory=SelfTuningConfig, description="true, false, or options: tuning inside the trial."
    )

    @field_validator("self_tuning", mode="before")
    @classmethod
    def _switch(cls, value: Any) -> Any:
        if value is None or isinstance(value, bool):
            return {"enabled": value}
        if isinstance(value, Mapping) and value and "enabled" not in value:
            return {"enabled": True, **value}  # options are given to be used
        return value


class RunnerConfig(Component):
    """Who runs the trials: ``inline`` (this process), ``local`` (worker processes) or ``ray`` (a cluster)."""

    name: str = "local"


class TasksConfig(BaseModel):
    """Many tasks for one configuration: ``my_module:tasks``, a folder of data sets, or a list of tasks.

    Every key beside those below is an option of the function, or of the folder.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    name: str | None = Field(None, min_length=1, description="my_module:tasks, or a folder of .csv and .npz files.")
    items: list[Component] = Field(default_factory=list, description="The tasks themselves: names, my_module:task.")
    count: int | None = Field(None, ge=2, description="Tasks to take, hold_out included; all by default.")
    hold_out: int = Field(0, ge=0, description="Tasks that choose nothing and certify who survives; the last ones.")

    @model_validator(mode="before")
    @classmethod
    def _forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, list | tuple):
            return {"items": list(value)}
        return value

    @model_validator(mode="after")
    def _enough(self) -> TasksConfig:
        if (self.name is None) == (not self.items):
            raise ValueError("give tasks by one name (my_module:tasks, or a folder), or as a list")
        known = self.count if self.count is not None else len(self.items) or None
        if self.items and known is not None and known > len(self.items):
            raise ValueError(f"count is {known}, and the list has {len(self.items)} tasks")
        if known is not None and known - self.hold_out < 2:
            raise ValueError(f"{known} tasks with {self.hold_out} held out leave fewer than 2 to search on")
        if self.hold_out == 1:
            raise ValueError("one held-out task certifies nothing; hold out at least 2, or 0")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """Everything that is not said above."""
        return dict(self.model_extra or {})


class TrackingConfig(_Section):
    """Where MLflow keeps the runs."""

    enabled: bool = Field(True, description="false: no MLflow; events stay in the run folder.")
    uri: str | None = Field(None, description="MLflow tracking URI; sqlite file mlflow.db in the folder by default.")
    experiment: str | None = Field(None, description="MLflow experiment; the family and task by default.")
    log_model: bool = Field(True, description="Log the best model with mlflow.pytorch.")
    # Called `register` in the file; an attribute of that name is abc's.
    registered_model: str | None = Field(
        None,
        alias="register",
        min_length=1,
        max_length=250,
        description="Registered model that the best model becomes a version of.",
    )
    report: bool = Field(True, description="Attach the study report to the study's run.")
    system_metrics: bool = Field(False, description="CPU, memory, disk and GPU of the driver's machine as metrics.")

    @field_validator("registered_model")
    @classmethod
    def _model_name(cls, name: str | None) -> str | None:
        if name is not None and (name in {".", ".."} or any(c in name for c in "/:\n'\"")):
            raise ValueError("the name of a registered model has no slash, colon, quote or line break")
        return name

    @model_validator(mode="after")
    def _something_to_register(self) -> TrackingConfig:
        if self.registered_model is not None and not self.log_model:
            raise ValueError("a model that is not logged cannot be registered; drop log_model: false, or register")
        return self


def _tracking_off(value: Any) -> Any:
    return {"enabled": False} if value in (None, "none") else value


class Config(_Section):
    """A whole search."""

    study: StudyConfig = Field(default_factory=StudyConfig)
    family: Component | None = Field(None, description="Model family: a name, or my_module:build.")
    objective: str | None = Field(None, description="my_module:train, instead of a family.")
    task: Component | None = Field(None, description="Data, loss and metrics: a name, or my_module:task.")
    tasks: TasksConfig | None = Field(None, description="Instead of task: many tasks that one configuration is for.")
    space: str | dict[str, Any] | None = Field(None, description="Shipped name, path, or inline mapping.")
    effects: list[str] = Field(default_factory=list, description="Effects of one's own: my_module:MyEffect, ...")
    sampler: Component = Field(default_factory=lambda: Component(name="tpe"), description="Who proposes parameters.")
    pruner: Component = Field(default_factory=lambda: Component(name="none"), description="Who stops bad trials early.")
    trial: TrialConfig = Field(default_factory=TrialConfig)
    runner: RunnerConfig = Field(default_factory=RunnerConfig)
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)
    source: str | None = Field(None, description="Folder that the user's modules and paths start from; set on load.")

    @field_validator("space", mode="before")
    @classmethod
    def _space_form(cls, value: Any) -> Any:
        if value is not None and not isinstance(value, str | Mapping):
            raise ValueError(f"must be a name, a path or a mapping; given {value!r}")
        return value

    @field_validator("tracking", mode="before")
    @classmethod
    def _tracking_none(cls, value: Any) -> Any:
        return _tracking_off(value)

    @model_validator(mode="after")
    def _one_model(self) -> Config:
        if (self.family is None) == (self.objective is None):
            both = self.family is not None
            raise ValueError(
                f"{'both' if both else 'neither'} family and objective given; exactly one says what is trained"
            )
        if self.tasks is not None:
            self._check_many_tasks()
        elif self.family is not None and self.task is None:
            raise ValueError("a family needs a task; add `task: digits`, or my_module:task")
        elif self.family is not None and self.pruner.name == "racing":
            raise ValueError("pruner racing compares candidates task by task; epochs of one task are none: use `tasks`")
        if self.tracking.registered_model is not None and (self.family is None or self.tasks is not None):
            raise ValueError("tracking.register needs the model of a family trained on one task")
        if self.objective is not None and self.task is not None:
            raise ValueError("an objective brings its own data; drop `task`")
        if self.objective is not None and self.effects:
            raise ValueError("an objective trains by itself; drop `effects`")
        if self.objective is not None and self.space is None:
            raise ValueError("an objective needs a space; add `space:` with a name, a path, or a mapping")
        return self

    def _check_many_tasks(self) -> None:
        if self.task is not None:
            raise ValueError("both task and tasks given; tasks is for one configuration across many of them")
        if self.objective is not None:
            raise ValueError("an objective brings its own data; drop `tasks`, and report a utility for each of yours")
        if self.trial.self_tuning.enabled:
            raise ValueError("a trial over many tasks does not tune itself: drop trial.self_tuning, or use `task`")

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Config:
        """Read a config file.

        Args:
            path: The YAML file.
            overrides: ``dotted.key=value`` texts that win over the file; values are YAML.

        Raises:
            ConfigError: The first thing that is wrong, with its dotted path and line.
        """
        file = Path(path)
        content, lines = read_yaml(file, where="config")
        if not isinstance(content, Mapping):
            raise ConfigError(
                f"{file.name} is no mapping", where="config", given=content, expected="keys such as family: and task:"
            )
        return cls.from_mapping(content, overrides, source=file.resolve().parent, file=file.name, lines=lines)

    @classmethod
    def from_mapping(
        cls,
        content: Mapping[str, Any],
        overrides: Sequence[str] = (),
        *,
        source: Path | None = None,
        file: str = "",
        lines: Mapping[str, int] | None = None,
    ) -> Config:
        """Build a config from its YAML form.

        Raises:
            ConfigError: The first thing that is wrong, with its dotted path.
        """
        merged = _merge(content, overrides)
        remember(secrets_in(merged))  # before anything can complain about it
        if source is not None:
            merged.setdefault("source", str(source))
        try:
            config = cls.model_validate(merged)
        except ValidationError as error:
            raise _config_error(error, merged, file, lines or {}) from None
        for section in ("family", "sampler", "pruner", "runner", "task"):
            _check_finite(getattr(config, section), section)
        return config

    def to_mapping(self) -> dict[str, Any]:
        """Return the YAML form with every default spelled out."""
        content: dict[str, Any] = self.model_dump(mode="json", exclude_none=False, by_alias=True)
        return {key: value for key, value in content.items() if value is not None}

    def to_yaml(self) -> str:
        """Return `to_mapping` as YAML text."""
        return dump_yaml(self.to_mapping())

    def fingerprint(self) -> str:
        """Return a short hash of everything that decides a trial's outcome.

        Where things are stored does not count, nor do credentials: the hash is shown, and a short password could be
        found from it.
        """
        content = redact_mapping(self.to_mapping())
        for section, keys in {"study": ("name", "storage", "folder", "n_trials", "timeout")}.items():
            for key in keys:
                content[section].pop(key, None)
        for section in ("tracking", "source", "runner"):
            content.pop(section, None)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def replace(self, **sections: Any) -> Config:
        """Return a copy with whole sections replaced."""
        return self.model_copy(update=sections)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of config.yaml, for editor completion; shipped names are offered, others allowed."""
    schema = Config.model_json_schema()
    schema.update({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "hypertune config"})
    schema["properties"].pop("source", None)
    for kind in (kind for kind in KINDS if kind in schema["properties"]):
        known = names(kind)
        options = schema["$defs"]["RunnerConfig" if kind == "runner" else "Component"]
        named = {**options, "properties": {"name": {"type": "string", "examples": known}}}
        description = schema["properties"][kind].get("description", options.get("description", ""))
        schema["properties"][kind] = {
            "description": description,
            "anyOf": [{"enum": known}, {"type": "string", "pattern": "^[A-Za-z_][\\w.]*:[A-Za-z_][\\w.]*$"}, named],
        }
    trial = schema["$defs"]["TrialConfig"]["properties"]
    trial["self_tuning"] = {"anyOf": [trial["self_tuning"], {"type": "boolean"}, {"type": "null"}]}
    schema["properties"]["tasks"] = {
        "description": schema["properties"]["tasks"]["description"],
        "anyOf": [{"$ref": "#/$defs/TasksConfig"}, {"type": "string"}, {"type": "array", "minItems": 2}],
    }
    schema["$defs"]["TasksConfig"]["properties"]["items"] = {"type": "array"}
    tracking = schema["properties"]["tracking"]
    schema["properties"]["tracking"] = {"anyOf": [tracking, {"const": "none"}, {"type": "null"}]}
    schema["$defs"].pop("Component", None)
    schema["$defs"].pop("RunnerConfig", None)
    return schema


def _merge(content: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    merged: dict[str, Any] = json.loads(json.dumps(content, default=_refuse))
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key.strip():
            raise ConfigError(
                "not an override", where="-o", given=override, expected="key=value, such as study.n_trials=5"
            )
        _assign(merged, key.strip().split("."), parse_value(text, where=f"-o {key.strip()}"))
    return merged


def _assign(target: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        inner = target.get(key)
        if isinstance(inner, str) and key in {*KINDS, "tasks"}:
            inner = {"name": inner}  # `-o task.n_train=500` on top of `task: digits`
        target[key] = inner if isinstance(inner, dict) else {}
        target = target[key]
    if isinstance(value, Mapping) and isinstance(target.get(keys[-1]), dict) and keys[-1] not in {"space"}:
        target[keys[-1]].update(value)
    else:
        target[keys[-1]] = value


def _refuse(value: Any) -> Any:
    raise ConfigError(
        "not a plain YAML value",
        where="config",
        given=value,
        expected="text, numbers, true/false, null, lists, mappings",
    )


def _config_error(error: ValidationError, content: Any, file: str, lines: Mapping[str, int]) -> ConfigError:
    first = min(error.errors(), key=lambda e: (0 if e["type"] == "extra_forbidden" else 1, len(e["loc"])))
    parts = [str(part) for part in first["loc"]]
    kind = first["type"]
    # A union reports each of its members; the user's path ends at the key.
    parts = [part for part in parts if part not in {"str", "dict[str,any]"}]
    path = ".".join(parts)
    line = next((lines[".".join(parts[:n])] for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in lines), None)
    where = f"{file}:{line}: {path or 'config'}" if file and line else f"{file}: {path or 'config'}" if file else path
    if kind == "extra_forbidden":
        known = _known_keys(parts[:-1])
        return ConfigError("unknown key", where=where, fix=did_you_mean(parts[-1], known))
    if kind == "value_error":
        return ConfigError(str(first["ctx"]["error"]), where=where or "config")
    message = first["msg"][0].lower() + first["msg"][1:]
    message = re.sub(r"a valid dictionary or instance of \w+", "a mapping of keys", message)
    return ConfigError(message.replace("input should be ", "must be "), where=where, given=first["input"])


def _known_keys(path: Sequence[str]) -> list[str]:
    model: Any = Config
    for part in path:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        annotation = fields[part].annotation
        model = next(
            (m for m in (annotation, *get_args(annotation)) if isinstance(m, type) and issubclass(m, BaseModel)), None
        )
        if model is None:
            return []
    return [field.alias or name for name, field in model.model_fields.items() if name != "source"]


def _check_finite(component: Component | None, where: str) -> None:
    for key, value in (component.options if component else {}).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError("not a finite number", where=f"{where}.{key}", given=value)
