"""Recipes for what trials run: picklable, and doing their heavy imports only where they are called.

The driver hands a recipe to its workers; torch, and whatever the user's module imports, is loaded there.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypertune._family_options import fixed_hyperparameters
from hypertune.config import Component, Config
from hypertune.errors import ConfigError, SpaceError, StorageError, TaskError, did_you_mean
from hypertune.records import Direction, Params, ParamValue, TaskSpec, TrialResult
from hypertune.registry import add_import_folder, load, load_attribute
from hypertune.space import SearchSpace
from hypertune.training.trial import Objective, Trial

if TYPE_CHECKING:
    from torch import nn

    from hypertune.families.contract import Family
    from hypertune.tasks.contract import Task
    from hypertune.training.mip import HypernetworkSettings, MIPPredictor
    from hypertune.training.self_tuning_settings import SelfTuningSettings
    from hypertune.training.settings import TrainingSettings

__all__ = ["BestModel", "FamilyObjective", "UserObjective", "load_family", "load_task", "source_folder"]

_PREFLIGHT_POINTS = 8


def source_folder(config: Config) -> Path:
    """Return the folder that the user's modules and relative paths start from."""
    return Path(config.source) if config.source else Path.cwd()


@dataclass(frozen=True, slots=True)
class UserObjective:
    """Recipe for ``objective: my_module:train``.

    Attributes:
        reference: The import reference.
        folder: Folder that the module may lie in.
    """

    reference: str
    folder: Path

    def __call__(self) -> Objective:
        """Import the user's function.

        Raises:
            ConfigError: It is missing, or cannot be called with one trial.
        """
        add_import_folder(self.folder)
        objective = load_attribute(self.reference, where="objective")
        if not callable(objective):
            raise ConfigError(
                "not a function", where="objective", given=objective, expected="train(trial) -> float | TrialResult"
            )
        try:
            inspect.signature(objective).bind(object())
        except TypeError as error:
            raise ConfigError(
                f"cannot be called as train(trial): {error}", where="objective", given=self.reference
            ) from error
        except ValueError:
            pass  # a builtin without a signature; calling it will tell
        return objective  # type: ignore[no-any-return]

    def moved(self, folder: Path) -> UserObjective:
        """Return the recipe for a machine where the module lies in another folder."""
        return replace(self, folder=folder)


