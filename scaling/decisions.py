"""Whether small experiments choose as large ones would.

Decision accuracy is that of DataDecide (Magnusson et al. 2025,
arXiv:2504.11393): of all pairs of recipes, the share that a small scale orders
as the target scale does. Signal and noise are those of Heineman et al. 2025,
arXiv:2508.13144: a task with much of the one and little of the other orders
recipes well.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from configs.errors import UserError, choose
from scaling.intervals import check_level, percentile

DISPERSIONS = ('range', 'std')


class DecisionAccuracy(NamedTuple):
  """Pairs of recipes that are ordered alike at both scales."""

  accuracy: float
  stderr: float  # of the bootstrap
  interval: tuple[float, float]  # at `level`
  level: float
  pairs: int  # that the target scale orders
  undecided: int  # of them, that the small scale does not order: a half each
  tied: int  # pairs that the target scale does not order: left out


class SignalToNoise(NamedTuple):
  """Of tasks, arrays with the leading axes of their scores."""

  signal: np.ndarray
  noise: np.ndarray
  ratio: np.ndarray


class Agreement(NamedTuple):
  """How a proxy metric ranks recipes in comparison with a target."""

  kendall: float  # tau-b
  spearman: float


def decision_accuracy(
  small: np.ndarray,
  target: np.ndarray,
  *,
  tie: float = 0.0,
  resamples: int = 1000,
  level: float = 0.9,
  seed: int = 0,
) -> DecisionAccuracy:
  """The share of pairs of recipes that a small scale orders as the target.

  A pair that is tied at the target has no right order and is left out. One that
  is tied at the small scale is decided by a coin: it counts a half. The
  bootstrap draws recipes with replacement and, of each, its seeds, on both
  scales alike; a recipe that is drawn twice is no pair with itself.

  Args:
    small: what the small scale says, [R recipes] or [R, seeds]; a seed that is
      absent is NaN.
    target: what it is to foretell, [R] or [R, seeds]; as `small`, more is
      better in both or in neither.
    tie: the largest difference at the target that is none, such as twice its
      standard error between seeds.
    resamples: of the bootstrap.
    level: of the interval.
    seed: of the bootstrap.

  Raises:
    UserError: other recipes at either scale, a recipe without a number, or no
      pair that differs at the target.
  """
  check_level(level)
  small_RxS, target_RxS = _seeds('small', small), _seeds('target', target)
  recipes = len(small_RxS)
  if len(target_RxS) != recipes:
    raise UserError(f'{recipes} recipes in small, {len(target_RxS)} in target')
  if not tie >= 0:
    raise UserError(f'tie = {tie}: expected 0 or above')
  right_RxR, known_RxR = _pairs(
    np.nanmean(small_RxS, axis=1), np.nanmean(target_RxS, axis=1), tie
  )
  pairs = int(np.sum(known_RxR))
  if not pairs:
    raise UserError('no pair of recipes differs at the target')
  rng = np.random.default_rng(seed)
  draws = []
  for count_R in rng.multinomial(
    recipes, np.full(recipes, 1 / recipes), resamples
  ):
    right, known = _pairs(
      _redrawn(small_RxS, rng), _redrawn(target_RxS, rng), tie
    )
    weight_RxR = np.outer(count_R, count_R) * known
    if np.any(weight_RxR):
      draws.append(np.sum(weight_RxR * right) / np.sum(weight_RxR))
  low, high = percentile(np.array(draws), level).tolist()
  return DecisionAccuracy(
    accuracy=float(np.sum(right_RxR * known_RxR) / pairs),
    stderr=float(np.std(draws)),
    interval=(low, high),
    level=level,
    pairs=pairs,
    undecided=int(np.sum(known_RxR & (right_RxR == 0.5))),
    tied=recipes * (recipes - 1) // 2 - pairs,
  )


def signal_to_noise(
  scores: np.ndarray, *, dispersion: str = 'range'
) -> SignalToNoise:
  """Signal, noise and their ratio of tasks.

  Signal is how far recipes lie apart, relative to their mean: the largest
  difference, max_jk |m_j - m_k| / mean(m), or the standard deviation in place
  of it, where m are the means over checkpoints. Noise is the standard deviation
  over the last checkpoints of a run, or over its seeds, relative to their mean;
  the mean of it over recipes.

  Args:
    scores: [..., R recipes, S checkpoints or seeds], above 0 on average.
    dispersion: range | std.

  Raises:
    UserError: an unknown dispersion, fewer than two recipes or checkpoints, or
      numbers that are not finite.
  """
  choose('dispersion', dispersion, DISPERSIONS)
  scores = np.asarray(scores, np.float64)
  if scores.ndim < 2 or min(scores.shape[-2:]) < 2:
    raise UserError(
      f'scores of shape {scores.shape}: expected [..., recipes, checkpoints], '
      'two of each at least'
    )
  mean = np.mean(scores, axis=-1)
  if not np.all(np.isfinite(mean) & (mean > 0)):
    raise UserError('scores: expected finite numbers, above 0 on average')
  apart = np.ptp(mean, axis=-1)
  if dispersion == 'std':
    apart = np.std(mean, axis=-1, ddof=1)
  signal = apart / np.mean(mean, axis=-1)
  noise = np.mean(np.std(scores, axis=-1, ddof=1) / mean, axis=-1)
  ratio = np.where(noise > 0, signal, np.inf) / np.where(noise > 0, noise, 1.0)
  return SignalToNoise(signal, noise, ratio)


def proxy_agreement(proxy: np.ndarray, target: np.ndarray) -> Agreement:
  """Rank correlations of a proxy metric with a target over recipes, [R] each.

  Raises:
    UserError: arrays that do not match, fewer than two recipes, numbers that
      are not finite, or all equal.
  """
  both = [np.asarray(each, np.float64) for each in (proxy, target)]
  if both[0].shape != both[1].shape or both[0].ndim != 1 or len(both[0]) < 2:
    raise UserError(
      f'proxy of shape {both[0].shape}, target {both[1].shape}: expected one '
      'number for each of two recipes or more'
    )
  for name, column in zip(('proxy', 'target'), both, strict=True):
    if not np.all(np.isfinite(column)) or np.ptp(column) == 0:
      raise UserError(f'{name}: expected finite numbers that differ')
  return Agreement(
    float(stats.kendalltau(*both).statistic),
    float(stats.spearmanr(*both).statistic),
  )


def _seeds(name: str, values: np.ndarray) -> np.ndarray:
  """As [R, seeds]."""
  values = np.asarray(values, np.float64)
  values_RxS = values[:, None] if values.ndim == 1 else values
  if values_RxS.ndim != 2 or len(values_RxS) < 2:
    raise UserError(
      f'{name} of shape {values.shape}: expected [recipes] or [recipes, seeds]'
    )
  if np.any(np.isinf(values_RxS)):
    raise UserError(f'{name}: expected finite numbers, NaN for an absent seed')
  empty = np.flatnonzero(np.all(np.isnan(values_RxS), axis=1))
  if len(empty):
    raise UserError(f'{name}: recipe {empty[0]} has no number')
  return values_RxS


def _redrawn(values_RxS: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """The mean of each recipe's seeds, drawn with replacement."""
  seeds_R = np.sum(np.isfinite(values_RxS), axis=1)
  # Absent seeds come last, out of reach.
  sorted_RxS = np.sort(values_RxS, axis=1)
  pick_RxS = rng.integers(seeds_R[:, None], size=values_RxS.shape)
  counts = np.arange(values_RxS.shape[1]) < seeds_R[:, None]
  drawn_RxS = np.take_along_axis(sorted_RxS, pick_RxS, axis=1)
  return np.sum(drawn_RxS, axis=1, where=counts) / seeds_R


def _pairs(
  small_R: np.ndarray, target_R: np.ndarray, tie: float
) -> tuple[np.ndarray, np.ndarray]:
  """Of pairs above the diagonal: how right, 0, 1/2 or 1; and whether known."""
  said_RxR = small_R[:, None] - small_R
  truth_RxR = target_R[:, None] - target_R
  right_RxR = (1 + np.sign(said_RxR) * np.sign(truth_RxR)) / 2
  known_RxR = np.triu(np.abs(truth_RxR) > tie, 1)
  return right_RxR, known_RxR
