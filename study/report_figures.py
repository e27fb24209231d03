"""The learning curves of a study, and figures as PNG and SVG."""

import base64
import io
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from train.metrics import read_metrics

# Okabe and Ito's palette, in the order of scaling.plot_data, so that a size has
# one colour throughout a report.
_COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#E69F00')
_FONT = 11  # points, on a figure of 4.8 inches: 11 px on a phone
_WINDOWS = 30  # a decade of tokens, over each of which losses are averaged


class Curve(NamedTuple):
  """How the loss of one run fell.

  `tokens_T` and `loss_T` are those of its log, `final` the validation loss at
  its end, None while it is under way.
  """

  size: str
  tokens_T: np.ndarray
  loss_T: np.ndarray
  final: float | None
  held_out: bool
  repeat: bool


def read_curve(
  path: pathlib.Path, size: str, *, held_out: bool, repeat: bool
) -> Curve | None:
  """The curve of a run from its metrics.jsonl; None before its first line."""
  lines = read_metrics(path)
  logged = [line for line in lines if 'loss' in line]
  finals = [
    line['validation_loss'] for line in lines if 'validation_loss' in line
  ]
  if not logged:
    return None
  return Curve(
    size=size,
    tokens_T=np.array([line['tokens'] for line in logged], np.float64),
    loss_T=np.array([line['loss'] for line in logged], np.float64),
    final=finals[-1] if finals else None,
    held_out=held_out,
    repeat=repeat,
  )


def learning_figure(curves: Sequence[Curve]) -> Figure:
  """Training loss against tokens, a line each run, coloured by size.

  A batch is a small sample of text, so the losses of one are noisy: those in a
  window of a thirtieth of a decade are averaged. A run that branches off
  another coincides with it up to there.

  Args:
    curves: sizes in the order of their colours; the held-out run is black.
  """
  figure = Figure(figsize=(4.8, 4.8), dpi=200, layout='constrained')
  axes = figure.add_subplot()
  sizes = list(dict.fromkeys(c.size for c in curves if not c.held_out))
  for curve in curves:
    place = None if curve.held_out else sizes.index(curve.size)
    colour = 'black' if place is None else _COLOURS[place % len(_COLOURS)]
    tokens, loss = _windows(curve.tokens_T, curve.loss_T)
    axes.plot(
      tokens,
      loss,
      '--' if curve.repeat else '-',
      color=colour,
      linewidth=1.8 if curve.held_out else 1.1,
      label=_label(curve),
    )
    if curve.final is not None:
      axes.plot(
        curve.tokens_T[-1:],
        [curve.final],
        'D',
        color=colour,
        markeredgecolor='black',
        markeredgewidth=0.6,
        markersize=5,
        zorder=3,
      )
  axes.plot(
    [], [], 'D', color='white', markeredgecolor='black', label='validation loss'
  )
  axes.set_xscale('log')
  axes.set_xlabel('tokens of training', fontsize=_FONT)
  axes.set_ylabel('training loss (nats per token)', fontsize=_FONT)
  axes.xaxis.set_major_formatter(FuncFormatter(_power))
  axes.tick_params(labelsize=_FONT)
  axes.grid(True, color='0.9', linewidth=0.8)
  axes.set_axisbelow(True)
  _legend(figure, axes)
  return figure


def as_png(figure: Figure) -> bytes:
  """The figure as PNG, at its own resolution."""
  buffer = io.BytesIO()
  figure.savefig(buffer, format='png')
  return buffer.getvalue()


def as_svg_uri(figure: Figure) -> str:
  """The figure as a data URI: an image that stays sharp and needs no file.

  The same figure gives the same bytes; letters are outlines, so no font is
  needed where it is shown.
  """
  buffer = io.BytesIO()
  with matplotlib.rc_context({'svg.hashsalt': 'study', 'svg.fonttype': 'path'}):
    figure.savefig(buffer, format='svg', metadata={'Date': None})
  encoded = base64.b64encode(buffer.getvalue()).decode()
  return f'data:image/svg+xml;base64,{encoded}'


def _windows(
  tokens_T: np.ndarray, loss_T: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Means over windows of equal width in log tokens."""
  window_T = np.floor(np.log10(tokens_T) * _WINDOWS)
  _, window_T = np.unique(window_T, return_inverse=True)
  count_W = np.bincount(window_T)
  return (
    np.exp(np.bincount(window_T, np.log(tokens_T)) / count_W),
    np.bincount(window_T, loss_T) / count_W,
  )


def _label(curve: Curve) -> str:
  if curve.held_out:
    return f'{curve.size}, held out'
  return f'{curve.size}, other seed' if curve.repeat else curve.size


def _power(value: float, _: int) -> str:
  return f'{value:.0e}'.replace('e+0', 'e').replace('e+', 'e')


def _legend(figure: Figure, axes: Axes) -> None:
  handles, labels = axes.get_legend_handles_labels()
  once = dict(zip(labels, handles, strict=True))
  figure.legend(
    once.values(),
    once.keys(),
    loc='outside lower center',
    ncols=2,
    fontsize=_FONT - 1,
    frameon=False,
    columnspacing=1.0,
    handletextpad=0.5,
  )
