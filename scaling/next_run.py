"""Which run, made next, would narrow a forecast most for what it costs."""

import itertools
from typing import Any

import numpy as np

from scaling.fitted import Fit
from scaling.optimum import FlopsPerToken, Surface, six_n, surface_of

# Of the most that a next run may cost. Between each two the run that narrows
# most is told: per FLOP alone the cheapest would nearly always be the best.
TIERS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.0)
_RATIO = 10.0  # largest, of tokens per parameter to the target's
_GRID = 40


def reduction(
  target_R: np.ndarray, candidates_RxC: np.ndarray, variance: float
) -> np.ndarray:
  """By how much each candidate, once measured, lowers the target's variance.

  Where parameters have the covariance S, a run whose value has the gradient g
  by them and noise s^2 lowers the variance c^T S c of a forecast with gradient
  c by (c^T S g)^2 / (s^2 + g^T S g): the rank-one update of c-optimal design
  (Fedorov 1972, Theory of Optimal Experiments, chapter 2). It is exact for a
  linear model; in one that is not, covariances of predictions over bootstrap
  draws stand for c^T S g, so that no gradient is needed.

  Args:
    target_R: what each draw forecasts for the target.
    candidates_RxC: what each draw predicts for the candidates.
    variance: s^2, of one run about the law.

  Returns:
    [C], in the square of the target's unit.
  """
  target_R = target_R - np.mean(target_R)
  off_RxC = candidates_RxC - np.mean(candidates_RxC, axis=0)
  freedom = len(target_R) - 1
  shared_C = target_R @ off_RxC / freedom
  own_C = np.sum(off_RxC**2, axis=0) / freedom
  return shared_C**2 / (variance + own_C)


def next_runs(
  fit: Fit,
  *,
  params: float,
  tokens: float,
  most_flops: float,
  flops_per_token: FlopsPerToken = six_n,
) -> list[dict[str, Any]]:
  """Runs that would narrow the forecast of a target most, by what they cost.

  Candidates lie on a grid: no smaller and no shorter than the fitted runs, and
  with tokens per parameter within a factor of ten of the target's. Beyond that
  a law is least to be trusted, and so would seem to have most to learn.

  Args:
    fit: of a law of params and tokens.
    params: of the target.
    tokens: of the target.
    most_flops: that a next run may cost.
    flops_per_token: of sizes.

  Returns:
    For each tier of cost the run that lowers the variance of the log of the
    forecast most, the best per FLOP first; none without draws, or if even the
    smallest candidate costs too much. Standard deviations are those of the log
    of the law at the target: the noise of its own run is not in them.
  """
  surface = surface_of(fit)
  params_C, tokens_C = _candidates(
    fit, tokens / params, most_flops, flops_per_token
  )
  if len(fit.samples) < 2 or not len(params_C):
    return []
  flops_C = flops_per_token(params_C) * tokens_C
  log_R = np.log(_drawn(surface, np.array([params]), np.array([tokens])))[:, 0]
  predicted_RxC = _drawn(surface, params_C, tokens_C)
  if fit.space == 'log':
    predicted_RxC = np.log(predicted_RxC)
  gain_C = reduction(log_R, predicted_RxC, float(np.mean(fit.noise**2)))
  now = float(np.var(log_R, ddof=1))
  picked = []
  for high, low in itertools.pairwise(TIERS):
    tier_C = (flops_C > low * most_flops) & (flops_C <= high * most_flops)
    if np.any(tier_C):
      picked.append(int(np.argmax(np.where(tier_C, gain_C, -1.0))))
  return [
    {
      'params': float(params_C[c]),
      'tokens': float(tokens_C[c]),
      'flops': float(flops_C[c]),
      'log_loss_sd_now': now**0.5,
      'log_loss_sd_then': max(now - float(gain_C[c]), 0.0) ** 0.5,
      'variance_share': float(gain_C[c]) / now,
      'variance_per_flop': float(gain_C[c] / flops_C[c]),
    }
    for c in sorted(picked, key=lambda c: -gain_C[c] / flops_C[c])
  ]


def _drawn(
  surface: Surface, params_M: np.ndarray, tokens_M: np.ndarray
) -> np.ndarray:
  """Predictions by the draws alone, [R, M]."""
  return surface.loss(params_M, tokens_M)[1:]


def _candidates(
  fit: Fit, ratio: float, most_flops: float, flops_per_token: FlopsPerToken
) -> tuple[np.ndarray, np.ndarray]:
  """Sizes and tokens on a grid, those that are cheap enough, [C] each."""
  small, short = fit.domain['params'][0], fit.domain['tokens'][0]
  longest = most_flops / flops_per_token(np.array([small]))[0]
  if longest < short:
    return np.empty(0), np.empty(0)
  # A size costs at least in proportion, so none beyond this is cheap enough.
  largest = small * longest / short
  params, tokens = (
    axis.ravel()
    for axis in np.meshgrid(
      np.geomspace(small, largest, _GRID), np.geomspace(short, longest, _GRID)
    )
  )
  keep = np.abs(np.log(tokens / params / ratio)) <= np.log(_RATIO)
  keep &= flops_per_token(params) * tokens <= most_flops
  return params[keep], tokens[keep]
