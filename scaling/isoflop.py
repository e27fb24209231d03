"""Compute-optimal sizes from IsoFLOP profiles: approach two of Chinchilla.

Hoffmann et al. 2022, arXiv:2203.15556, section 3.2: runs of several sizes spend
the same FLOPs; a parabola of their loss in log N has its minimum at the best
size for that budget; and the minima of all budgets follow

  N* = G C^a,   D* = H C^b.

Porian et al. 2024, arXiv:2406.19146, put Akima's interpolation of the log loss
in place of the parabola, which is biased where the sides of a profile differ.
A minimum outside the sampled sizes is dropped, never clipped to their edge.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import interpolate, stats

from configs.errors import UserError, choose
from scaling.allocation import (
  AXES,
  PARAMS,
  Allocation,
  Optima,
  allocation,
  power_laws,
  with_both,
)
from scaling.fitted import Fit
from scaling.intervals import check_level, percentile
from scaling.points import Points

FORMS = ('parabola', 'akima')
_ENOUGH = 5  # sizes of a budget; fewer tell no minimum
_SAME = 0.01  # relative difference of budgets that are one
_GRID = 25  # points from size to size, on which an interpolation is searched
_MISFIT = 2  # residuals of a profile, in terms of those of four neighbours
_ROUNDING = 1e-12  # the least standard error
_TOLD = 2  # budgets that an error names


class Split(NamedTuple):
  """How budgets are best spent; no intervals, None, without samples."""

  params: np.ndarray  # [C]
  tokens: np.ndarray  # [C]
  params_interval: np.ndarray | None  # [2, C]
  tokens_interval: np.ndarray | None  # [2, C]


class _Profile(NamedTuple):
  """Runs of one budget, by increasing size along the axis."""

  flops: float
  x_M: np.ndarray  # log size along the axis
  log_2xM: np.ndarray  # of params and of tokens
  loss_M: np.ndarray


class _Minimum(NamedTuple):
  """Of a profile, and of R that are drawn with noise, NaN out of range."""

  log_2: np.ndarray  # of params and of tokens
  loss: float
  stderr_2: np.ndarray
  log_2xR: np.ndarray


def fit_isoflop(
  data: Points | Mapping[str, Any],
  *,
  form: str = 'parabola',
  axis: str = 'params',
  budget: str = 'flops',
  weighted: bool = True,
  noise: float | None = None,
  resamples: int = 1000,
  level: float = 0.9,
  seed: int = 0,
) -> Allocation:
  """Fits N* = G C^a and D* = H C^b to the minima of IsoFLOP profiles.

  The standard error of a minimum is that of profiles drawn again with noise; an
  interpolated one is not taken to be known better than to a third of the mean
  gap between sizes (Porian et al.). A minimum counts by `weights`. Intervals
  are of a hierarchical bootstrap: noise within budgets, and budgets with
  replacement. They are too wide where minima scatter by noise
  alone, which then counts twice.

  Args:
    data: points, or columns by name: `flops`, `loss`, and `params` or `tokens`
      or both; one that is absent is C / 6 over the other.
    form: parabola (of the loss) | akima (of its log).
    axis: params | tokens, along which profiles are drawn.
    budget: the column whose values, equal within 1%, are a budget.
    weighted: False counts every minimum alike, as Hoffmann et al. do.
    noise: relative standard deviation of a loss between seeds. By default that
      of the residuals of parabolas: through all sizes of a budget, or for akima
      through any four neighbours.
    resamples: of the bootstrap.
    level: of the intervals.
    seed: of the bootstrap.

  Returns:
    The laws with their optima; `without` leaves out one budget at a time.

  Raises:
    UserError: an unknown form or axis, a noise below 0, a column missing, or
      fewer than two budgets with a minimum.
  """
  check_level(level)
  choose('form', form, FORMS)
  choose('axis', axis, AXES)
  if noise is not None and not noise >= 0:
    raise UserError(f'noise = {noise}: expected 0 or above')
  points = with_both(data, budget)
  profiles, said = _profiles(points, axis, budget)
  about, local = _noise(profiles, 'parabola'), _noise(profiles, 'akima')
  if form == 'parabola' and about > _MISFIT * local:
    said.append(
      f'a parabola does not fit: losses lie {about:.2%} off it, neighbours '
      f'{local:.2%}; leave out sizes far from the minimum, or take form = akima'
    )
  if noise is None:
    noise = about if form == 'parabola' else local
  rng = np.random.default_rng(seed)
  minima: dict[float, _Minimum] = {}
  for profile in profiles:
    found = _minimum(profile, form, noise, resamples, rng)
    if found is None:
      low, high = np.exp(profile.x_M[[0, -1]])
      said.append(
        f'C = {profile.flops:.3g} is dropped: no minimum within the sampled '
        f'{axis}, {low:.3g} to {high:.3g}'
      )
    else:
      minima[profile.flops] = found
  if len(minima) < 2:
    more = len(said) - _TOLD
    raise UserError(
      f'{len(minima)} budgets with a minimum, of two that are the least: '
      + ('; '.join(said[:_TOLD]) or 'add budgets')
      + (f'; {more} more' if more > 0 else '')
    )
  params_K, tokens_K = np.exp(np.transpose([m.log_2 for m in minima.values()]))
  optima = Optima(
    np.array(list(minima)),
    params_K,
    tokens_K,
    np.array([found.loss for found in minima.values()]),
    *np.transpose([found.stderr_2 for found in minima.values()]),
  )
  weight_2xK = weights(optima) if weighted else np.ones((2, len(minima)))
  draws_Kx2xR = np.array([found.log_2xR for found in minima.values()])
  less_Kx1xK = (1 - np.eye(len(minima)))[:, None]
  return allocation(
    'isoflop',
    optima,
    weight_2xK,
    samples=_samples(optima, draws_Kx2xR, weight_2xK, rng),
    spread=_student(level, len(minima) - 2),
    without=power_laws(*optima.logs(), weight_2xK * less_Kx1xK),
    parts=[f'C = {flops:.3g}' for flops in optima.flops],
    conventions=points.conventions
    | {
      'profile': f'{form} in log {axis}, a loss with noise of {noise:.2g}',
      'weights': 'inverse variances' if weighted else 'equal',
      'bootstrap': 'noise within budgets, and budgets',
    },
    warnings=said,
    level=level,
  )


def predict(fit: Fit, flops: Any) -> Split:
  """The best size and tokens of budgets.

  Args:
    fit: of `fit_isoflop` or `scaling.envelope.fit_envelope`.
    flops: a budget, or several.

  Raises:
    UserError: a fit of another law, or a budget that is not above 0.
  """
  if tuple(fit.params) != PARAMS:
    raise UserError(f'{fit.law} is no law of compute-optimal sizes')
  flops_C = np.atleast_1d(np.asarray(flops, np.float64))
  if not np.all((flops_C > 0) & np.isfinite(flops_C)):
    raise UserError(f'flops = {flops}: expected numbers above 0')

  def at(params_P: np.ndarray) -> np.ndarray:
    G, a, H, b = np.moveaxis(params_P[..., None, :], -1, 0)
    return np.stack([G * flops_C**a, H * flops_C**b])

  spans: list[np.ndarray | None] = [None, None]
  if len(fit.samples):
    spans = [percentile(drawn, fit.level) for drawn in at(fit.samples)]
  return Split(*at(fit.params_P), *spans)


def weights(optima: Optima) -> np.ndarray:
  """Inverse variances about the lines of params and of tokens, [2, K].

  Beside its own error an optimum has the scatter tau that all have, by the
  method of moments (DerSimonian and Laird 1986; in a regression Thompson and
  Sharp 1999, Statistics in Medicine 18:2693). Without tau the smallest errors
  would have all the weight, however far optima scatter.
  """
  x_K, y_2xK = optima.logs()
  design_Kx2 = np.stack([np.ones_like(x_K), x_K - np.mean(x_K)], axis=1)
  found = []
  for y_K, stderr_K in zip(y_2xK, optima[-2:], strict=True):
    stderr_K = np.maximum(stderr_K, _ROUNDING)
    q_Kx2, _ = np.linalg.qr(design_Kx2 / stderr_K[:, None])
    off_K = y_K / stderr_K - q_Kx2 @ (q_Kx2.T @ (y_K / stderr_K))
    # The sum of squares is K - 2 + tau^2 trace in expectation.
    trace = np.sum((1 - np.sum(q_Kx2**2, axis=1)) / stderr_K**2)
    excess = np.sum(off_K**2) - (len(x_K) - 2)
    tau2 = max(excess / trace, 0.0) if len(x_K) > 2 else 0.0
    found.append(1 / (stderr_K**2 + tau2))
  return np.array(found)


def _profiles(
  points: Points, axis: str, budget: str
) -> tuple[list[_Profile], list[str]]:
  """Budgets of enough sizes, and what is said of the others."""
  found, said = [], []
  left = np.argsort(points[budget], kind='stable')
  while len(left):
    ordered = points[budget][left]
    count = np.searchsorted(ordered, ordered[0] * (1 + _SAME), side='right')
    rows, left = left[:count], left[count:]
    flops = float(np.mean(points['flops'][rows]))
    sizes, which = np.unique(points[axis][rows], return_inverse=True)
    if len(sizes) < _ENOUGH:
      said.append(
        f'C = {flops:.3g} is dropped: {len(sizes)} {axis}, where {_ENOUGH} are '
        'the least that tell a minimum'
      )
      continue
    columns = np.stack(
      [*(np.log(points[name][rows]) for name in AXES), points.value[rows]]
    )
    # Runs of one size, such as seeds, are averaged.
    means = [np.bincount(which, c) / np.bincount(which) for c in columns]
    found.append(_Profile(flops, np.log(sizes), np.array(means[:2]), means[2]))
  return found, said


def _minimum(
  profile: _Profile,
  form: str,
  noise: float,
  resamples: int,
  rng: np.random.Generator,
) -> _Minimum | None:
  """The minimum, unless it or half of those with noise are out of range."""
  x_M, loss_M = profile.x_M, profile.loss_M
  shock_MxR = noise * rng.standard_normal((len(x_M), resamples))
  centre_M = _smooth(profile) if form == 'parabola' else loss_M
  lowest = _LOWEST[form]
  best, loss = lowest(x_M, loss_M[:, None])
  best_R, _ = lowest(x_M, centre_M[:, None] * np.exp(shock_MxR))
  inside_R = np.isfinite(best_R)
  if np.isnan(best[0]) or np.mean(inside_R) < 0.5:
    return None
  # What is not the axis is read off between the runs.
  log_2xR = np.array([np.interp(best_R, x_M, y_M) for y_M in profile.log_2xM])
  stderr_2 = np.std(log_2xR[:, inside_R], axis=1)
  if form == 'akima':
    gap_2 = np.ptp(profile.log_2xM, axis=1) / (len(x_M) - 1)
    stderr_2 = np.maximum(stderr_2, gap_2 / 3)
  return _Minimum(
    np.array([np.interp(best[0], x_M, y_M) for y_M in profile.log_2xM]),
    float(loss[0]),
    # Draws out of range would have widened the spread of the others.
    stderr_2 / np.mean(inside_R),
    log_2xR,
  )


def _lowest_parabola(
  x_M: np.ndarray, loss_MxR: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Where the parabola through each profile is lowest, and its loss there."""
  middle, half = (x_M[0] + x_M[-1]) / 2, np.ptp(x_M) / 2
  c0, c1, c2 = np.polynomial.polynomial.polyfit(
    (x_M - middle) / half, loss_MxR, 2
  )
  inside = np.abs(c1) < 2 * c2
  at = np.where(inside, -c1, np.nan) / np.where(inside, 2 * c2, 1.0)
  return middle + half * at, c0 + c1 * at / 2


