"""Figures that question a law: residuals, profiles, and laws compared."""

import dataclasses

import numpy as np

from scaling.compare import Comparison
from scaling.fitted import Fit
from scaling.laws import known_law
from scaling.plot_data import (
  LAW,
  REFERENCE,
  Axis,
  Figure,
  Layer,
  Line,
  Markers,
  Rule,
  number,
  series,
)
from scaling.plot_parts import groups, input_axis, notes, value_axis, value_name
from scaling.points import Points, average_seeds
from scaling.profile import Profile
from scaling.rolling import Held

_SHORT = 0.78  # height of figures that need less
_ABOVE = 3.0  # thresholds, up to which a profile is drawn
_WIDE = 8.0  # ratio of the largest value to the smallest, from which x is log
_STEPS = 5  # of equal width in log distance, over which errors have a median


def residual_plot(points: Points, fit: Fit) -> Figure:
  """Residuals of the rungs, in per cent of the law's value or in its unit.

  Against the law's only input, or the FLOPs of training; where there are none,
  against the law's value.

  Args:
    points: what was fitted; seeds are averaged as in the fit.
    fit: of any law.
  """
  law = known_law(fit.law)
  rungs = average_seeds(points, law.inputs, fit.space).points
  fitted = law.predict(fit.params_P, rungs.columns)
  measured = value_axis(points, law, fit)
  if len(law.inputs) == 1 or 'flops' in rungs.columns:
    name = law.inputs[0] if len(law.inputs) == 1 else 'flops'
    x, axis = rungs[name], input_axis(points, name)
  else:
    x, axis = fitted, Axis(f'{measured.label}, by the law', fit.space)
  off = rungs.value - fitted
  label = f'{measured.label} − the law'
  if fit.space == 'log':
    off = 100 * (rungs.value / fitted - 1)
    # The unit cancels.
    bare = value_name(points, law).partition(' (')[0]
    label = f'{bare} over the law − 1 (%)'
  layers: list[Layer] = [Rule('y', 0.0, '', LAW)]
  for name, rows, style in groups(rungs):
    told = notes(rungs.take(rows))
    layers.append(Markers(x[rows], off[rows], name, style, told))
  return Figure(axis, Axis(label), tuple(layers), height=_SHORT)


def profile_plot(profile: Profile, name: str) -> Figure:
  """How much worse a law fits as a parameter moves away from its estimate.

  The statistic, the threshold beyond which a value is outside the interval, and
  the ends of the interval. Values that are far outside are left out.

  Args:
    profile: of `scaling.profile.profile`.
    name: of the parameter.
  """
  best = np.argmin(profile.statistic)
  far = np.flatnonzero(profile.statistic > _ABOVE * profile.threshold)
  first = np.max(far[far < best], initial=-1) + 1
  last = np.min(far[far > best], initial=len(profile.values))
  values = profile.values[first:last]
  statistic = profile.statistic[first:last]
  wide = values[0] > 0 and values[-1] > _WIDE * values[0]
  best -= first
  ends = [end for end in (profile.lower, profile.upper) if end is not None]
  layers: list[Layer] = [
    Rule('y', profile.threshold, 'threshold', REFERENCE),
    *(
      Rule('x', end, said, series(0))
      for end, said in zip(ends, [_interval(profile), ''], strict=False)
    ),
    Line(values, statistic, 'profile', LAW),
    Markers(
      values[[best]],
      statistic[[best]],
      f'{name} = {number(values[best], 4)}',
      series(1),
    ),
  ]
  return Figure(
    Axis(name, 'log' if wide else 'linear'),
    Axis('likelihood ratio'),
    tuple(layers),
    title='' if ends else f'the data leave {name} open on both sides',
    height=_SHORT,
  )


def comparison_plot(comparison: Comparison) -> Figure:
  """Errors of laws on rungs that they had not seen, by how far those are.

  The absolute relative error of every forecast against the FLOPs of its rung in
  terms of the largest fitted run's, with the median over steps of distance. The
  legend tells the median error of each law and the share of its intervals that
  held the truth.

  Args:
    comparison: of `scaling.compare.compare`.
  """
  runs: list[Layer] = []
  lines: list[Layer] = []
  for index, (name, standing) in enumerate(comparison.standings.items()):
    held = [one for one in comparison.rolled.held if one.law == name]
    distance = np.array([one.flops / one.cutoff for one in held])
    error = np.array([100 * abs(one.relative_error) for one in held])
    label = (
      f'{name}: median {standing.median_error:.2%}, '
      f'{standing.coverage:.0%} covered'
    )
    told = tuple(_held(one) for one in held)
    style = series(index)
    outline = dataclasses.replace(style, filled=False)
    runs.append(Markers(distance, error, '', outline, told))
    medians = _medians(distance, error)
    lines += [
      Line(*medians, '', style),
      Markers(*medians, label, dataclasses.replace(style, strong=True)),
    ]
  found = f'{comparison.winner} wins' if comparison.winner else 'no winner'
  return Figure(
    Axis('FLOPs over those of the largest fitted run', 'log'),
    Axis('absolute error of the forecast (%)', 'log'),
    (*runs, *lines),
    title=f'{found}; {comparison.rolled.level:.0%} intervals',
  )


def _interval(profile: Profile) -> str:
  """The interval in words, where it has an end."""
  low, high = (
    None if end is None else number(end, 4)
    for end in (profile.lower, profile.upper)
  )
  if low is None:
    return f'up to {high}, open below'
  return f'{low} to {high}' if high else f'from {low}, open above'


def _held(one: Held) -> str:
  return (
    f'{one.flops:.3g} FLOPs, fitted up to {one.cutoff:.3g}: '
    f'{one.forecast:.4g} for {one.truth:.4g}'
  )


def _medians(
  distance: np.ndarray, error: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Median distance and error of each step of distance that has any."""
  edges = np.geomspace(np.min(distance), np.max(distance), _STEPS + 1)
  step = np.searchsorted(edges[1:-1], distance, side='right')
  steps = [step == one for one in np.unique(step)]
  return (
    np.array([np.median(distance[here]) for here in steps]),
    np.array([np.median(error[here]) for here in steps]),
  )
