"""Figures of fitted laws: the runs, the curve through them, and its band."""

import dataclasses

import numpy as np

from scaling.allocation import AXES, Allocation
from scaling.fitted import Fit
from scaling.forecast import Forecast
from scaling.frontier import flops_per_token, frontier
from scaling.isoflop import predict
from scaling.laws import known_law
from scaling.plot_checks import profile_plot, residual_plot
from scaling.plot_data import (
  LAW,
  SHADE,
  Axis,
  Band,
  Bars,
  Figure,
  Layer,
  Line,
  Markers,
  Rule,
  series,
)
from scaling.plot_parts import (
  band,
  forecast_point,
  groups,
  input_axis,
  measured,
  named,
  notes,
  stacked,
  truth_point,
  value_axis,
)
from scaling.points import Points
from scaling.profile import profile
from scaling.ready import Ready
from scaling.trust import enough_points

_SURFACE = {'params', 'tokens'}  # what a compute-efficient frontier is found in
_GRID = 200  # points of a curve
_BEYOND = 1.3  # times the largest budget, that a frontier is drawn to
_MARGIN = 0.1  # of the span of the losses, that a curve is drawn beyond them


def loss_plot(
  points: Points,
  fit: Fit,
  *,
  forecast: Forecast | None = None,
  flops: float | None = None,
  truth: float | None = None,
) -> Figure:
  """Loss against training compute: runs by size, law, frontier, forecast.

  Args:
    points: what was fitted, with a column `flops`.
    fit: of a law of the loss in params and tokens.
    forecast: of one run, drawn with its interval; None for none.
    flops: of that run.
    truth: the loss of that run, once measured.
  """
  law = known_law(fit.law)
  right = max(np.max(points['flops']), flops or 0)
  budgets = np.geomspace(np.min(points['flops']), right * _BEYOND, _GRID)
  efficient, least = frontier(law, fit.params_P, points, budgets)
  under: list[Layer] = []
  runs: list[Layer] = []
  if len(fit.samples):
    tokens = budgets / flops_per_token(points, efficient)
    curves = law.predict(fit.samples, {'params': efficient, 'tokens': tokens})
    under.append(band(budgets, curves, fit, 'frontier'))
  for label, rows, style in groups(points):
    part = points.take(rows)
    size = part['params'][:1]
    if np.ptp(part['params']) == 0:
      tokens = np.geomspace(np.min(part['tokens']), np.max(part['tokens']), 50)
      curve = law.predict(fit.params_P, {'params': size, 'tokens': tokens})
      cost = tokens * flops_per_token(points, size)
      runs.append(Line(cost, curve, '', style))
    runs.append(Markers(part['flops'], part.value, label, style, notes(part)))
  line = Line(budgets, least, 'efficient frontier', LAW)
  layers = stacked(under, line, runs, points)
  if forecast is not None and flops is not None:
    layers.append(forecast_point(flops, forecast))
    if truth is not None:
      layers.append(truth_point(flops, truth))
  return Figure(
    input_axis(points, 'flops'), value_axis(points, law, fit), tuple(layers)
  )


def score_plot(
  scores: Points,
  fit: Fit,
  *,
  loss: Forecast | None = None,
  forecast: Forecast | None = None,
  truth: tuple[float, float] | None = None,
) -> Figure:
  """A task's score against loss: 95% intervals, law, chance, forecast.

  Args:
    scores: what was fitted.
    fit: of a law from loss to score with a floor b, such as the sigmoid.
    loss: forecast of one run's loss, where its score is drawn; None for none.
    forecast: of that run's score.
    truth: that run's measured loss and score.
  """
  at = [loss.value] if loss else []
  layers = _curve(scores, fit, [*at, *(truth or ())[:1]])
  layers.append(Rule('y', fit.params['b'], 'chance'))
  if loss is not None and forecast is not None:
    layers.append(forecast_point(loss.value, forecast))
  if truth is not None:
    layers.append(truth_point(*truth))
  law = known_law(fit.law)
  return Figure(
    input_axis(scores, 'loss'), value_axis(scores, law, fit), tuple(layers)
  )


def curve_plot(points: Points, fit: Fit) -> Figure:
  """The value against the only input of a law: runs, curve and band.

  Args:
    points: what was fitted.
    fit: of a law of one input.
  """
  law = known_law(fit.law)
  (name,) = law.inputs
  return Figure(
    input_axis(points, name),
    value_axis(points, law, fit),
    tuple(_curve(points, fit, [])),
  )


