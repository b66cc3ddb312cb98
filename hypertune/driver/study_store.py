"""The Optuna study of a run: live in memory, mirrored into its durable storage.

Optuna's SQL storage commits every parameter of every trial by itself: about 70 ms for a trial of ten parameters on a
SQLite file, more than everything else a trial costs outside its training. So samplers and pruners work on a study in
memory, and the durable storage gets each trial in one piece: when it starts, and again when something about it
changed. Trials that start and end between two flushes cost one transaction. What a killed driver had not flushed is
in the journal of events (see `hypertune.driver.recovery`).
"""

from __future__ import annotations

import contextlib
import copy
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage, get_storage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from hypertune.errors import StorageError
from hypertune.records import Direction
from hypertune.samplers._ask import ask
from hypertune.space import SearchSpace

__all__ = ["StudyStore", "open_storage", "storage_errors"]


class StudyStore:
    """A study that only this driver writes.

    Attributes:
        study: The live study; its trial numbers are those of the durable storage.
        exhausted: Whether the sampler has nothing left to propose, as a grid has after its last point.
    """

    def __init__(self, storage: BaseStorage, name: str, sampler: BaseSampler, pruner: BasePruner) -> None:
        """Load a study that exists in ``storage``.

        Raises:
            StorageError: The storage cannot be read, or has no such study.
        """
        self._durable = storage
        self._name = name
        self._live = InMemoryStorage()
        with storage_errors():
            self._durable_id = storage.get_study_id_from_name(name)
            direction = storage.get_study_directions(self._durable_id)[0]
            trials = storage.get_all_trials(self._durable_id)
            attributes = storage.get_study_system_attrs(self._durable_id)
            kept = storage.get_study_user_attrs(self._durable_id)
        self.study = optuna.create_study(
            storage=self._live,
            sampler=sampler,
            pruner=pruner,
            study_name=name,
            direction=direction,
        )
        self.exhausted = False
        # Samplers that run out of values stop the study, which Optuna allows inside its own loop only.
        self.study.stop = self._exhaust  # type: ignore[method-assign]
        self._live_id = self._live.get_study_id_from_name(name)
        for key, value in attributes.items():
            self._live.set_study_system_attr(self._live_id, key, value)
        for key, value in kept.items():
            self._live.set_study_user_attr(self._live_id, key, value)
        self._attributes = dict(attributes)
        self._ids: dict[int, int] = {}
        self._mirrored: dict[int, FrozenTrial] = {}
        for trial in trials:
            self.study.add_trial(trial)
            self._ids[trial.number] = trial._trial_id
            if not trial.state.is_finished():
                self._mirrored[trial.number] = trial
        self._running: dict[int, Trial] = {}
        self._dirty: set[int] = set()

    @classmethod
    def create(
        cls, storage: BaseStorage, name: str, direction: Direction, sampler: BaseSampler, pruner: BasePruner
    ) -> StudyStore:
        """Create the study in ``storage``.

        Raises:
            StorageError: The storage cannot be written, or has a study of that name.
        """
        with storage_errors():
            try:
                storage.create_new_study([StudyDirection[direction.upper()]], name)
            except optuna.exceptions.DuplicatedStudyError as error:
                raise StorageError(
                    "the Optuna storage has a study of that name already",
                    where="study.name",
                    given=name,
                    fix="choose another study.name, or continue it with `hypertune resume`",
                ) from error
        return cls(storage, name, sampler, pruner)

    def ask(self, space: SearchSpace) -> Trial:
        """Sample the next trial, conditional hyperparameters after what they depend on; a queued one comes first."""
        trial = ask(self.study, space)
        self._running[trial.number] = trial
        self._dirty.add(trial.number)
        return trial

    def report(self, number: int, step: int, value: float) -> bool:
        """Record an intermediate value and return whether the pruner wants the trial to stop."""
        trial = self._running[number]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The reported value is ignored")
            trial.report(value, step)
        self._dirty.add(number)
        return trial.should_prune()

    def tell(
        self, number: int, state: TrialState, value: float | None = None, attributes: Mapping[str, Any] | None = None
    ) -> None:
        """End a running trial; ``attributes`` become its user attributes."""
        trial = self._running.pop(number)
        for key, content in (attributes or {}).items():
            trial.set_user_attr(key, content)
        self.study.tell(trial, value if state is TrialState.COMPLETE else None, state=state)
        self._dirty.add(number)

    def keep(self, key: str, value: Any) -> None:
        """Make something a user attribute of the study, in the durable storage at once.

        Raises:
            StorageError: The storage cannot be written.
        """
        self._live.set_study_user_attr(self._live_id, key, value)
        with storage_errors():
            self._durable.set_study_user_attr(self._durable_id, key, value)

    def trials(self) -> Sequence[FrozenTrial]:
        """Return all trials, by number; not to be modified."""
        return self.study.get_trials(deepcopy=False)

    def flush(self) -> None:
        """Write what changed to the durable storage.

        Raises:
            StorageError: The storage cannot be written, or another process writes to the same study.
        """
        with storage_errors():
            for key, value in self._live.get_study_system_attrs(self._live_id).items():
                if self._attributes.get(key) != value:
                    self._durable.set_study_system_attr(self._durable_id, key, value)
                    self._attributes[key] = value
            trials = self.trials()
            created = []
            for number in sorted(self._dirty):
                if self._mirror(trials[number]):
                    created.append(number)
                self._dirty.discard(number)
            if created:
                self._check_alone(created[-1])

    def _exhaust(self) -> None:
        self.exhausted = True

    def _mirror(self, trial: FrozenTrial) -> bool:
        """Write one trial; returns whether it was new to the durable storage."""
        number, created = trial.number, False
        if number in self._ids:
            self._update(self._ids[number], self._mirrored[number], trial)
        else:
            self._ids[number] = self._durable.create_new_trial(self._durable_id, template_trial=trial)
            created = True
        if trial.state.is_finished():
            self._mirrored.pop(number, None)
        else:
            self._mirrored[number] = _snapshot(trial)
        return created

    def _check_alone(self, number: int) -> None:
        if self._durable.get_trial(self._ids[number]).number != number:
            raise StorageError(
                "another process writes to this study",
                where="study.storage",
                given=self._name,
                expected="one driver for each study",
                fix="stop the other one, or give this search its own study.name",
            )

    def _update(self, identifier: int, old: FrozenTrial, new: FrozenTrial) -> None:
        durable = self._durable
        for name, value in new.params.items():
            if name not in old.params:
                distribution = new.distributions[name]
                durable.set_trial_param(identifier, name, distribution.to_internal_repr(value), distribution)
        for step, value in new.intermediate_values.items():
            if step not in old.intermediate_values:
                durable.set_trial_intermediate_value(identifier, step, value)
        for key, value in new.user_attrs.items():
            if key not in old.user_attrs or old.user_attrs[key] != value:
                durable.set_trial_user_attr(identifier, key, value)
        for key, value in new.system_attrs.items():
            if key not in old.system_attrs or old.system_attrs[key] != value:
                durable.set_trial_system_attr(identifier, key, value)
        if new.state is not old.state:
            durable.set_trial_state_values(identifier, new.state, new.values)


