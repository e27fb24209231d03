import io
import itertools

import matplotlib
import matplotlib.colors
import numpy as np
import pytest
from matplotlib import _pylab_helpers

from scaling import plot_data, plots
from scaling.plot_data import (
  FORECAST,
  LAW,
  SHADE,
  TRUTH,
  Axis,
  Band,
  Bars,
  Figure,
  Line,
  Markers,
  Rule,
  series,
)

X = np.array([1e18, 4e18, 2e19])
Y = np.array([3.0, 2.8, 2.5])
AT = np.array([1e20]), np.array([2.3])


@pytest.fixture
def figure():
  """Every kind of layer, on log axes."""
  return Figure(
    Axis('compute', 'log'),
    Axis('loss', 'log'),
    (
      Band(X, Y - 0.1, Y + 0.2, 'band', SHADE),
      Line(X, Y, 'law', LAW),
      Line(X, 1.1 * Y, '', series(1)),
      Markers(X, Y, 'runs', series(0)),
      Bars(*AT, AT[1] - 0.2, AT[1] + 0.1, 'forecast', FORECAST),
      Markers(*AT, 'truth', TRUTH),
      Rule('y', 2.4, 'floor'),
      Rule('x', 5e18, ''),
    ),
    title='all of it',
  )


def test_layers_hold_the_numbers_of_the_description(figure):
  (axes,) = plots.draw(figure).axes
  law, size, runs, forecast, *caps, truth, floor, cut = axes.lines
  for line, x, y in (
    (law, X, Y),
    (size, X, 1.1 * Y),
    (runs, X, Y),
    (forecast, *AT),
    (truth, *AT),
  ):
    np.testing.assert_array_equal(line.get_xdata(), x)
    np.testing.assert_array_equal(line.get_ydata(), y)
  assert set(floor.get_ydata()) == {2.4}
  assert set(cut.get_xdata()) == {5e18}
  ends = [cap.get_ydata().item() for cap in caps]
  assert ends == pytest.approx([2.1, 2.4])
  area, bars = axes.collections
  outline = area.get_paths()[0].vertices
  for x, low, high in zip(X, Y - 0.1, Y + 0.2, strict=True):
    there = outline[outline[:, 0] == x][:, 1]
    assert (np.min(there), np.max(there)) == pytest.approx((low, high))
  np.testing.assert_allclose(bars.get_segments()[0][:, 1], [2.1, 2.4])


def test_axes_labels_and_scales(figure):
  drawn = plots.draw(figure)
  (axes,) = drawn.axes
  assert (axes.get_xlabel(), axes.get_ylabel()) == ('compute', 'loss')
  assert axes.get_xscale() == axes.get_yscale() == 'log'
  assert axes.get_title() == 'all of it'
  labels = [text.get_text() for text in drawn.legends[0].get_texts()]
  assert labels == ['band', 'law', 'runs', 'forecast', 'truth', 'floor']


def test_a_reversed_axis_falls(figure):
  reversed_ = Figure(Axis('loss', reversed=True), Axis('score'), figure.layers)
  (axes,) = plots.draw(reversed_).axes
  left, right = axes.get_xlim()
  assert left > right
  assert axes.get_xscale() == 'linear'
  low, high = axes.get_ylim()
  assert low < high


def test_styles_differ_without_colour():
  layers = tuple(Markers(X + i, Y, f'series {i}', series(i)) for i in range(9))
  (axes,) = plots.draw(Figure(Axis('x'), Axis('y'), layers)).axes
  assert len({line.get_marker() for line in axes.lines}) == 9
  lines = tuple(Line(X, Y, f'{i}', series(i)) for i in range(4))
  (axes,) = plots.draw(Figure(Axis('x'), Axis('y'), lines)).axes
  assert len({line.get_linestyle() for line in axes.lines}) == 4


def test_forecast_is_an_open_diamond_and_truth_a_star(figure):
  (axes,) = plots.draw(figure).axes
  forecast, truth = axes.lines[3], axes.lines[-3]
  assert forecast.get_marker() == 'D'
  assert matplotlib.colors.to_hex(forecast.get_markerfacecolor()) == '#ffffff'
  assert truth.get_marker() == '*'
  assert truth.get_markersize() > axes.lines[2].get_markersize()


def test_markers_shrink_in_a_crowd():
  sizes = []
  for count in (plot_data.CROWD - 1, plot_data.CROWD):
    x = np.arange(1.0, count + 1)
    layer = Markers(x, x, 'runs', series(0))
    (axes,) = plots.draw(Figure(Axis('x'), Axis('y'), (layer,))).axes
    sizes.append(axes.lines[0].get_markersize())
  assert sizes[1] < sizes[0]


@pytest.mark.parametrize(
  'low, high, expected',
  [
    (2.4, 4.0, ['2.5', '3', '3.5', '4']),
    (1e18, 6e19, ['1e18', '2e18', '5e18', '1e19', '2e19', '5e19']),
    (1e18, 1e20, ['1e18', '3e18', '1e19', '3e19', '1e20']),
    (1e-6, 0.01, ['1e−6', '1e−5', '0.0001', '0.001', '0.01']),
    (1e16, 1e22, ['1e16', '1e17', '1e18', '1e19', '1e20', '1e21', '1e22']),
  ],
)
def test_ticks_of_log_axes_are_round_and_few(low, high, expected):
  x = np.geomspace(low, high, 5)
  layer = Line(x, x, 'law', LAW)
  drawn = plots.draw(Figure(Axis('x', 'log'), Axis('y'), (layer,)))
  drawn.canvas.draw()
  axis = drawn.axes[0].xaxis
  shown = [
    label.get_text()
    for label, place in zip(
      axis.get_ticklabels(), axis.get_ticklocs(), strict=True
    )
    if 0.999 * low <= place <= 1.001 * high
  ]
  assert set(shown) <= set(expected)
  assert len(shown) >= 3
  # No two labels overlap.
  boxes = [
    label.get_window_extent()
    for label in axis.get_ticklabels()
    if label.get_text()
  ]
  boxes.sort(key=lambda box: box.x0)
  assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_letters_can_be_read_on_a_phone(figure):
  drawn = plots.draw(figure)
  target = io.BytesIO()
  drawn.savefig(target, format='png')
  assert target.getvalue().startswith(b'\x89PNG')
  # Letters of 11 px at 360 px of width.
  assert drawn.get_figwidth() * 72 <= 360
  (axes,) = drawn.axes
  letters = [
    *drawn.legends[0].get_texts(),
    *axes.get_xticklabels(),
    axes.xaxis.label,
    axes.title,
  ]
  assert min(text.get_fontsize() for text in letters) >= 10
  width, height = drawn.canvas.get_width_height()
  box = drawn.legends[0].get_window_extent()
  assert box.x0 >= 0 and box.x1 <= width
  assert box.y0 >= 0 and box.y1 < height


def test_global_state_is_left_alone(figure):
  before = dict(matplotlib.rcParams)
  plots.draw(figure)
  assert dict(matplotlib.rcParams) == before
  assert not _pylab_helpers.Gcf.figs


def test_no_labels_no_legend():
  layer = Line(X, Y, '', LAW)
  assert not plots.draw(Figure(Axis('x'), Axis('y'), (layer,))).legends
