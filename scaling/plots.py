"""Figures of laws, legible on a phone and in black-and-white print."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
  FuncFormatter,
  LogLocator,
  MaxNLocator,
  NullFormatter,
)
from scipy import stats

from scaling.fitted import Fit
from scaling.forecast import Forecast
from scaling.frontier import flops_per_token, frontier
from scaling.laws import LAWS
from scaling.points import Points, average_seeds

# Okabe and Ito's palette, told apart by colour-blind readers; the markers tell
# the series apart without any colour.
_COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#E69F00')
_MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '<', '>')
_DASHES = ('-', '--', '-.', ':')
_FONT = 11  # points, on a figure of 4.8 inches: 11 px on a phone
_MANY = 8  # sizes, above which points are one series


def loss_figure(
  points: Points,
  fit: Fit,
  *,
  forecast: Forecast | None = None,
  flops: float | None = None,
  truth: float | None = None,
) -> Figure:
  """Loss against training compute: points by size, law, frontier, forecast.

  Args:
    points: what was fitted.
    fit: the law.
    forecast: of one run, drawn with its interval; None for none.
    flops: of that run.
    truth: the loss of that run, once measured.
  """
  law = LAWS[fit.law]
  figure, axes = _figure()
  for label, rows, colour, marker, dash in _series(points):
    part = points.take(rows)
    axes.plot(
      part['flops'],
      part.value,
      marker,
      color=colour,
      markeredgecolor='black',
      markeredgewidth=0.6,
      markersize=7,
      label=label,
      zorder=3,
    )
    if np.ptp(part['params']) == 0:
      tokens = np.geomspace(np.min(part['tokens']), np.max(part['tokens']), 50)
      cost = tokens * flops_per_token(points, part['params'][:1])
      curve = law.predict(
        fit.params_P, {'params': part['params'][:1], 'tokens': tokens}
      )
      axes.plot(cost, curve, dash, color=colour, linewidth=1.2)
  right = max(np.max(points['flops']), flops or 0)
  budgets = np.geomspace(np.min(points['flops']), right * 1.3, 100)
  efficient, least = frontier(law, fit.params_P, points, budgets)
  if len(fit.samples):
    tokens = budgets / flops_per_token(points, efficient)
    axes.fill_between(
      budgets,
      *_band(
        law.predict(fit.samples, {'params': efficient, 'tokens': tokens}),
        fit.level,
      ),
      color='0.85',
      label=f'{fit.level:.0%} band of the frontier',
    )
  axes.plot(
    budgets, least, color='black', linewidth=1.8, label='efficient frontier'
  )
  if forecast is not None and flops is not None:
    _draw_forecast(axes, flops, forecast)
    if truth is not None:
      _draw_truth(axes, flops, truth)
  axes.set_xscale('log')
  axes.set_yscale('log')
  axes.set_xlabel('training compute (FLOPs)')
  axes.set_ylabel(f'{_loss_name(points)} (nats per token)')
  _plain_log(axes)
  _legend(figure, axes)
  return figure


def score_figure(
  scores: Points,
  fit: Fit,
  *,
  loss: Forecast | None = None,
  forecast: Forecast | None = None,
  truth: tuple[float, float] | None = None,
) -> Figure:
  """A task's score against loss: Wilson 95% bars, sigmoid, chance, forecast.

  Args:
    scores: what was fitted.
    fit: the sigmoid.
    loss: forecast of one run's loss, where its score is drawn; None for none.
    forecast: of that run's score.
    truth: that run's measured loss and score.
  """
  law = LAWS[fit.law]
  figure, axes = _figure()
  low, high = np.array(
    [
      _wilson(score, n)
      for score, n in zip(scores.value, scores['items'], strict=True)
    ]
  ).T
  axes.errorbar(
    scores['loss'],
    scores.value,
    yerr=np.maximum([scores.value - low, high - scores.value], 0),
    fmt='o',
    color=_COLOURS[0],
    ecolor='0.5',
    capsize=2,
    label='measured, 95% interval',
  )
  seen = [*scores['loss'], *([loss.value] if loss else []), *(truth or ())[:1]]
  margin = 0.1 * (max(seen) - min(seen))
  grid = np.linspace(min(seen) - margin, max(seen) + margin, 200)
  if len(fit.samples):
    axes.fill_between(
      grid,
      *_band(law.predict(fit.samples, {'loss': grid}), fit.level),
      color='0.85',
      label=f'{fit.level:.0%} band of the law',
    )
  axes.plot(
    grid, law.predict(fit.params_P, {'loss': grid}), 'k-', label='sigmoid'
  )
  axes.axhline(fit.params['b'], color='0.4', linestyle=':', label='chance')
  if loss is not None and forecast is not None:
    _draw_forecast(axes, loss.value, forecast)
  if truth is not None:
    _draw_truth(axes, *truth)
  axes.invert_xaxis()
  axes.set_xlabel('held-out loss (nats per token), falling')
  axes.set_ylabel(f'{fit.conventions["value"] or "score"} (share right)')
  _legend(figure, axes)
  return figure


def residual_figure(points: Points, fit: Fit) -> Figure:
  """Residuals of the loss, in per cent of the law's, against compute."""
  law = LAWS[fit.law]
  rungs = average_seeds(points, law.inputs).points
  figure, axes = _figure(height=4.2)
  for label, rows, colour, marker, _ in _series(rungs):
    part = rungs.take(rows)
    fitted = law.predict(fit.params_P, part.columns)
    axes.plot(
      part['flops'],
      100 * (part.value / fitted - 1),
      marker,
      color=colour,
      markeredgecolor='black',
      markeredgewidth=0.6,
      markersize=7,
      label=label,
    )
  axes.axhline(0, color='black', linewidth=1)
  axes.set_xscale('log')
  axes.set_xlabel('training compute (FLOPs)')
  axes.set_ylabel('loss over the law − 1 (%)')
  axes.xaxis.set_major_formatter(FuncFormatter(_power))
  # Over one decade the minor ticks would be labelled too, one on the other.
  axes.xaxis.set_minor_formatter(NullFormatter())
  _legend(figure, axes)
  return figure


