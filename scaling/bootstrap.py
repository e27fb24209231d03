"""Bootstrap refits of a law, vectorised.

Two protocols:

*Noise*, for ladders: losses are simulated from the fitted law and fitted again,
on the very rungs that were run (Davison and Hinkley 1997, Bootstrap Methods and
their Application, section 6.2.3: model-based resampling). Drawing rungs with
replacement instead would lose whole sizes of a ladder of a dozen rungs, and
with them the exponents. The noise of log loss is normal. Its variance is that
of the residuals, RSS / (n - p), or that measured between seeds, whichever is
larger: a law may follow a few runs more closely than they would repeat
themselves. That variance is itself known from n - p degrees of freedom only, so
each resample draws its own from its scaled inverse chi-squared posterior
(Gelman et al. 2013, Bayesian Data Analysis, section 14.2), which in a linear
model gives the exact t intervals.

*Pairs*, for many runs: runs are drawn with replacement (the protocol of
Besiroglu et al. 2024, arXiv:2404.10102); neither normal nor equal noise is
assumed.
"""

from typing import NamedTuple

import numpy as np

from scaling.law import Estimate, Law
from scaling.points import Points


class Bootstrap(NamedTuple):
  """Refits, one a row, of those that converged."""

  samples: np.ndarray  # [R, P]
  noise: np.ndarray  # [R]; standard deviation of one run's log loss
  failed: float  # share of refits that did not converge, left out


def noise_bootstrap(
  law: Law,
  rungs: Points,
  estimate: Estimate,
  *,
  delta: float,
  seed_variance: float,
  resamples: int,
  seed: int,
) -> Bootstrap:
  """Refits to losses simulated from the fitted law.

  Args:
    law: what was fitted.
    rungs: M points, seeds averaged.
    estimate: the fit to them, M > P.
    delta: Huber's, of the fit.
    seed_variance: of log loss between runs that differ in their seed alone; 0
      if not measured.
    resamples: R.
    seed: of the draws.
  """
  rng = np.random.default_rng(seed)
  fitted_M = law.predict(estimate.params, rungs.params, rungs.tokens)
  freedom = len(rungs) - len(law.PARAMS)
  variance = max(residual_variance(law, rungs, estimate), seed_variance)
  noise_R = np.sqrt(variance * freedom / rng.chisquare(freedom, resamples))
  shock_RxM = rng.standard_normal((resamples, len(rungs)))
  value_RxM = fitted_M * np.exp(noise_R[:, None] * shock_RxM)
  refits = law.refit(rungs, estimate, delta, value_RxM, np.ones_like(value_RxM))
  good = refits.converged
  return Bootstrap(refits.params[good], noise_R[good], float(np.mean(~good)))


def pairs_bootstrap(
  law: Law,
  rungs: Points,
  estimate: Estimate,
  *,
  delta: float,
  seed_variance: float,
  resamples: int,
  seed: int,
) -> Bootstrap:
  """Refits to runs drawn with replacement; arguments as `noise_bootstrap`."""
  rng = np.random.default_rng(seed)
  count = len(rungs)
  weight_RxM = rng.multinomial(count, np.full(count, 1 / count), resamples)
  value_RxM = np.broadcast_to(rungs.value, weight_RxM.shape)
  refits = law.refit(rungs, estimate, delta, value_RxM, weight_RxM)
  good = refits.converged
  variance = max(residual_variance(law, rungs, estimate), seed_variance)
  return Bootstrap(
    refits.params[good],
    np.full(np.sum(good), np.sqrt(variance)),
    float(np.mean(~good)),
  )


def residual_variance(law: Law, points: Points, estimate: Estimate) -> float:
  """RSS / (n - p) of the log losses."""
  fitted_M = law.predict(estimate.params, points.params, points.tokens)
  square = np.sum(np.log(points.value / fitted_M) ** 2)
  return float(square / (len(points) - len(law.PARAMS)))