@dataclass(frozen=True, slots=True)
class FamilyObjective:
    """Recipe for a family trained on a task.

    Attributes:
        config: The config; its family and task are set.
        space: The search space.
        self_tuning: Whether trials tune themselves when the config leaves it to the sampler.
        hypernetwork: File of the hypernetwork whose predicted weights trials begin from, or what is in it.
    """

    config: Config
    space: SearchSpace
    self_tuning: bool = False
    hypernetwork: Path | bytes | None = None

    def __call__(self) -> Objective:
        """Load data and family, and try models over the space before any trial is spent on one that cannot work.

        Raises:
            HypertuneError: Family, task, metric or space do not fit each other.
        """
        from hypertune.training.fit import fit
        from hypertune.training.preflight_self_tuning import check_self_tuning

        family, task, settings = self.load()
        self.preflight(family, task, settings)
        if settings.self_tuning is not None:
            check_self_tuning(family, task, self.points()[-1], settings, self.space)
        fixed = self.fixed
        if self.hypernetwork is not None:
            family = self._begun(family, self.load_hypernetwork(self.hypernetwork))

        def objective(trial: Trial) -> TrialResult:
            trial.params = {**fixed, **trial.params}
            return fit(trial, family, task, settings, space=self.space)

        return objective

    @property
    def folder(self) -> Path:
        """Folder that the user's modules and relative paths start from."""
        return source_folder(self.config)

    def moved(self, folder: Path) -> FamilyObjective:
        """Return the recipe for a machine where that folder is another one."""
        return replace(self, config=self.config.replace(source=str(folder)))

    def packed(self) -> FamilyObjective:
        """Return the recipe for a machine that does not have the run folder.

        Raises:
            StorageError: The hypernetwork's file cannot be read.
        """
        if not isinstance(self.hypernetwork, Path):
            return self
        try:
            return replace(self, hypernetwork=self.hypernetwork.read_bytes())
        except OSError as error:
            raise StorageError(
                f"the hypernetwork cannot be read: {error.strerror or error}",
                where="sampler.hypernetwork",
                given=str(self.hypernetwork),
                fix="`hypertune resume` trains it again where it is missing",
            ) from error

    def preflight(self, family: Family, task: Task, settings: TrainingSettings) -> None:
        """Check that names and metric fit, and build and run models over the space on the task's data.

        Raises:
            HypertuneError: Family, task, metric or space do not fit each other.
        """
        from hypertune.training.preflight import check_model

        self.check_names(family)
        self.check_metric(task)
        reads = _Reads(family)
        check_model(reads.family, task, self.points(), settings)
        reads.check(self.space, {*self.tuned_by_name, *self.space.self_tuned} if settings.self_tuning else ())

    def load(self) -> tuple[Family, Task, TrainingSettings]:
        """Load what the config names.

        Raises:
            HypertuneError: A name or an option is unknown or wrong.
        """
        assert self.config.task is not None
        family = self.load_family()
        return family, load_task(self.config.task, source_folder(self.config)), self.settings()

    def load_family(self) -> Family:
        """Load the family, and the effects that its trials may name.

        Raises:
            HypertuneError: A name or an option is unknown or wrong.
        """
        from hypertune.effects.catalogue import register_effect

        config = self.config
        assert config.family is not None
        add_import_folder(source_folder(config))
        for index, reference in enumerate(config.effects):
            register_effect(load_attribute(reference, where=f"effects.{index}"))
        return load_family(config.family, source_folder(config))

    def settings(self) -> TrainingSettings:
        """Return the training room's settings."""
        from hypertune.training.settings import TrainingSettings

        trial = self.config.trial.model_dump(
            exclude={"timeout", "keep_checkpoints", "init_from_hypernet", "self_tuning"}
        )
        direction: Direction = self.config.study.direction
        return TrainingSettings(
            metric=self.config.study.metric, direction=direction, self_tuning=self._self_tuning(), **trial
        )

    def _self_tuning(self) -> SelfTuningSettings | None:
        from hypertune.training.self_tuning_settings import SelfTuningSettings

        options = self.config.trial.self_tuning.model_dump()
        enabled, replay = options.pop("enabled"), options.pop("replay")
        if enabled is None:
            enabled = self.self_tuning and bool(self.space.self_tuned)
        if not enabled:
            return None
        path = None if replay is None else str(source_folder(self.config) / replay)
        for name in ("include", "exclude"):
            options[name] = tuple(options[name])
        return SelfTuningSettings(**options, replay=path)

    @property
    def tuned_by_name(self) -> set[str]:
        """Hyperparameters that only a self-tuning trial reads: bound by the config, or acting on weights by name."""
        from hypertune.hypernets.binding import ACTIONS

        return {*self.config.trial.self_tuning.bind, *ACTIONS[1:]} & self.space.self_tuned

    def check_names(self, family: Family) -> None:
        """Check that family or training reads every hyperparameter.

        Raises:
            SpaceError: One of the space is read by neither.
            ConfigError: One of the family's options is.
        """
        from hypertune.training.hyperparameters import HYPERPARAMETERS

        if family.hyperparameters is None:
            return
        known = {*family.hyperparameters, *HYPERPARAMETERS}
        if self.settings().self_tuning is not None:
            known |= self.tuned_by_name
        expected = f"a hyperparameter of family {family.name!r} or of the training loop"
        for name in self.space.names:
            if name not in known:
                raise SpaceError(
                    "nothing reads it", where=f"space.{name}", expected=expected, fix=did_you_mean(name, known)
                )
        for name, value in self.fixed.items():
            if name not in known:
                raise ConfigError(
                    "nothing reads it",
                    where=f"family.{name}",
                    given=value,
                    expected=expected,
                    fix=did_you_mean(name, known),
                )

    def check_metric(self, task: Task) -> None:
        """Check that the study's metric will be reported.

        Raises:
            ConfigError: It will not.
        """
        from hypertune.training.fit import metric_names

        metric, known = self.config.study.metric, metric_names(task)
        if metric not in known:
            raise ConfigError(
                "the task reports no such metric",
                where="study.metric",
                given=metric,
                expected=", ".join(known),
                fix=did_you_mean(metric, known),
            )

    @property
    def fixed(self) -> dict[str, Any]:
        """Hyperparameters that the family's options fix."""
        return fixed_hyperparameters(self.config.family.options) if self.config.family else {}

    def hypernetwork_settings(self) -> tuple[HypernetworkSettings, dict[str, ParamValue]]:
        """Return how the config's hypernetwork is trained, and the values that what it does not cover has meanwhile.

        Raises:
            ConfigError: An option is unknown or out of range.
        """
        from hypertune.training.mip import HypernetworkSettings

        where, options = "sampler.hypernetwork", self.config.sampler.options.get("hypernetwork") or {}
        if not isinstance(options, Mapping):
            raise ConfigError("not options", where=where, given=options, expected="a mapping, such as {epochs: 100}")
        setting = options.get("setting", {})
        if not isinstance(setting, Mapping):
            raise ConfigError("no values by name", where=f"{where}.setting", given=setting, expected="{lr: 0.01}")
        known = [field.name for field in fields(HypernetworkSettings)]
        for name, value in options.items():
            if name not in known and name != "setting":
                raise ConfigError(
                    "the hypernetwork has no such option",
                    where=f"{where}.{name}",
                    given=value,
                    fix=did_you_mean(name, [*known, "setting"]),
                )
        plain = {name: value for name, value in options.items() if name != "setting"}
        for name in ("hidden", "include", "exclude"):
            if isinstance(plain.get(name), list):
                plain[name] = tuple(plain[name])
        for name in setting:
            if name not in self.space.names:
                raise ConfigError(
                    "no hyperparameter of the space",
                    where=f"{where}.setting.{name}",
                    given=setting[name],
                    fix=did_you_mean(name, self.space.names),
                )
        return HypernetworkSettings(**plain), {**self.fixed, **setting}

    def load_hypernetwork(self, file: Path | bytes) -> MIPPredictor:
        """Load the hypernetwork that was trained for this config.

        Args:
            file: Its path, or its content.

        Raises:
            HypertuneError: The file is missing or damaged, or belongs to another space, model or task.
        """
        from hypertune.training.mip import load_predictor

        family, task, settings = self.load()
        options, setting = self.hypernetwork_settings()
        source = BytesIO(file) if isinstance(file, bytes) else file
        return load_predictor(source, family, task, self.space, settings, options=options, setting=setting)

    def _begun(self, family: Family, predictor: MIPPredictor) -> Family:
        """Return the family with the weights that the hypernetwork predicts."""

        def build(params: Params, task: TaskSpec) -> nn.Module:
            model = family.build(params, task)
            model.load_state_dict(predictor.initial_weights(params))
            return model

        return replace(family, build=build)

    def points(self) -> list[dict[str, ParamValue]]:
        """Return configurations over the space, corners and fixed hyperparameters included, to try models on."""
        ends = [self.space.decode([end] * len(self.space)) for end in (0.0, 1.0)]
        points = [*ends, *self.space.sample(_PREFLIGHT_POINTS, seed=0)]
        return [{**self.fixed, **self.space.active(point)} for point in points]


