"""Rolling held-out rungs: fit what is small, predict what is large."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from configs.errors import UserError
from scaling.fit import fit_law
from scaling.forecast import Forecast, forecast, score_forecast
from scaling.laws import known_law
from scaling.points import Points, average_seeds
from scaling.trust import ENOUGH

_APART = 1.05  # cut-offs nearer than this in FLOPs are one
_LEAST = 1e-9  # of a value, that an interval reaches


@dataclasses.dataclass(frozen=True)
class Held:
  """How one law predicted one rung that it had not seen."""

  law: str
  cutoff: float  # FLOPs of the largest run that was fitted
  rung: int  # row of the rung, by which laws and cut-offs are matched
  flops: float
  truth: float
  forecast: float
  relative_error: float
  covered: bool
  half_width: float  # relative to the truth
  log_score: float  # log density of the log of the truth; higher is better
  miss: float  # the error over the interval's reach on that side of the value


class Rolled(NamedTuple):
  """All predictions of all laws, and where the ladder was cut."""

  held: tuple[Held, ...]
  cutoffs: tuple[float, ...]
  level: float


def roll(
  points: Points,
  laws: Sequence[str],
  *,
  cutoffs: int = 4,
  delta: float | None = None,
  resamples: int = 300,
  level: float = 0.9,
  seed: int = 0,
) -> Rolled:
  """Fits every law below every cut-off and predicts all rungs above it.

  Cut-offs are spread evenly over the rungs in the order of their FLOPs, from
  the fewest that the law of most parameters can have an interval from. All laws
  are fitted to the same rungs and predict the same rungs.

  Args:
    points: runs of every law's inputs, and `flops`.
    laws: names of `scaling.laws.LAWS`.
    cutoffs: at most so many.
    delta: Huber's; None for each law's own.
    resamples: bootstrap refits of each fit.
    level: of the intervals.
    seed: of the bootstrap.

  Returns:
    Nothing held out where there are too few rungs for it.

  Raises:
    UserError: a column missing, or what `fit_law` raises.
  """
  forms = [known_law(name) for name in laws]
  inputs = tuple(dict.fromkeys(n for law in forms for n in law.inputs))
  for name in (*inputs, 'flops'):
    if name not in points.columns:
      raise UserError(f'no column {name}: rungs are held out by their FLOPs')
  rungs = average_seeds(points, inputs, forms[0].space).points
  rungs = rungs.take(np.argsort(rungs['flops'], kind='stable'))
  ends = _ends(rungs['flops'], least_rungs(laws), cutoffs)
  held = []
  for end in ends:
    below = points.take(
      np.flatnonzero(points['flops'] <= rungs['flops'][end - 1])
    )
    for law in forms:
      fit = fit_law(
        below, law, delta=delta, resamples=resamples, level=level, seed=seed
      )
      for row in range(end, len(rungs)):
        at = {name: float(rungs[name][row]) for name in law.inputs}
        told = forecast(fit, at, level=level)
        held.append(
          _held(law.name, rungs, row, float(rungs['flops'][end - 1]), told)
        )
  return Rolled(
    tuple(held), tuple(float(rungs['flops'][end - 1]) for end in ends), level
  )


def least_rungs(laws: Sequence[str]) -> int:
  """The fewest rungs that every law can have an interval from."""
  return ENOUGH * max(len(known_law(name).params) for name in laws)


def _ends(flops_M: np.ndarray, needed: int, cutoffs: int) -> list[int]:
  """How many rungs each cut-off keeps; the next one is always larger."""
  possible = [
    end
    for end in range(needed, len(flops_M))
    if flops_M[end] > _APART * flops_M[end - 1]
  ]
  if len(possible) <= cutoffs:
    return possible
  picked = np.linspace(0, len(possible) - 1, cutoffs).round().astype(int)
  return [possible[row] for row in picked]


def _held(
  law: str, rungs: Points, row: int, cutoff: float, told: Forecast
) -> Held:
  truth = float(rungs.value[row])
  if told.lower is None or told.upper is None or not truth > 0:
    raise UserError(
      f'{law} below {cutoff:.3g} FLOPs: no refit converged, or a value of 0 '
      'was measured; leave out that law, or those runs'
    )
  score = score_forecast(told, truth)
  # A percentile interval need not hold the value that it belongs to.
  end = told.upper if truth > told.value else told.lower
  reach = abs(end - told.value)
  return Held(
    law=law,
    cutoff=cutoff,
    rung=row,
    flops=float(rungs['flops'][row]),
    truth=truth,
    forecast=told.value,
    relative_error=(told.value - truth) / truth,
    covered=bool(score.covered),
    half_width=(told.upper - told.lower) / 2 / truth,
    log_score=_log_score(told.samples, truth),
    miss=abs(told.value - truth) / max(reach, _LEAST * told.value),
  )


def _log_score(samples_R: np.ndarray, truth: float) -> float:
  """Log density of the truth under a normal of the draws' logs.

  The middle half gives the spread, as single wild refits would inflate it.
  """
  log_R = np.log(np.maximum(samples_R, 1e-300))
  low, middle, high = np.quantile(log_R, [0.25, 0.5, 0.75])
  spread = max((high - low) / (2 * stats.norm.ppf(0.75)), 1e-12)
  return float(stats.norm.logpdf(np.log(truth), middle, spread))
