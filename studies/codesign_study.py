"""Where the trials of a co-design are kept and who proposes them: Optuna studies in SQLite, PostgreSQL or memory."""

from __future__ import annotations

import time
import uuid
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dse.errors import ConfigError, MissingDependencyError, Problem, nearest
from dse.studies.codesign import SAMPLERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import optuna


@dataclass
class Trials:
    """Trials of a co-design: a study in memory that proposes, and the stored one it shares with other processes."""

    proposing: optuna.Study
    stored: optuna.Study
    _owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    _seen: int = 0

    def pull(self) -> list[optuna.trial.FrozenTrial]:
        """Take over trials that others stored since, and return them."""
        every = self.stored.get_trials(deepcopy=False)
        new = [trial for trial in every[self._seen :] if trial.user_attrs.get("owner") != self._owner]
        self._seen = len(every)
        self.proposing.add_trials(new)
        return new

    def push(self, numbers: Sequence[int]) -> None:
        """Store finished trials of this process."""
        import optuna

        every = self.proposing.get_trials(deepcopy=False)
        for number in numbers:
            trial = every[number]
            self.stored.add_trial(
                optuna.create_trial(
                    values=trial.values,
                    params=trial.params,
                    distributions=trial.distributions,
                    user_attrs={**trial.user_attrs, "owner": self._owner},
                    system_attrs=trial.system_attrs,
                )
            )


def open_study(storage: str, name: str, sampler: str, seed: int, population: int, objectives: int) -> Trials:
    """A study of that name in a storage (a database URL), begun or continued.

    Raises
    ------
    ConfigError
        No such sampler.
    MissingDependencyError
        The database, or its driver, cannot be reached.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    if sampler not in SAMPLERS:
        message = f"'{sampler}' is not one of {', '.join(SAMPLERS)}{nearest(sampler, SAMPLERS)}"
        raise ConfigError(Problem(message, path="--sampler"))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    directions: list[Literal["minimize"]] = ["minimize"] * objectives
    try:
        stored = _stored(storage, name, directions)
        begun = len(stored.get_trials(deepcopy=False))
    except ImportError as error:
        name = getattr(error.__cause__, "name", None) or getattr(error, "name", None) or "its driver"
        where = storage.partition(":")[0]
        raise MissingDependencyError(
            f"a storage of kind {where} needs {name}: pip install '{name}[binary]'"
        ) from error
    except (SQLAlchemyError, OSError) as error:
        raise MissingDependencyError(
            f"cannot open the storage of trials: {str(error).splitlines()[0]}"
        ) from error
    # The same seed again would propose the same designs again.
    proposing = optuna.create_study(
        sampler=_sampler(sampler, seed + begun, population), directions=directions
    )
    return Trials(proposing, stored)


def _stored(storage: str, name: str, directions: list[Literal["minimize"]]) -> optuna.Study:
    """The stored study; tried twice, as another process may be making the tables of a new database just now."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    given: dict[str, Any] = {"storage": storage, "study_name": name, "directions": directions}
    try:
        return optuna.create_study(**given, load_if_exists=True)
    except SQLAlchemyError:
        time.sleep(1.0)
        return optuna.create_study(**given, load_if_exists=True)


def _sampler(name: str, seed: int, population: int) -> optuna.samplers.BaseSampler:
    from optuna import samplers
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.simplefilter("ignore", FutureWarning)  # constraints set by trials are new in optuna 5
        if name == "random":
            return samplers.RandomSampler(seed)
        shared: dict[str, Any] = {"seed": seed, "constraints_func": violation}
        if name == "tpe":
            return samplers.TPESampler(multivariate=True, **shared)
        kind = samplers.NSGAIISampler if name == "nsga2" else samplers.NSGAIIISampler
        return kind(population_size=population, **shared)


def violation(trial: optuna.trial.FrozenTrial) -> Sequence[float]:
    """How far a trial is over each limit; none above 0 for an allowed one."""
    found: list[float] = trial.user_attrs.get("violation", [1.0])
    return found
