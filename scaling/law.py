"""What every law shares: its interface and the fit it gives."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from configs.errors import UserError
from scaling.points import Points


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
  """A fitted law with all that a forecast with an interval needs.

  `samples` are bootstrap refits, columns ordered as `params`; `noise`
  beside them is the standard deviation of one run about the law, in the log of
  the value (a loss) or in the value itself (a score). Both are empty where too
  few points allow no interval.
  """

  law: str
  params: dict[str, float]  # named as in the law's paper
  intervals: dict[str, tuple[float, float]]  # percentile, at `level`
  objective: float
  n: int  # points fitted, seeds of one rung averaged
  conventions: dict[str, str]
  warnings: tuple[str, ...]
  level: float
  samples: np.ndarray  # [R, P]
  noise: np.ndarray  # [R]
  domain: dict[str, tuple[float, float]]  # smallest and largest fitted input

  @property
  def params_P(self) -> np.ndarray:
    return np.asarray(list(self.params.values()))

  def to_json(self) -> str:
    """The fit as JSON, exact to the last bit, samples included."""
    tree = {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
      if field.name not in ('samples', 'noise')
    }
    tree |= {
      'samples': self.samples.tolist(),
      'noise': self.noise.tolist(),
    }
    return json.dumps(tree, allow_nan=False) + '\n'


def fit_from_json(text: str) -> Fit:
  """The fit that `Fit.to_json` wrote.

  Raises:
    UserError: text that is no such JSON.
  """
  try:
    tree: dict[str, Any] = json.loads(text)
    samples, noise = tree.pop('samples'), tree.pop('noise')
    pairs = {
      key: {name: (low, high) for name, (low, high) in tree.pop(key).items()}
      for key in ('intervals', 'domain')
    }
    return Fit(
      **tree | {'warnings': tuple(tree['warnings'])} | pairs,
      samples=np.asarray(samples, np.float64).reshape(
        len(samples), len(tree['params'])
      ),
      noise=np.asarray(noise, np.float64),
    )
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    raise UserError(
      f'no fit ({error!r}): expected what scaling.fit --out writes'
    ) from error


class Estimate(NamedTuple):
  """The optimum of a law's objective, by the law's own parameters."""

  params: np.ndarray  # [P]
  objective: float
  converged: bool


class Refits(NamedTuple):
  """Optima for other values or weights of the same points."""

  params: np.ndarray  # [R, P]
  objective: np.ndarray  # [R]
  converged: np.ndarray  # [R]


class Law(Protocol):
  """A law of loss against parameters and tokens; a module can be one.

  `delta` is Huber's: residuals of log loss count squared below it and in
  proportion above it; `inf` is least squares.
  """

  NAME: str
  PARAMS: tuple[str, ...]

  def estimate(self, points: Points, delta: float) -> Estimate:
    """Finds the law's optimum on `points`."""

  def refit(
    self,
    points: Points,
    estimate: Estimate,
    delta: float,
    value_RxM: np.ndarray,
    weight_RxM: np.ndarray,
  ) -> Refits:
    """Fits again with other values and weights, from `estimate`."""

  def predict(
    self, params_P: np.ndarray, params: np.ndarray, tokens: np.ndarray
  ) -> np.ndarray:
    """The loss at (params, tokens); leading axes of `params_P` are kept."""

  def bounds_met(self, params_P: np.ndarray, points: Points) -> list[str]:
    """Names, as text, what of `params_P` lies at the edge of what is sought."""


def percentile_intervals(
  names: Sequence[str], samples_RxP: np.ndarray, level: float
) -> dict[str, tuple[float, float]]:
  """Equal-tailed percentile interval of each parameter, by name."""
  if not len(samples_RxP):
    return {}
  tail = (1 - level) / 2
  low_P, high_P = np.quantile(samples_RxP, [tail, 1 - tail], axis=0)
  return {
    name: (float(low), float(high))
    for name, low, high in zip(names, low_P, high_P, strict=True)
  }


def check_level(level: float) -> None:
  """Raises UserError unless `level` is a probability of an interval."""
  if not (math.isfinite(level) and 0 < level < 1):
    raise UserError(f'level = {level}: expected between 0 and 1, such as 0.9')


def domain(columns: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
  """Smallest and largest value of each named column."""
  return {
    name: (float(np.min(column)), float(np.max(column)))
    for name, column in columns.items()
  }
