"""Can this ladder tell what a larger model will score on a task?"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from scaling.fitted import Fit
from scaling.forecast import Forecast
from scaling.points import Points

_LUCK = 0.05  # chance that what is seen of the scores is luck
_WIDE = 0.5  # of the range from floor to ceiling that an interval may take


class Verdict(NamedTuple):
  """Whether a task is predictable from a ladder, and every reason why not."""

  predictable: bool
  reasons: tuple[str, ...]

  def __str__(self) -> str:
    if self.predictable:
      return 'predictable from this ladder'
    return f'not predictable from this ladder: {"; ".join(self.reasons)}'


def verdict(points: Points, fit: Fit, forecast: Forecast) -> Verdict:
  """Judges a task by its scores, their law and what it forecasts.

  Args:
    points: scores with the column `loss`.
    fit: a law from loss to score, whose parameter b is the score of chance.
    forecast: of the run in question.
  """
  floor = fit.params.get('b', 0.0)
  reasons = []
  # Bonferroni: any of the scores may be the lucky one.
  needed = stats.norm.isf(_LUCK / len(points))
  above = points.value - floor > needed * points.stderr
  if not np.any(above):
    reasons.append('no score is above chance')
  if len(points) > 2:
    order = stats.spearmanr(points['loss'], points.value, alternative='less')
    if not order.pvalue < _LUCK:
      reasons.append(
        'scores do not rise as the loss falls (rank correlation '
        f'{order.statistic:.2f})'
      )
  if 'x0' in fit.params and np.min(points['loss']) > fit.params['x0']:
    reasons.append('only the start of the rise is seen, not its middle')
  if forecast.lower is None or forecast.upper is None:
    reasons.append('too few runs for an interval')
  elif forecast.upper - forecast.lower > _WIDE * (1 - floor):
    reasons.append(
      f'the interval, {forecast.lower:.2f} to {forecast.upper:.2f}, is more '
      'than half of the range from chance to all right'
    )
  return Verdict(not reasons, tuple(reasons))
