"""What a fitted law says of a run nobody has made yet."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from configs.errors import UserError
from scaling import sigmoid
from scaling.fit import LAWS
from scaling.law import Fit, check_level

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
  flops_ratio: float  # of the run to the largest fitted one
  params_ratio: float
  warnings: tuple[str, ...]
  samples: np.ndarray  # [R], draws of the run's value

  def to_tree(self) -> dict:
    """All but the draws, as plain data for JSON."""
    tree = {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
      if field.name != 'samples'
    }
    return tree | {'warnings': list(self.warnings)}


def from_tree(tree: Mapping[str, Any]) -> Forecast:
  """A forecast as `to_tree` wrote it, without its draws."""
  fields = {**tree, 'warnings': tuple(tree['warnings'])}
  return Forecast(**fields, samples=np.empty(0))


class ForecastScore(NamedTuple):
  """How a forecast compares with what was then measured."""

  relative_error: float  # (forecast - truth) / truth
  covered: bool | None  # None without an interval
  half_width_share: float | None  # half the interval over the truth


def forecast(
  fit: Fit, params: float, tokens: float, flops: float, *, level: float = 0.9
) -> Forecast:
  """Forecasts the loss of a run.

  The interval is one for a single new run: beside the law's own uncertainty it
  holds the noise of one run, of seeds and of misfit, as found in the fit.

  Args:
    fit: of a law in `scaling.fit.LAWS`.
    params: of the run, in the fit's convention.
    tokens: of the run.
    flops: of the run, in the fit's convention.
    level: of the interval.

  Raises:
    UserError: a number that is not above 0, or a fit of another kind.
  """
  check_level(level)
  for name, number in (
    ('params', params),
    ('tokens', tokens),
    ('flops', flops),
  ):
    if not 0 < number < np.inf:
      raise UserError(f'{name} = {number}: expected a number above 0')
  if fit.law not in LAWS:
    raise UserError(f'{fit.law} is no law of loss: {", ".join(LAWS)} are')
  law = LAWS[fit.law]
  at = np.array([params]), np.array([tokens])
  value = law.predict(fit.params_P, *at)[0]
  shock_R = np.random.default_rng(_SEED).standard_normal(len(fit.noise))
  samples_R = law.predict(fit.samples, *at)[:, 0] * np.exp(fit.noise * shock_R)
  said = list(fit.warnings)
  ratios = {}
  for name, number in (('flops', flops), ('params', params)):
    smallest, largest = fit.domain[name]
    ratios[name] = number / largest
    if ratios[name] > largest / smallest:
      said.append(
        f'{ratios[name]:.3g}x the largest fitted {name}, beyond the '
        f'{largest / smallest:.3g}x that the fitted runs span'
      )
  return _forecast(value, samples_R, level, ratios, said)


def forecast_score(loss: Forecast, fit: Fit, *, items: int) -> Forecast:
  """Forecasts a task's score through the forecast of the loss.

  Draws of the loss meet draws of the sigmoid one by one, so that the interval
  holds the uncertainty of both, the misfit of the sigmoid and the sampling of
  the items that the score will be measured on. The two fits are resampled
  independently.

  Args:
    loss: what `forecast` gave for the run.
    fit: what `scaling.sigmoid.fit_sigmoid` gave.
    items: that the score will be measured on.

  Raises:
    UserError: a fit of another law, or no items.
  """
  if fit.law != sigmoid.NAME:
    raise UserError(f'{fit.law} is no law from loss to score: sigmoid is')
  if items < 1:
    raise UserError(f'items = {items}: at least 1')
  count = min(len(loss.samples), len(fit.samples))
  expected_R = sigmoid.predict(fit.samples[:count], loss.samples[:count, None])[
    :, 0
  ]
  rng = np.random.default_rng(_SEED)
  misfit_R = fit.noise[:count] * rng.standard_normal(count)
  rate_R = np.clip(expected_R + misfit_R, 0, 1)
  said = [*loss.warnings, *fit.warnings]
  lowest, highest = fit.domain['loss']
  if lowest - loss.value > highest - lowest:
    said.append('the loss lies further off than the scores span')
  return _forecast(
    sigmoid.predict(fit.params_P, loss.value)[0],
    rng.binomial(items, rate_R) / items,
    loss.level,
    {'flops': loss.flops_ratio, 'params': loss.params_ratio},
    said,
  )


def score_forecast(forecast: Forecast, truth: float) -> ForecastScore:
  """Compares a forecast with the measured value.

  Raises:
    UserError: a truth that is not above 0.
  """
  if not 0 < truth < np.inf:
    raise UserError(f'truth = {truth}: expected a number above 0')
  covered = half_width = None
  if forecast.lower is not None and forecast.upper is not None:
    covered = forecast.lower <= truth <= forecast.upper
    half_width = (forecast.upper - forecast.lower) / 2 / truth
  return ForecastScore((forecast.value - truth) / truth, covered, half_width)


def _forecast(
  value: float,
  samples_R: np.ndarray,
  level: float,
  ratios: dict[str, float],
  warnings: list[str],
) -> Forecast:
  lower = upper = None
  if len(samples_R):
    tail = (1 - level) / 2
    lower, upper = map(float, np.quantile(samples_R, [tail, 1 - tail]))
  return Forecast(
    value=float(value),
    lower=lower,
    upper=upper,
    level=level,
    flops_ratio=float(ratios['flops']),
    params_ratio=float(ratios['params']),
    warnings=tuple(dict.fromkeys(warnings)),
    samples=samples_R,
  )