@dataclass(frozen=True, slots=True)
class BestModel:
    """Recipe for loading a trial's best epoch: ``(module in eval mode, one batch of example inputs)``."""

    objective: FamilyObjective
    trials: Path

    def __call__(self, number: int) -> tuple[nn.Module, Any]:
        """Load the model of one trial.

        Raises:
            HypertuneError: Its weights are missing or do not fit.
        """
        from hypertune.training.batches import first_batch
        from hypertune.training.checkpoint import load_model

        family, task, _ = self.objective.load()
        model = load_model(self.trials / f"{number:04d}" / "best.pt", family, task.spec)
        x, _ = first_batch(task.train, batch_size=2)
        return model, x.cpu().numpy()


def load_family(component: Component, folder: Path) -> Family:
    """Load a family by name or reference.

    Raises:
        HypertuneError: It is unknown, or is no family.
    """
    from hypertune.families.contract import as_family

    add_import_folder(folder)
    return as_family(load("family", component.name, where="family"), name=component.name)


def load_task(component: Component, folder: Path) -> Task:
    """Load a task by name or reference, with its options.

    Raises:
        HypertuneError: It is unknown, an option is unknown or wrong, or the data is.
    """
    from hypertune.tasks._adapt import as_task
    from hypertune.tasks.contract import Task

    add_import_folder(folder)
    make, options = load("task", component.name, where="task"), component.options
    if isinstance(make, Task):
        return make
    if not callable(make):
        return as_task(make, name=component.name)
    signature = inspect.signature(make)
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
    for name, value in options.items():
        if name not in signature.parameters and not open_ended:
            known = list(signature.parameters)
            raise ConfigError(
                f"task {component.name!r} has no such option",
                where=f"task.{name}",
                given=value,
                fix=did_you_mean(name, known),
            )
    try:
        made = make(**options)
    except (ImportError, TypeError, ValueError, KeyError, OSError, RuntimeError) as error:
        raise TaskError(
            f"task {component.name!r} does not load: {type(error).__name__}: {error}",
            where="task",
            fix="make the task's function work by itself first",
        ) from error
    return as_task(made, name=component.name)


class _Reads:
    """Notes which hyperparameters a family's builder reads."""

    def __init__(self, family: Family) -> None:
        from hypertune.families.contract import Family

        self._declared = family.hyperparameters
        self._name = family.name
        self._seen: set[str] = set()
        self.family = Family(family.name, lambda params, task: family.build(_Noted(params, self._seen), task))

    def check(self, space: SearchSpace, elsewhere: Collection[str] = ()) -> None:
        """Check that a user's plain function reads what the space searches.

        Args:
            space: The search space.
            elsewhere: Names that something else reads.

        Raises:
            SpaceError: It never read one, and the training loop does not either.
        """
        from hypertune.training.hyperparameters import HYPERPARAMETERS

        if self._declared is not None:
            return
        for name in space.names:
            if name not in self._seen and name not in HYPERPARAMETERS and name not in elsewhere:
                raise SpaceError(
                    f"nothing reads it: neither the training loop nor {self._name}",
                    where=f"space.{name}",
                    fix=did_you_mean(name, HYPERPARAMETERS, fallback="read it in build(params, task), or remove it"),
                )


class _Noted(Mapping[str, ParamValue]):
    def __init__(self, params: Params, seen: set[str]) -> None:
        self._params, self._seen = params, seen

    def __getitem__(self, name: str) -> ParamValue:
        self._seen.add(name)
        return self._params[name]

    def __iter__(self) -> Iterator[str]:
        self._seen.update(self._params)
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)
