"""Intervals widened by how forecasts of rungs missed before.

Split conformal prediction (Vovk et al. 2005; Lei et al. 2018, J. Am. Stat.
Assoc. 113(523)) with errors in units of each interval's own reach to that side:
if the rungs held out so far were missed by up to q reaches, the next may be.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from scaling.forecast import Forecast
from scaling.rolling import Held


def widening(held: Sequence[Held], level: float) -> float | None:
  """By what factor one law's intervals should have been wider, at least one.

  The factor is the ceil((n + 1) level)-th smallest miss of n rungs; each counts
  once, as it was forecast from the most runs below it.

  Args:
    held: of one law, as `scaling.rolling.roll` makes them.
    level: of the intervals.

  Returns:
    None with too few rungs: at 90%, below nine, the next could lie beyond all.
  """
  latest: dict[int, Held] = {}
  for one in sorted(held, key=lambda h: h.cutoff):
    latest[one.rung] = one
  misses = np.sort([one.miss for one in latest.values()])
  place = math.ceil((len(misses) + 1) * level)
  if place > len(misses):
    return None
  return max(1.0, float(misses[place - 1]))


def widen(told: Forecast, factor: float) -> Forecast:
  """The forecast with its draws stretched about its value."""
  if factor == 1 or told.lower is None or told.upper is None:
    return told
  stretched = {
    name: told.value + factor * (getattr(told, name) - told.value)
    for name in ('lower', 'upper', 'samples')
  }
  return dataclasses.replace(
    told,
    **stretched,
    warnings=(
      *told.warnings,
      f'interval {factor:.3g} times as wide as the law says: so far off were '
      'rungs that were held out',
    ),
  )
