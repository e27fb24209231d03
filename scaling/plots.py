"""Figures drawn by Matplotlib, legible on a phone and in print."""

import io
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import (
  FuncFormatter,
  Locator,
  LogLocator,
  MaxNLocator,
  NullFormatter,
  NullLocator,
)

from configs.files import write_bytes
from scaling import plot_data
from scaling.plot_data import Band, Layer, Line, Markers, Rule, Style, number

_FONT = 11  # points, on a figure of 4.8 inches: 11 px on a phone
_WIDTH, _HEIGHT = 4.8, 5.4  # inches
_MARKERS = {
  'circle': 'o',
  'square': 's',
  'triangle-up': '^',
  'diamond': 'D',
  'triangle-down': 'v',
  'cross': 'P',
  'x': 'X',
  'triangle-left': '<',
  'triangle-right': '>',
  'star': '*',
}
_DASHES = {'solid': '-', 'dash': '--', 'dashdot': '-.', 'dot': ':'}
_NARROW = 26  # letters of labels that fit beside each other


def draw(figure: plot_data.Figure) -> Figure:
  """A Matplotlib figure of a description; no global state is read or left."""
  height = _HEIGHT * figure.height
  drawn = Figure(figsize=(_WIDTH, height), dpi=200, layout='constrained')
  axes = drawn.add_subplot()
  axes.set_title(figure.title, fontsize=_FONT)
  axes.set_xlabel(figure.x.label, fontsize=_FONT)
  axes.set_ylabel(figure.y.label, fontsize=_FONT)
  axes.tick_params(labelsize=_FONT)
  axes.grid(True, which='major', color='0.9', linewidth=0.8)
  axes.set_axisbelow(True)
  axes.set_xscale(figure.x.scale)
  axes.set_yscale(figure.y.scale)
  handles = [
    # Matplotlib's own order puts every line above every area.
    _draw(axes, layer, crowded=figure.crowded, zorder=2 + index / 5)
    for index, layer in enumerate(figure.layers)
  ]
  _ticks(axes.xaxis, axes.get_xlim(), most=6)
  _ticks(axes.yaxis, axes.get_ylim(), most=10)
  if figure.x.reversed:
    axes.invert_xaxis()
  if figure.y.reversed:
    axes.invert_yaxis()
  _legend(drawn, handles, [layer.label for layer in figure.layers])
  return drawn


def _draw(axes: Axes, layer: Layer, *, crowded: bool, zorder: float) -> Any:
  """Draws one layer, and returns what stands for it in a legend."""
  style = layer.style
  dash, colour = _DASHES[style.dash], style.colour
  if isinstance(layer, Band):
    return axes.fill_between(
      layer.x,
      layer.lower,
      layer.upper,
      color=colour,
      linewidth=0,
      zorder=zorder,
    )
  if isinstance(layer, Rule):
    across = axes.axvline if layer.axis == 'x' else axes.axhline
    return across(
      layer.at, linestyle=dash, color=colour, linewidth=1.2, zorder=zorder
    )
  if isinstance(layer, Line):
    width = 1.8 if layer.label else 1.2
    (line,) = axes.plot(
      layer.x, layer.y, dash, color=colour, linewidth=width, zorder=zorder
    )
    return line
  marker = _marker(style, crowded)
  if isinstance(layer, Markers):
    (line,) = axes.plot(layer.x, layer.y, **marker, zorder=zorder)
    return line
  return axes.errorbar(
    layer.x,
    layer.y,
    yerr=layer.reach,
    **marker,
    ecolor=colour if style.strong else '0.5',
    elinewidth=2 if style.strong else 1,
    capsize=6 if style.strong else 2,
    zorder=zorder,
  )


def _marker(style: Style, crowded: bool) -> dict[str, Any]:
  small = crowded and not style.strong
  size, edge = (4, 0.3) if small else (7, 0.6)
  if style.strong:
    size = 14 if style.marker == 'star' else 8
  return {
    'linestyle': 'none',
    'marker': _MARKERS[style.marker],
    'markersize': size,
    'markerfacecolor': style.colour if style.filled else 'white',
    'markeredgecolor': 'black' if style.filled else style.colour,
    # An outline is all that is seen of a marker that is not filled.
    'markeredgewidth': edge if style.filled else edge + 0.6,
  }


def _ticks(axis: Axis, limits: tuple[float, float], most: int) -> None:
  """Numbers that do not overlap: round ones of their own kind."""
  low, high = limits
  decades = np.log10(high / low) if axis.get_scale() == 'log' else 0.0
  axis.set_major_locator(_locator(decades, most))
  axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
  # Over one decade the minor ticks would be labelled too, one on the other.
  axis.set_minor_formatter(NullFormatter())
  if not isinstance(axis.get_major_locator(), LogLocator):
    axis.set_minor_locator(NullLocator())


def _locator(decades: float, most: int) -> Locator:
  if decades < 1:
    return MaxNLocator(nbins=most, steps=[1, 2, 5, 10])
  if 3 * decades <= most:
    return LogLocator(subs=(1, 2, 5))
  if 2 * decades <= most:
    return LogLocator(subs=(1, 3))
  return LogLocator(numticks=most)


def _legend(figure: Figure, handles: list[Any], labels: list[str]) -> None:
  rows = [row for row, label in enumerate(labels) if label]
  if not rows:
    return
  figure.legend(
    [handles[row] for row in rows],
    [labels[row] for row in rows],
    loc='outside lower center',
    ncols=2 if max(map(len, labels)) <= _NARROW else 1,
    fontsize=_FONT - 1,
    frameon=False,
    columnspacing=1.0,
    handletextpad=0.5,
  )


def write(folder: str, figures: Mapping[str, plot_data.Figure]) -> None:
  """Writes each figure into a folder, as a PNG of its name."""
  for name, figure in figures.items():
    image = io.BytesIO()
    draw(figure).savefig(image, format='png')
    write_bytes(pathlib.Path(folder) / f'{name}.png', image.getvalue())