def _lowest_akima(
  x_M: np.ndarray, loss_MxR: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Where the interpolation of each profile is lowest, and its loss there."""
  steps = np.arange(_GRID * (len(x_M) - 1) + 1) / _GRID
  grid = np.interp(steps, np.arange(len(x_M)), x_M)
  curve = interpolate.Akima1DInterpolator(x_M, np.log(loss_MxR))(grid)
  best = np.argmin(curve, axis=0)
  inside = (best > 0) & (best < len(grid) - 1)
  return np.where(inside, grid[best], np.nan), np.exp(np.min(curve, axis=0))


_LOWEST = {'parabola': _lowest_parabola, 'akima': _lowest_akima}


def _smooth(profile: _Profile) -> np.ndarray:
  """The losses of the parabola."""
  return np.polynomial.Polynomial.fit(profile.x_M, profile.loss_M, 2)(
    profile.x_M
  )


def _noise(profiles: Sequence[_Profile], form: str) -> float:
  """Relative standard deviation of a loss about parabolas, over all budgets.

  A parabola takes three degrees of freedom of the M runs of a budget. Where no
  parabola fits them all, each of the M - 3 fours of neighbours has one residual
  about its own (Hall, Kay and Titterington 1990, Biometrika 77:521).
  """
  square, freedom = 0.0, 0
  for profile in profiles:
    freedom += len(profile.x_M) - 3
    if form == 'parabola':
      square += float(np.sum((profile.loss_M / _smooth(profile) - 1) ** 2))
      continue
    y_M = np.log(profile.loss_M)
    for row in range(len(y_M) - 3):
      four = slice(row, row + 4)
      powers_4x3 = np.vander(profile.x_M[four] - profile.x_M[row], 3)
      *_, off_4 = np.linalg.qr(powers_4x3, mode='complete')[0].T
      square += float(off_4 @ y_M[four]) ** 2
  return float(np.sqrt(square / max(freedom, 1)))


def _samples(
  optima: Optima,
  draws_Kx2xR: np.ndarray,
  weight_2xK: np.ndarray,
  rng: np.random.Generator,
) -> np.ndarray:
  """Refits [R, 4] to drawn budgets and, of each, its own drawn minimum."""
  count, _, resamples = draws_Kx2xR.shape
  pick_RxK = rng.integers(count, size=(resamples, count))
  y_RxKx2 = draws_Kx2xR[pick_RxK, :, np.arange(resamples)[:, None]]
  y_Rx2xK = np.moveaxis(y_RxKx2, -1, -2)
  known = np.isfinite(y_Rx2xK)
  return power_laws(
    np.log(optima.flops)[pick_RxK],
    np.where(known, y_Rx2xK, 0.0),
    np.moveaxis(weight_2xK[:, pick_RxK], 0, 1) * known,
  )


def _student(level: float, freedom: int) -> float:
  """By how much percentiles of refits to few optima are too narrow.

  Their scatter is known from `freedom` degrees of freedom: the quantile of
  Student's t over the normal one (Hesterberg 2015, The American Statistician
  69:371).
  """
  tail = (1 + level) / 2
  return float(stats.t.ppf(tail, max(freedom, 1)) / stats.norm.ppf(tail))