def _snapshot(trial: FrozenTrial) -> FrozenTrial:
    # Optuna's `Trial` changes its cached copy in place, so a reference would not stay what was written.
    copied = copy.copy(trial)
    copied.params, copied.intermediate_values = dict(trial.params), dict(trial.intermediate_values)
    copied.user_attrs, copied.system_attrs = dict(trial.user_attrs), dict(trial.system_attrs)
    return copied


def open_storage(url: str, *, create: bool = True) -> BaseStorage:
    """Open an Optuna storage by URL.

    A new SQLite file gets write-ahead logging: commits are cheaper, and a dashboard can read while the search writes.

    Raises:
        StorageError: The URL is not one, its driver is missing, or the database cannot be opened or written.
    """
    file = _sqlite_file(url)
    if file is None:
        with storage_errors(url):
            return get_storage(url)
    if not create and not file.exists():
        raise StorageError("the Optuna storage is not there", where="study.storage", given=url, fix="check the path")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(file, timeout=10)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            if create:
                connection.execute("BEGIN IMMEDIATE")
                connection.rollback()
    except (OSError, sqlite3.Error) as error:
        raise _storage_error(error, url) from error
    with storage_errors(url):
        return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 10}})


@contextlib.contextmanager
def storage_errors(url: str | None = None) -> Iterator[None]:
    """Turn what a storage raises into one `StorageError`."""
    try:
        yield
    except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError, OSError, KeyError, ImportError) as error:
        raise _storage_error(error.__cause__ or error, url) from error


def _storage_error(error: BaseException, url: str | None) -> StorageError:
    cause = str(getattr(error, "orig", None) or error).splitlines()[0]
    fixes: dict[str, str] = {
        "locked": "close the program that holds the file open for writing, then try again",
        "readonly": "make the file and its folder writable, or name another study.storage",
        "read-only": "make the file and its folder writable, or name another study.storage",
        "full": "free disk space, then `hypertune resume`",
        "No space": "free disk space, then `hypertune resume`",
        "unable to open": "make the folder writable, or name another study.storage",
        "not a database": "name another file; this one is no SQLite database",
        "Permission": "make the folder writable, or name another study.storage",
    }
    fix = next((fix for part, fix in fixes.items() if part in cause), "check study.storage and that its server is up")
    given: dict[str, Any] = {} if url is None else {"given": url}
    return StorageError(f"the Optuna storage fails: {cause}", where="study.storage", fix=fix, **given)


def _sqlite_file(url: str) -> Path | None:
    try:
        parsed = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError as error:
        raise StorageError(
            "not a storage URL", where="study.storage", given=url, expected="such as sqlite:///runs/study.db"
        ) from error
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return None
    return Path(parsed.database)
