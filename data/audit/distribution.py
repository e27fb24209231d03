"""How values are spread, in memory that does not grow with their number."""

import math
from collections import Counter
from typing import Any

import numpy as np

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class Distribution:
  """Counts of values that are rounded to three significant digits.

  So quantiles are off by half a per cent at most, and integers below 1,000 are
  exact, as are the mean, the least and the most.
  """

  def __init__(self) -> None:
    self.counts: Counter[float] = Counter()
    self.total = 0.0
    self.least = math.inf
    self.most = -math.inf

  def count(self, value_P: np.ndarray) -> None:
    """Adds the value of each document."""
    if not len(value_P):
      return
    distinct, times = np.unique(value_P, return_counts=True)
    for value, time in zip(distinct.tolist(), times.tolist(), strict=True):
      self.counts[float(f'{value:.3g}')] += time
    self.total += float(value_P.sum())
    self.least = min(self.least, float(value_P.min()))
    self.most = max(self.most, float(value_P.max()))

  def add(self, other: 'Distribution') -> None:
    """Adds what another has counted."""
    self.counts.update(other.counts)
    self.total += other.total
    self.least = min(self.least, other.least)
    self.most = max(self.most, other.most)

  def tree(self) -> dict[str, Any]:
    """JSON-able: 'mean', 'min', 'max', 'quantiles' by level.

    The quantile of level q is the least value with a share of at least q at or
    below it. At least one value must have been counted.
    """
    number = self.counts.total()
    values = sorted(self.counts)
    below = np.cumsum([self.counts[value] for value in values])
    places = np.searchsorted(below, np.array(QUANTILES) * number)
    return {
      'mean': self.total / number,
      'min': self.least,
      'max': self.most,
      'quantiles': {
        f'{level:g}': min(max(values[place], self.least), self.most)
        for level, place in zip(QUANTILES, places, strict=True)
      },
    }