def _figure(height: float = 5.4) -> tuple[Figure, Axes]:
  figure = Figure(figsize=(4.8, height), dpi=200, layout='constrained')
  axes = figure.add_subplot()
  axes.tick_params(labelsize=_FONT)
  axes.xaxis.label.set_fontsize(_FONT)
  axes.yaxis.label.set_fontsize(_FONT)
  axes.grid(True, which='major', color='0.9', linewidth=0.8)
  axes.set_axisbelow(True)
  return figure, axes


def _series(
  points: Points,
) -> Iterator[tuple[str, np.ndarray, str, str, str]]:
  """One series a size: label, rows, colour, marker, dash."""
  sizes = np.unique(points['params'])
  if len(sizes) > _MANY:
    yield 'runs', np.arange(len(points)), _COLOURS[0], 'o', '-'
    return
  for index, size in enumerate(sizes):
    rows = np.flatnonzero(points['params'] == size)
    yield (
      points.size[rows[0]] or f'{_count(size)} parameters',
      rows,
      _COLOURS[index % len(_COLOURS)],
      _MARKERS[index % len(_MARKERS)],
      _DASHES[index % len(_DASHES)],
    )


def _band(curve_RxX: np.ndarray, level: float) -> np.ndarray:
  tail = (1 - level) / 2
  return np.quantile(curve_RxX, [tail, 1 - tail], axis=0)


def _draw_forecast(axes: Axes, x: float, forecast: Forecast) -> None:
  bars = None
  label = 'forecast'
  if forecast.lower is not None and forecast.upper is not None:
    # A percentile interval need not hold the point forecast.
    bars = np.maximum(
      [[forecast.value - forecast.lower], [forecast.upper - forecast.value]], 0
    )
    label = f'forecast, {forecast.level:.0%} interval'
  axes.errorbar(
    [x],
    [forecast.value],
    yerr=bars,
    fmt='D',
    markersize=8,
    markerfacecolor='white',
    markeredgecolor='black',
    ecolor='black',
    elinewidth=2,
    capsize=6,
    label=label,
    zorder=4,
  )


def _draw_truth(axes: Axes, x: float, truth: float) -> None:
  axes.plot(
    [x],
    [truth],
    '*',
    color='#D55E00',
    markeredgecolor='black',
    markeredgewidth=0.6,
    markersize=14,
    label='measured after the forecast',
    zorder=5,
  )


def _plain_log(axes: Axes) -> None:
  """Ticks as powers of ten on x, as plain numbers on a short log y axis."""
  axes.xaxis.set_major_locator(LogLocator(numticks=6))
  axes.xaxis.set_major_formatter(FuncFormatter(_power))
  axes.yaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 5, 10]))
  axes.yaxis.set_major_formatter(FuncFormatter(_number))
  axes.yaxis.set_minor_locator(LogLocator(subs=[]))


def _power(value: float, _: int) -> str:
  return f'{value:.0e}'.replace('e+', 'e')


def _number(value: float, _: int) -> str:
  return f'{value:g}'


def _count(number: float) -> str:
  for unit, name in ((1e9, 'B'), (1e6, 'M'), (1e3, 'k')):
    if number >= unit:
      return f'{number / unit:.3g}{name}'
  return f'{number:.3g}'


def _loss_name(points: Points) -> str:
  known = {'heldout/loss': 'held-out loss'}
  measured = points.conventions['value']
  return known.get(measured, measured)


def _wilson(score: float, items: float) -> tuple[float, float]:
  right = round(score * items)
  interval = stats.binomtest(right, round(items)).proportion_ci(method='wilson')
  return float(interval.low), float(interval.high)


def _legend(figure: Figure, axes: Axes) -> None:
  handles, labels = axes.get_legend_handles_labels()
  figure.legend(
    handles,
    labels,
    loc='outside lower center',
    ncols=2,
    fontsize=_FONT - 1,
    frameon=False,
    columnspacing=1.0,
    handletextpad=0.5,
  )
