"""Two laws in a row: a budget gives a loss, and the loss a task's score.

Bhagia et al. 2024, arXiv:2412.04403, the task ladder. The two are resampled
together: a run above the first law may tend to be above the second as well, and
then their uncertainties add up or cancel.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from configs.errors import UserError
from scaling import bootstrap
from scaling.bootstrap import Bootstrap, Draws
from scaling.conformal import widen
from scaling.fit import conclude
from scaling.fitted import Fit
from scaling.forecast import (
  Forecast,
  extrapolation,
  forecast,
  sampled,
  summarize,
  through,
)
from scaling.intervals import check_level
from scaling.laws import known_law
from scaling.noise import deviations, shifted
from scaling.points import Points
from scaling.ready import Ready, prepare

_SEED = 1  # of the misfit and the items of the run that is forecast


@dataclasses.dataclass(frozen=True, eq=False)
class Chain:
  """A law of loss and a law from it to a score, sampled together."""

  loss: Fit
  score: Fit
  correlation: float  # between the residuals of one run to both


def fit_chain(
  losses: Points,
  scores: Points,
  *,
  law: str = 'chinchilla',
  link: str = 'sigmoid',
  fixed: Mapping[str, float] | None = None,
  delta: float | None = None,
  resamples: int = 1000,
  level: float = 0.9,
  seed: int = 0,
) -> Chain:
  """Fits both laws, each to its own points, and resamples them together.

  Runs are matched by their inputs to the first law. Where both laws are
  resampled by pairs, a run is drawn in both as often; where by noise, the
  shocks of a run to both are as correlated as its residuals are.

  Args:
    losses: of the first law.
    scores: of the second; their column `loss` is what was measured. Columns of
      the first law's inputs match them to runs.
    law: of loss, a name of `scaling.laws.LAWS`.
    link: from loss to score.
    fixed: parameters of the link, such as the floor b of chance.
    delta: Huber's, of the first law.
    resamples: bootstrap refits.
    level: of the intervals.
    seed: of the bootstrap.

  Raises:
    UserError: as `scaling.fit.fit_law`; or a link from something else.
  """
  check_level(level)
  if known_law(link).inputs != ('loss',):
    raise UserError(f'link = {link!r}: expected a law from loss to score')
  first = prepare(losses, law, delta=delta)
  second = prepare(scores, link, fixed=fixed, resampling=first.resampling)
  run_M = _matched(first, second)
  rng = np.random.default_rng(seed)
  draws = first.draws(resamples, rng)
  linked = second.draws(resamples, rng)
  correlation = _correlation(first, second, run_M)
  if len(draws.noise) and len(linked.noise):
    linked = _joined(first, second, draws, linked, run_M, correlation)
  one, two = _paired(
    bootstrap.bootstrap(first.problem, first.found.theta, draws),
    bootstrap.bootstrap(second.problem, second.found.theta, linked),
  )
  return Chain(
    conclude(first, one, interval='percentile', level=level),
    conclude(second, two, interval='percentile', level=level),
    correlation,
  )


def forecast_chain(
  chain: Chain,
  at: Mapping[str, float],
  *,
  items: int,
  level: float = 0.9,
  factor: float = 1.0,
) -> tuple[Forecast, Forecast]:
  """Forecasts the loss of a run, and through it its score.

  Draws of the loss meet draws of the second law one by one. The interval of the
  score holds the uncertainty of both laws, the misfit of the second, as
  correlated with the noise of the loss as in the fitted runs, and the sampling
  of the items that the score will be measured on.

  Args:
    chain: of `fit_chain`.
    at: inputs of the first law, as `scaling.forecast.forecast` takes them.
    items: that the score will be measured on.
    level: of the intervals.
    factor: by which the interval of the loss is widened, as of
      `scaling.conformal.widening`.

  Raises:
    UserError: no items, or an input that cannot be.
  """
  loss = widen(forecast(chain.loss, at, level=level), factor)
  fit, law = chain.score, known_law(chain.score.law)
  count = min(len(loss.samples), len(fit.samples))
  samples_R = np.empty(0)
  if count:
    rng = np.random.default_rng(_SEED)
    shock_R = chain.correlation * loss.shocks[:count]
    shock_R += np.sqrt(1 - chain.correlation**2) * rng.standard_normal(count)
    samples_R = through(fit, loss.samples[:count], shock_R)
  samples_R = sampled(samples_R, items, np.random.default_rng(_SEED + 1))
  _, said = extrapolation(fit, {'loss': loss.value})
  score = summarize(
    law.predict(fit.params_P, {'loss': loss.value})[0],
    samples_R,
    level,
    loss.ratios,
    [*loss.warnings, *fit.warnings, *said],
  )
  return loss, score


def _paired(one: Bootstrap, two: Bootstrap) -> tuple[Bootstrap, Bootstrap]:
  """The refits of those draws that converged in both laws.

  Where one law has none, for want of points, the other keeps its own.
  """
  if not (len(one.rows) and len(two.rows)):
    return one, two
  kept = []
  for mine, other in ((one, two), (two, one)):
    both = np.isin(mine.rows, other.rows)
    kept.append(
      mine._replace(
        samples=mine.samples[both],
        noise=mine.noise[both],
        rows=mine.rows[both],
      )
    )
  return kept[0], kept[1]


def _matched(first: Ready, second: Ready) -> np.ndarray:
  """For each point of the second law its rung of the first; -1 for none."""
  inputs = first.problem.law.inputs
  points = second.problem.points
  if not set(inputs) <= set(points.columns):
    return np.full(len(points), -1)
  rungs = first.problem.points
  known = {
    cell: row
    for row, cell in enumerate(zip(*(rungs[n] for n in inputs), strict=True))
  }
  cells = zip(*(points[name] for name in inputs), strict=True)
  return np.array([known.get(cell, -1) for cell in cells])


def _deviations(ready: Ready, value: np.ndarray) -> np.ndarray:
  """How far values of its points lie off a law, as if of weight one."""
  off = deviations(ready.problem.space, value, ready.fitted)
  return off * np.sqrt(ready.problem.weight_M)


def _correlation(first: Ready, second: Ready, run_M: np.ndarray) -> float:
  """Of the residuals of the runs that both laws have."""
  both = run_M >= 0
  one = _deviations(first, first.problem.points.value)[run_M[both]]
  two = _deviations(second, second.problem.points.value)[both]
  size = np.sqrt(np.sum(one**2) * np.sum(two**2))
  if np.sum(both) < 3 or not size > 0:
    return 0.0
  return float(np.sum(one * two) / size)


def _joined(
  first: Ready,
  second: Ready,
  draws: Draws,
  linked: Draws,
  run_M: np.ndarray,
  correlation: float,
) -> Draws:
  """The second law's draws, tied to the first one's by run."""
  both = run_M >= 0
  if not np.any(both):
    return linked
  if first.resampling != 'noise':
    weight_RxM = linked.weight.copy()
    weight_RxM[:, both] = draws.weight[:, run_M[both]]
    return linked._replace(weight=weight_RxM)
  one_RxM = (
    _deviations(first, draws.value)[:, run_M[both]] / draws.unit[:, None]
  )
  two_RxM = _deviations(second, linked.value) / linked.unit[:, None]
  two_RxM[:, both] = (
    correlation * one_RxM + np.sqrt(1 - correlation**2) * two_RxM[:, both]
  )
  shift_RxM = two_RxM * linked.unit[:, None] / np.sqrt(second.problem.weight_M)
  return linked._replace(
    value=shifted(second.problem.space, second.fitted, shift_RxM)
  )
