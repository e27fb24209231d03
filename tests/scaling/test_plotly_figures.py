import json
import math
import sys

import numpy as np
import pytest

from configs.errors import UserError
from scaling import plotly_figures
from scaling.fit import fit_law
from scaling.forecast import forecast
from scaling.plot_data import (
  LAW,
  Axis,
  Band,
  Bars,
  Figure,
  Line,
  Markers,
  Rule,
  series,
)
from scaling.plot_fit import loss_plot, plots_of
from scaling.ready import prepare

pytest.importorskip('plotly', reason='plotly is not installed')

RUN = {'params': 1.58e6, 'tokens': 6.4e6, 'flops': 6 * 1.58e6 * 6.4e6}


@pytest.fixture(scope='module')
def points(truth, ladder):
  return ladder(truth, 0.003, np.random.default_rng(0))


@pytest.fixture(scope='module')
def described(points, as_scores):
  """Figures of fits, with all kinds of layers among them."""
  fit = fit_law(points, delta=math.inf, resamples=50)
  told = forecast(fit, RUN)
  x = np.linspace(2.5, 4.5, 14)
  score = 0.6 / (1 + np.exp(3 * (x - 3.0))) + 0.25
  scores = as_scores(x, score)
  sigmoid = fit_law(scores, 'sigmoid', fixed={'b': 0.25}, resamples=50)
  ready = prepare(scores, 'sigmoid', fixed={'b': 0.25})
  return {
    'forecast': loss_plot(
      points, fit, forecast=told, flops=RUN['flops'], truth=2.8
    ),
    **plots_of(scores, sigmoid, ready),
  }


def test_traces_hold_the_numbers_of_the_description(described):
  kinds = set()
  for figure in described.values():
    drawn = plotly_figures.draw(figure)
    traces, shapes = iter(drawn.data), iter(drawn.layout.shapes)
    for layer in figure.layers:
      kinds.add(type(layer))
      if isinstance(layer, Rule):
        shape = next(shapes)
        ends = {shape[f'{layer.axis}{end}'] for end in (0, 1)}
        assert ends == {layer.at}
        continue
      trace = next(traces)
      np.testing.assert_array_equal(trace.x, layer.x)
      if isinstance(layer, Band):
        np.testing.assert_array_equal(trace.y, layer.lower)
        trace = next(traces)
        np.testing.assert_array_equal(trace.x, layer.x)
        np.testing.assert_array_equal(trace.y, layer.upper)
        assert trace.fill == 'tonexty'
      else:
        np.testing.assert_array_equal(trace.y, layer.y)
      if isinstance(layer, Bars):
        bars = trace.error_y
        np.testing.assert_allclose(layer.y + bars.array, layer.upper)
        np.testing.assert_allclose(layer.y - bars.arrayminus, layer.lower)
    assert not [*traces, *shapes]
  assert kinds == {Band, Bars, Line, Markers, Rule}


def test_legend_labels_and_axes(described):
  drawn = plotly_figures.draw(described['forecast'])
  shown = [trace.name for trace in drawn.data if trace.showlegend is not False]
  assert shown[:2] == ['90% band of the frontier', 'efficient frontier']
  assert shown[-2:] == ['forecast, 90% interval', 'measured afterwards']
  assert drawn.layout.xaxis.title.text == 'training compute (FLOPs)'
  assert drawn.layout.yaxis.title.text == 'held-out loss (nats per token)'
  assert drawn.layout.xaxis.type == drawn.layout.yaxis.type == 'log'
  assert drawn.data[-2].marker.symbol == 'diamond'
  assert drawn.data[-2].marker.color == 'white'
  assert drawn.data[-1].marker.symbol == 'star'


def test_a_loss_falls_to_the_right(described):
  axis = plotly_figures.draw(described['score']).layout.xaxis
  assert (axis.type, axis.autorange) == ('linear', 'reversed')
  axis = plotly_figures.draw(described['profile_k']).layout.xaxis
  assert axis.autorange is True


def test_rules_cross_the_figure_and_are_in_the_legend(described):
  (chance,) = plotly_figures.draw(described['score']).layout.shapes
  assert (chance.y0, chance.y1) == (0.25, 0.25)
  assert (chance.x0, chance.x1, chance.xref) == (0, 1, 'x domain')
  assert (chance.name, chance.showlegend) == ('chance', True)
  threshold, low, high = plotly_figures.draw(
    described['profile_k']
  ).layout.shapes
  assert threshold.name == 'threshold'
  assert (low.y0, low.y1, low.yref) == (0, 1, 'y domain')
  assert high.showlegend is False


def test_hovering_shows_values_and_what_a_run_was(described):
  drawn = plotly_figures.draw(described['forecast'])
  (run,) = [t for t in drawn.data if t.name == '150k parameters']
  assert run.text[0] == '150k parameters, 800k training tokens'
  for part in ('%{text}', '%{x:', '%{y:', 'training compute (FLOPs)'):
    assert part in run.hovertemplate
  told = drawn.data[-2]
  low, high = told.customdata[0]
  assert low < told.y[0] < high
  assert '%{customdata[0]' in told.hovertemplate


def test_html_and_json_hold_the_figure(described):
  for figure in described.values():
    drawn = plotly_figures.draw(figure)
    tree = json.loads(drawn.to_json())
    assert len(tree['data']) == len(drawn.data)
    assert '<div' in drawn.to_html(include_plotlyjs=False, full_html=False)


def test_a_title_has_room():
  layer = Line(np.ones(2), np.ones(2), 'law', LAW)
  bare = plotly_figures.draw(Figure(Axis('x'), Axis('y'), (layer,)))
  named = plotly_figures.draw(
    Figure(Axis('x'), Axis('y'), (layer,), title='no winner')
  )
  assert named.layout.title.text == 'no winner'
  assert named.layout.margin.t > bare.layout.margin.t


def test_defaults_of_plotly_are_left_alone(described):
  import plotly.io

  before = plotly.io.templates.default
  plotly_figures.draw(described['score'])
  assert plotly.io.templates.default == before


def test_without_plotly_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'plotly', None)
  layer = Markers(np.ones(1), np.ones(1), 'runs', series(0))
  with pytest.raises(UserError, match=r"pip install -e '\.\[plotly\]'"):
    plotly_figures.draw(Figure(Axis('x'), Axis('y'), (layer,)))
