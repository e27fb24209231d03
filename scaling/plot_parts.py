"""What figures of laws are made of: words, groups of runs, and bands."""

from collections.abc import Iterator

import numpy as np
from scipy import stats

from scaling.fitted import Fit
from scaling.forecast import Forecast
from scaling.intervals import percentile
from scaling.law import Law
from scaling.plot_data import (
  CROWD,
  FORECAST,
  SHADE,
  TRUTH,
  Axis,
  Band,
  Bars,
  Layer,
  Line,
  Markers,
  Style,
  series,
)
from scaling.points import Points

MANY = 8  # sizes, above which they are grouped
_GROUPS = 6  # of equal width in log size
_PER_CENT = 95  # of the intervals of scores
_NAMES = {
  'params': 'parameters',
  'tokens': 'training tokens',
  'flops': 'training compute (FLOPs)',
  'heldout/loss': 'held-out loss (nats per token)',
}
_UNITS = {'score': ' (share right)', 'error': ' (share wrong)'}


def input_axis(points: Points, name: str) -> Axis:
  """The axis of a column: sizes grow by factors, and a loss falls."""
  if name == 'loss':
    label = named(points.conventions.get('loss', 'loss'))
    return Axis(f'{label}, falling', reversed=True)
  return Axis(named(name), 'log')


def value_axis(points: Points, law: Law, fit: Fit) -> Axis:
  """The axis of what was measured, in the space of the residuals."""
  label = value_name(points, law)
  return Axis(label + _UNITS.get(law.value, ''), fit.space)


def value_name(points: Points, law: Law) -> str:
  """What was measured, with its unit where that is known."""
  return named(points.conventions.get('value') or law.value)


def named(name: str) -> str:
  """A column's name in words."""
  return _NAMES.get(name, name.replace('_', ' '))


def count(number: float) -> str:
  """A large number in three digits: 1.23M."""
  for unit, name in ((1e12, 'T'), (1e9, 'B'), (1e6, 'M'), (1e3, 'k')):
    if number >= unit:
      return f'{number / unit:.3g}{name}'
  return f'{number:.3g}'


def groups(points: Points) -> Iterator[tuple[str, np.ndarray, Style]]:
  """Runs by size, or by ranges of size where there are many: label, rows."""
  if 'params' not in points.columns:
    yield 'runs', np.arange(len(points)), series(0)
    return
  params = points['params']
  sizes, group = np.unique(params, return_inverse=True)
  if len(sizes) > MANY:
    edges = np.geomspace(sizes[0], sizes[-1], _GROUPS + 1)
    group = np.searchsorted(edges[1:-1], params, side='right')
  for index, member in enumerate(np.unique(group)):
    rows = np.flatnonzero(group == member)
    low, high = np.min(params[rows]), np.max(params[rows])
    label = points.size[rows[0]] or f'{count(low)} parameters'
    if low < high:
      label = f'{count(low)} to {count(high)} parameters'
    yield label, rows, series(index)


def notes(points: Points) -> tuple[str, ...]:
  """A run each in words: its name, its size and its tokens."""
  told = [[size] if size else [] for size in points.size]
  for name in ('params', 'tokens'):
    if name in points.columns:
      for words, number in zip(told, points[name], strict=True):
        words.append(f'{count(number)} {named(name)}')
  return tuple(', '.join(words) for words in told)


def measured(points: Points, name: str) -> Markers | Bars:
  """Runs by one column, with the 95% interval of each where it is known.

  Wilson's of a share of items (Wilson 1927, J. Am. Stat. Assoc. 22(158)), else
  the normal one of standard errors.
  """
  x, y, style = points[name], points.value, series(0)
  if 'items' in points.columns:
    lower, upper = np.transpose(
      [_wilson(*pair) for pair in zip(y, points['items'], strict=True)]
    )
  elif np.any(points.stderr > 0):
    half = stats.norm.ppf(0.5 + _PER_CENT / 200) * points.stderr
    lower, upper = y - half, y + half
  else:
    return Markers(x, y, 'measured', style, notes(points))
  label = f'measured, {_PER_CENT}% interval'
  return Bars(x, y, lower, upper, label, style, notes(points))


def band(x: np.ndarray, curve_RxM: np.ndarray, fit: Fit, label: str) -> Band:
  """Where the law lies, by its bootstrap refits, at the fit's level."""
  lower, upper = percentile(curve_RxM, fit.level)
  return Band(x, lower, upper, f'{fit.level:.0%} band of the {label}', SHADE)


def stacked(
  under: list[Layer], curve: Line, runs: list[Layer], points: Points
) -> list[Layer]:
  """The curve behind the runs, or before them where they would hide it."""
  if len(points) < CROWD:
    return [*under, curve, *runs]
  return [*under, *runs, curve]


def forecast_point(x: float, forecast: Forecast) -> Markers | Bars:
  """A forecast, with its interval where it has one."""
  at, value = np.array([x]), np.array([forecast.value])
  if forecast.lower is None or forecast.upper is None:
    return Markers(at, value, 'forecast', FORECAST)
  return Bars(
    at,
    value,
    np.array([forecast.lower]),
    np.array([forecast.upper]),
    f'forecast, {forecast.level:.0%} interval',
    FORECAST,
  )


def truth_point(x: float, value: float) -> Markers:
  """What was measured of the run that had been forecast."""
  return Markers(np.array([x]), np.array([value]), 'measured afterwards', TRUTH)


def _wilson(share: float, items: float) -> tuple[float, float]:
  right = round(share * items)
  found = stats.binomtest(right, round(items)).proportion_ci(
    _PER_CENT / 100, method='wilson'
  )
  return float(found.low), float(found.high)
