"""Scores: what was measured, how sure it is, and over how many items."""

import dataclasses
import math
import statistics
from typing import Any

import numpy as np

from configs.errors import UserError

CONFIDENCE = 0.95  # of the interval of an accuracy


@dataclasses.dataclass(frozen=True)
class Score:
  """A metric over independent items.

  Attributes:
    value: the metric.
    stderr: standard error of `value` from the spread over the items.
    n: items.
    interval: of an accuracy, bounds that cover its expectation with
      probability `CONFIDENCE`; None for other metrics.
  """

  value: float
  stderr: float
  n: int
  interval: tuple[float, float] | None = None

  def as_json(self) -> dict[str, Any]:
    """`{value, stderr, n}`, and `interval` where there is one."""
    tree: dict[str, Any] = {
      'value': self.value,
      'stderr': self.stderr,
      'n': self.n,
    }
    if self.interval is not None:
      tree['interval'] = list(self.interval)
    return tree


def accuracy(correct_N: np.ndarray) -> Score:
  """The share p of correct items, with its Wilson interval.

  The standard error is sqrt(p (1 - p) / (N - 1)): that of a mean.

  Raises:
    UserError: fewer than two items.
  """
  n = _enough(len(correct_N))
  successes = int(np.count_nonzero(correct_N))
  p = successes / n
  return Score(
    p, math.sqrt(p * (1 - p) / (n - 1)), n, wilson_interval(successes, n)
  )


def wilson_interval(
  successes: int, n: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
  """The score interval of a binomial proportion (Wilson 1927).

  (p + z^2/2n -+ z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n), where p is
  successes / n and z the normal quantile of (1 + confidence) / 2. Unlike
  p -+ z stderr it stays within [0, 1] and is no point at p = 0 and p = 1.
  """
  z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
  p = successes / n
  centre = p + z**2 / (2 * n)
  half = z * math.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
  scale = 1 + z**2 / n
  # The exact bounds at the ends, which rounding would miss by an ulp.
  low = 0.0 if successes == 0 else (centre - half) / scale
  high = 1.0 if successes == n else (centre + half) / scale
  return low, high


def ratio(numerators_N: np.ndarray, denominators_N: np.ndarray) -> Score:
  """The ratio of totals R = sum x / sum y, such as bits a byte over items.

  Its standard error is that of the linearised ratio (Cochran 1977, chapter 6):
  sqrt(N / (N - 1) sum (x - R y)^2) / sum y.

  Raises:
    UserError: fewer than two items.
  """
  x_N = np.asarray(numerators_N, np.float64)
  y_N = np.asarray(denominators_N, np.float64)
  n = _enough(len(x_N))
  total = float(np.sum(y_N))
  value = float(np.sum(x_N)) / total
  squares = float(np.sum((x_N - value * y_N) ** 2))
  return Score(value, math.sqrt(n / (n - 1) * squares) / total, n)


def exponential(score: Score) -> Score:
  """exp of a score; the standard error by the delta method."""
  value = math.exp(score.value)
  return Score(value, value * score.stderr, score.n)


def _enough(n: int) -> int:
  if n < 2:
    raise UserError(
      f'{n} items to score: at least 2, or there is no standard error; raise '
      'the limit, or give more text'
    )
  return n
