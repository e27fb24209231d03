"""What a fitted law says of a run nobody has made yet."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from configs.errors import UserError
from scaling.fitted import Fit
from scaling.intervals import check_level, percentile
from scaling.laws import known_law
from scaling.noise import shifted

_SEED = 0  # of the noise of the run itself: a forecast repeats exactly


@dataclasses.dataclass(frozen=True, eq=False)
class Forecast:
  """A prediction for one run, with the interval that its own value should meet.

  `lower` and `upper` are None where the fit allows no interval.
  """

  value: float
  lower: float | None
  upper: float | None
  level: float
  ratios: dict[str, float]  # of the run to the largest fitted one, by column
  warnings: tuple[str, ...]
  samples: np.ndarray  # [R], draws of the run's value
  shocks: np.ndarray  # [R], the noise in them, of unit size

  def to_tree(self) -> dict:
    """All but the draws, as plain data for JSON."""
    tree = {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
      if field.name not in ('samples', 'shocks')
    }
    return tree | {'warnings': list(self.warnings)}


def from_tree(tree: Mapping[str, Any]) -> Forecast:
  """A forecast as `to_tree` wrote it, without its draws."""
  fields = {**tree, 'warnings': tuple(tree['warnings'])}
  return Forecast(**fields, samples=np.empty(0), shocks=np.empty(0))


class ForecastScore(NamedTuple):
  """How a forecast compares with what was then measured."""

  relative_error: float | None  # (forecast - truth) / truth; None of a truth 0
  covered: bool | None  # None without an interval
  half_width_share: float | None  # half the interval over the truth


def forecast(
  fit: Fit,
  at: Mapping[str, float],
  *,
  level: float = 0.9,
  items: int | None = None,
) -> Forecast:
  """Forecasts the value of a run.

  The interval is one for a single new run: beside the law's own uncertainty it
  holds the noise of one run, of seeds and of misfit, as found in the fit.

  Args:
    fit: of a law in `scaling.laws.LAWS`.
    at: the law's inputs of the run, in the fit's conventions; `flops` beside
      them is checked for how far it lies from the fitted runs.
    level: of the interval.
    items: that a score will be measured on, whose sampling is then in the
      interval.

  Raises:
    UserError: an input missing, or a number that is not above 0.
  """
  check_level(level)
  law = known_law(fit.law)
  missing = [name for name in law.inputs if name not in at]
  if missing:
    raise UserError(f'a forecast of {law.name} needs {", ".join(missing)}')
  for name, number in at.items():
    if not 0 < number < np.inf:
      raise UserError(f'{name} = {number}: expected a number above 0')
  columns = {name: np.array([at[name]]) for name in law.inputs}
  value = law.predict(fit.params_P, columns)[0]
  samples_R = shock_R = np.empty(0)
  if len(fit.samples):
    shock_R = np.random.default_rng(_SEED).standard_normal(len(fit.noise))
    samples_R = shifted(
      fit.space,
      law.predict(fit.samples, columns)[:, 0],
      fit.noise * shock_R,
    )
  if items is not None:
    samples_R = sampled(samples_R, items, np.random.default_rng(_SEED + 1))
  ratios, said = extrapolation(fit, at)
  told = [*fit.warnings, *said]
  return summarize(value, samples_R, level, ratios, told, shock_R)


def sampled(
  rate_R: np.ndarray, items: int, rng: np.random.Generator
) -> np.ndarray:
  """Shares right of so many items, each right with the given rate.

  Raises:
    UserError: no items.
  """
  if items < 1:
    raise UserError(f'items = {items}: at least 1')
  return rng.binomial(items, np.clip(rate_R, 0, 1)) / items


def through(fit: Fit, loss_R: np.ndarray, shock_R: np.ndarray) -> np.ndarray:
  """Scores of runs by draws of a law from loss to score, one by one.

  Args:
    fit: of that law.
    loss_R: draws of the loss, as many as the law has or fewer.
    shock_R: noise about the law, of unit size.
  """
  count = len(loss_R)
  expected_R = known_law(fit.law).predict(
    fit.samples[:count], {'loss': loss_R[:, None]}
  )[:, 0]
  return shifted(fit.space, expected_R, fit.noise[:count] * shock_R)


def extrapolation(
  fit: Fit, at: Mapping[str, float]
) -> tuple[dict[str, float], list[str]]:
  """How far a run lies beyond the fitted ones, and where that is too far.

  Returns:
    The ratio to the largest fitted value by column; and a warning for each that
    exceeds what the fitted runs span themselves.
  """
  ratios, said = {}, []
  for name, number in at.items():
    if name not in fit.domain:
      continue
    smallest, largest = fit.domain[name]
    ratios[name] = number / largest
    if name == 'loss':  # falls as runs grow
      ratios[name] = smallest / number
    if ratios[name] > largest / smallest:
      said.append(
        f'{ratios[name]:.3g}x the largest fitted {name}, beyond the '
        f'{largest / smallest:.3g}x that the fitted runs span'
      )
  return ratios, said


def score_forecast(forecast: Forecast, truth: float) -> ForecastScore:
  """Compares a forecast with the measured value.

  Raises:
    UserError: a truth below 0.
  """
  if not 0 <= truth < np.inf:
    raise UserError(f'truth = {truth}: expected a number of at least 0')
  covered = half_width = None
  if forecast.lower is not None and forecast.upper is not None:
    covered = forecast.lower <= truth <= forecast.upper
    if truth > 0:
      half_width = (forecast.upper - forecast.lower) / 2 / truth
  error = (forecast.value - truth) / truth if truth > 0 else None
  return ForecastScore(error, covered, half_width)


def summarize(
  value: float,
  samples_R: np.ndarray,
  level: float,
  ratios: Mapping[str, float],
  warnings: list[str],
  shocks_R: np.ndarray | None = None,
) -> Forecast:
  """A forecast from its point value and draws; none, no interval."""
  lower = upper = None
  if len(samples_R):
    lower, upper = map(float, percentile(samples_R, level))
  return Forecast(
    value=float(value),
    lower=lower,
    upper=upper,
    level=level,
    ratios={name: float(ratio) for name, ratio in ratios.items()},
    warnings=tuple(dict.fromkeys(warnings)),
    samples=samples_R,
    shocks=np.empty(0) if shocks_R is None else shocks_R,
  )
