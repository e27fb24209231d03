"""Intervals from draws."""

import math

import numpy as np
from scipy import stats

from configs.errors import UserError


def check_level(level: float) -> None:
  """Raises UserError unless `level` is a probability of an interval."""
  if not (math.isfinite(level) and 0 < level < 1):
    raise UserError(f'level = {level}: expected between 0 and 1, such as 0.9')


def percentile(samples_RxP: np.ndarray, level: float) -> np.ndarray:
  """Equal-tailed percentile intervals, [2, P]."""
  tail = (1 - level) / 2
  return np.quantile(samples_RxP, [tail, 1 - tail], axis=0)


def bca(
  samples_RxP: np.ndarray,
  estimate_P: np.ndarray,
  jackknife_MxP: np.ndarray,
  level: float,
) -> np.ndarray:
  """Bias-corrected and accelerated intervals, [2, P].

  Efron 1987, J. Am. Stat. Assoc. 82(397), equation 2.3. The bias correction is
  the normal quantile of the share of samples below the estimate; the
  acceleration is a sixth of the skewness of the jackknife's influences.

  Args:
    samples_RxP: bootstrap refits.
    estimate_P: the fit.
    jackknife_MxP: fits without one point each; NaN where there is none.
    level: of the intervals.
  """
  count = len(samples_RxP)
  ties_P = np.sum(samples_RxP == estimate_P, axis=0)
  below_P = np.sum(samples_RxP < estimate_P, axis=0) + ties_P / 2
  # Half a sample keeps the quantile finite where all lie on one side.
  z0_P = stats.norm.ppf(np.clip(below_P, 0.5, count - 0.5) / count)
  pull_MxP = np.nanmean(jackknife_MxP, axis=0) - jackknife_MxP
  spread_P = np.nansum(pull_MxP**2, axis=0)
  skew_P = np.nansum(pull_MxP**3, axis=0)
  scale_P = 6 * np.where(spread_P > 0, spread_P, 1) ** 1.5
  a_P = skew_P / scale_P
  tail = (1 - level) / 2
  ends = []
  for share in (tail, 1 - tail):
    z_P = z0_P + stats.norm.ppf(share)
    shares_P = stats.norm.cdf(z0_P + z_P / (1 - a_P * z_P))
    ends.append(
      [np.quantile(c, s) for c, s in zip(samples_RxP.T, shares_P, strict=True)]
    )
  return np.asarray(ends)
