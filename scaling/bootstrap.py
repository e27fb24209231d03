"""Bootstrap draws of values and weights, for refits of a law.

Three protocols:

*Noise*, for ladders: values are simulated from the fitted law and fitted again,
on the very rungs that were run (Davison and Hinkley 1997, Bootstrap Methods and
their Application, section 6.2.3: model-based resampling). Drawing rungs with
replacement instead would lose whole sizes of a ladder of a dozen rungs, and
with them the exponents. The noise is normal, in the space of the residuals. Its
variance is that of the residuals, RSS / (n - p), or that measured between seeds
or told by the items of a score, whichever is larger: a law may follow a few
runs more closely than they would repeat themselves. That variance is itself
known from n - p degrees of freedom only, so each resample draws its own from
its scaled inverse chi-squared posterior (Gelman et al. 2013, Bayesian Data
Analysis, section 14.2), which in a linear model gives the exact t intervals.

*Pairs*, for many runs: rungs are drawn with replacement (the protocol of
Besiroglu et al. 2024, arXiv:2404.10102); neither normal nor equal noise is
assumed.

*Hierarchical*: rungs as in pairs, within each its seeds with replacement, and
each value again from its items, normal with its standard error. Rungs that are
drawn with replacement scatter by seeds and items already (Davison and Hinkley,
section 3.8): these intervals are somewhat too wide.
"""

from typing import NamedTuple

import numpy as np

from scaling.estimate import Problem, refit
from scaling.noise import Noise, shifted
from scaling.points import Rungs


class Draws(NamedTuple):
  """Values and weights of M rungs, one resample a row."""

  value: np.ndarray  # [R, M]
  weight: np.ndarray  # [R, M]
  unit: np.ndarray  # [R], standard deviation of a point of weight one
  noise: np.ndarray  # [R], that of one new run, but for its items


class Bootstrap(NamedTuple):
  """Refits, one a row, of those that converged."""

  samples: np.ndarray  # [R, P]
  noise: np.ndarray  # [R]
  rows: np.ndarray  # [R], of the draws they are from
  failed: float  # share of refits that did not converge, left out


def noise_draws(
  problem: Problem,
  fitted_M: np.ndarray,
  noise: Noise,
  resamples: int,
  rng: np.random.Generator,
) -> Draws:
  """Values simulated from the fitted law.

  Args:
    problem: what was fitted.
    fitted_M: the values it gives the points.
    noise: of the points about it.
    resamples: R.
    rng: of the draws.
  """
  unit_R = noise.draw(resamples, rng)
  shock_RxM = rng.standard_normal((resamples, len(fitted_M)))
  shock_RxM *= unit_R[:, None] / np.sqrt(problem.weight_M)
  value = shifted(problem.space, fitted_M, shock_RxM)
  return Draws(value, np.ones_like(value), unit_R, noise.beyond_items(unit_R))


def pairs_draws(
  problem: Problem, noise: Noise, resamples: int, rng: np.random.Generator
) -> Draws:
  """Rungs drawn with replacement; arguments as `noise_draws`."""
  count = len(problem.points)
  weight_RxM = rng.multinomial(count, np.full(count, 1 / count), resamples)
  value_RxM = np.broadcast_to(problem.points.value, weight_RxM.shape)
  unit_R = np.full(resamples, np.sqrt(noise.variance))
  return Draws(value_RxM, weight_RxM, unit_R, noise.beyond_items(unit_R))


def hierarchical_draws(
  problem: Problem,
  rungs: Rungs,
  noise: Noise,
  resamples: int,
  rng: np.random.Generator,
) -> Draws:
  """Rungs, the seeds within them and the items of each drawn again."""
  drawn = pairs_draws(problem, noise, resamples, rng)
  shift_RxM = np.zeros_like(drawn.weight, dtype=np.float64)
  for column, off_K in enumerate(rungs.deviations):
    picked_RxK = rng.integers(len(off_K), size=(resamples, len(off_K)))
    shift_RxM[:, column] = np.mean(off_K[picked_RxK], axis=1)
  stderr_M = rungs.points.stderr
  if problem.space == 'log':
    stderr_M = stderr_M / rungs.points.value
  shift_RxM += stderr_M * rng.standard_normal(shift_RxM.shape)
  value = shifted(problem.space, drawn.value, shift_RxM)
  return drawn._replace(value=value)


def bootstrap(problem: Problem, theta_P: np.ndarray, draws: Draws) -> Bootstrap:
  """Fits every draw again, from the optimum of the points themselves."""
  if not len(draws.noise):
    none = np.empty((0, len(theta_P)))
    return Bootstrap(none, draws.noise, np.empty(0, int), 0.0)
  refits = refit(
    problem, theta_P, value_RxM=draws.value, weight_RxM=draws.weight
  )
  good = refits.converged
  return Bootstrap(
    refits.params[good],
    draws.noise[good],
    np.flatnonzero(good),
    float(np.mean(~good)),
  )
