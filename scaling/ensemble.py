"""One forecast from several laws: their disagreement is uncertainty, too."""

from collections.abc import Mapping, Sequence

import numpy as np

from configs.errors import UserError
from scaling.conformal import widen, widening
from scaling.fit import fit_law
from scaling.forecast import Forecast, forecast, summarize
from scaling.points import Points
from scaling.rolling import Rolled, roll


def forecast_all(
  points: Points,
  at: Mapping[str, float],
  *,
  laws: Sequence[str],
  delta: float | None = None,
  resamples: int = 1000,
  level: float = 0.9,
  seed: int = 0,
) -> Forecast:
  """Forecasts a run by several laws at once.

  Each law is fitted to all points; its interval holds its own uncertainty and
  the noise of a run, and is widened by how far the law missed rungs that were
  held out (`scaling.conformal`), where there were enough; and the laws are
  pooled.

  Args:
    points: runs, of every law's inputs and `flops`.
    at: inputs of the run.
    laws: names of laws of loss.
    delta: Huber's; None for each law's own.
    resamples: bootstrap refits of each law.
    level: of the interval.
    seed: of the bootstraps.

  Raises:
    UserError: as `scaling.fit.fit_law` and `scaling.forecast.forecast`.
  """
  factors = factors_of(
    roll(points, laws, delta=delta, level=level, seed=seed), laws
  )
  told = []
  for law in laws:
    fit = fit_law(
      points, law, delta=delta, resamples=resamples, level=level, seed=seed
    )
    told.append(widen(forecast(fit, at, level=level), factors[law]))
  return pool(told)


def factors_of(rolled: Rolled, laws: Sequence[str]) -> dict[str, float]:
  """By how much each law's intervals are to be widened: 1 where unknown."""
  return {
    law: widening([h for h in rolled.held if h.law == law], rolled.level) or 1.0
    for law in laws
  }


def pool(told: Sequence[Forecast]) -> Forecast:
  """The equal mixture of forecasts of one run by several laws.

  The linear opinion pool (Stone 1961, Ann. Math. Stat. 32(4)): its interval
  covers what each law finds likely, and is wide where they part. The value is
  the geometric mean, so that no law is the preferred one.

  Args:
    told: of one run, at one level.

  Raises:
    UserError: no forecast at all.
  """
  if not told:
    raise UserError('no forecast to pool: give one law or more')
  count = min(len(one.samples) for one in told)
  value = float(np.exp(np.mean([np.log(one.value) for one in told])))
  return summarize(
    value,
    np.concatenate([one.samples[:count] for one in told]),
    told[0].level,
    told[0].ratios,
    [text for one in told for text in one.warnings],
  )