def agreement_plot(points: Points, fit: Fit) -> Figure:
  """The law's value against the measured one, with the law's interval.

  For laws of several inputs, which no single curve shows.

  Args:
    points: what was fitted.
    fit: of any law.
  """
  law = known_law(fit.law)
  fitted = law.predict(fit.params_P, points.columns)
  ends = np.array([np.min(points.value), np.max(points.value)])
  title = ''
  if len(fit.samples):
    title = f'bars: {fit.level:.0%} interval of the law'
  layers: list[Layer] = [Line(ends, ends, 'law = measured', LAW)]
  for label, rows, style in groups(points):
    part = points.take(rows)
    x, y, told = part.value, fitted[rows], notes(part)
    if len(fit.samples):
      curves = law.predict(fit.samples, part.columns)
      found = band(x, curves, fit, 'law')
      layers.append(Bars(x, y, found.lower, found.upper, label, style, told))
    else:
      layers.append(Markers(x, y, label, style, told))
  axis = value_axis(points, law, fit)
  return Figure(
    dataclasses.replace(axis, label=f'{axis.label}, measured'),
    dataclasses.replace(axis, label=f'{axis.label}, by the law'),
    tuple(layers),
    title=title,
  )


def plots_of(
  points: Points, fit: Fit, ready: Ready | None = None
) -> dict[str, Figure]:
  """Every figure that applies to a fit, by name.

  The first is the law itself: `loss` for one of the loss in params and tokens,
  `score` for one from loss to score, `curve` for another of one input, else
  `agreement`. Then `residuals`, and `profile_<name>` of each parameter that was
  sought.

  Args:
    points: what was fitted.
    fit: of them.
    ready: what `scaling.ready.prepare` made of them, for the profiles; None for
      no profiles, which take a refit for each of many values.
  """
  law = known_law(fit.law)
  if law.inputs == ('loss',) and 'b' in fit.params:
    found = {'score': score_plot(points, fit)}
  elif len(law.inputs) == 1:
    found = {'curve': curve_plot(points, fit)}
  elif set(law.inputs) == _SURFACE and law.value == 'loss':
    found = {'loss': loss_plot(points, fit)}
  else:
    found = {'agreement': agreement_plot(points, fit)}
  found['residuals'] = residual_plot(points, fit)
  if ready is not None and enough_points(ready.problem):
    for name, value in fit.params.items():
      # A term that is not there has no neighbourhood to look at.
      if name not in ready.problem.fixed and value:
        curve = profile(ready, name, level=fit.level)
        found[f'profile_{name}'] = profile_plot(curve, name)
  return found


def plots_of_allocation(found: Allocation) -> dict[str, Figure]:
  """The best params and tokens against compute: optima, law and band."""
  optima, fit = found.optima, found.fit
  flops = np.geomspace(np.min(optima.flops), np.max(optima.flops), _GRID)
  law = predict(fit, flops)
  figures = {}
  for name in AXES:
    layers: list[Layer] = []
    span = getattr(law, f'{name}_interval')
    if span is not None:
      low, high = span
      label = f'{fit.level:.0%} band of the law'
      layers.append(Band(flops, low, high, label, SHADE))
    layers.append(Line(flops, getattr(law, name), f'{fit.law} law', LAW))
    best = getattr(optima, name)
    reach = np.exp(getattr(optima, f'{name}_stderr'))
    label = 'optima, one standard error'
    layers.append(
      Bars(optima.flops, best, best / reach, best * reach, label, series(0))
    )
    figures[name] = Figure(
      Axis(named('flops'), 'log'),
      Axis(f'best {named(name)}', 'log'),
      tuple(layers),
    )
  return figures


def _curve(points: Points, fit: Fit, beyond: list[float]) -> list[Layer]:
  """Band, curve and runs of a law of one input, as far as some inputs."""
  law = known_law(fit.law)
  (name,) = law.inputs
  seen = [*points[name], *beyond]
  low, high = min(seen), max(seen)
  if name == 'loss':
    margin = _MARGIN * (high - low)
    grid = np.linspace(max(low - margin, low / 2), high + margin, _GRID)
  else:
    margin = (high / low) ** (_MARGIN / 2)
    grid = np.geomspace(low / margin, high * margin, _GRID)
  under: list[Layer] = []
  if len(fit.samples):
    curves = law.predict(fit.samples, {name: grid})
    under.append(band(grid, curves, fit, 'law'))
  curve = law.predict(fit.params_P, {name: grid})
  line = Line(grid, curve, law.name, LAW)
  return stacked(under, line, [measured(points, name)], points)
