import io
import math

import matplotlib
import numpy as np
import pytest

from scaling import plots
from scaling.fit import fit_law
from scaling.forecast import forecast, forecast_score

N, D = 1.58e6, 6.4e6


@pytest.fixture(scope='module')
def points(truth, ladder):
  return ladder(truth, 0.003, np.random.default_rng(0))


@pytest.fixture(scope='module')
def fit(points):
  return fit_law(points, delta=math.inf, resamples=50)


@pytest.fixture(scope='module')
def loss(fit):
  return forecast(fit, {'params': N, 'tokens': D, 'flops': 6 * N * D})


@pytest.fixture(scope='module')
def scores(as_scores):
  x = np.linspace(2.5, 4.5, 14)
  score = 0.6 / (1 + np.exp(3 * (x - 3.0))) + 0.25
  return as_scores(x, score, 0.015)


def _labels(figure):
  return [text.get_text() for text in figure.legends[0].get_texts()]


def _renders(figure):
  target = io.BytesIO()
  figure.savefig(target, format='png')
  assert target.getvalue().startswith(b'\x89PNG')
  # Letters of 11 px at 360 px of width.
  assert figure.get_figwidth() * 72 <= 360
  assert all(
    text.get_fontsize() >= 10 for text in figure.legends[0].get_texts()
  )


def test_loss_figure_shows_points_frontier_forecast_and_truth(
  points, fit, loss
):
  figure = plots.loss_figure(
    points, fit, forecast=loss, flops=6 * N * D, truth=2.8
  )
  (axes,) = figure.axes
  assert axes.get_xlabel() == 'training compute (FLOPs)'
  assert axes.get_ylabel() == 'held-out loss (nats per token)'
  labels = _labels(figure)
  assert '25k parameters' in labels
  assert {
    'efficient frontier',
    'forecast, 90% interval',
    'measured after the forecast',
  } <= set(labels)
  markers = [
    line.get_marker()
    for line in axes.lines
    if str(line.get_label()).endswith('parameters')
  ]
  assert len(set(markers)) == len(markers) == 5
  _renders(figure)


def test_many_sizes_are_one_series(as_points, truth, law):
  n = np.geomspace(1e4, 1e6, 24)
  d = np.tile([1e6, 2e6, 4e6], 8)
  points = as_points(n, d, law(truth, n, d))
  fit = fit_law(points, delta=math.inf, resamples=20)
  labels = _labels(plots.loss_figure(points, fit))
  assert labels[0] == 'runs'
  assert len(labels) == 3


def test_score_figure_shows_bars_law_and_forecast(scores, loss):
  fit = fit_law(scores, 'sigmoid', fixed={'b': 0.25}, resamples=50)
  score = forecast_score(loss, fit, items=1000)
  figure = plots.score_figure(
    scores, fit, loss=loss, forecast=score, truth=(2.8, 0.6)
  )
  (axes,) = figure.axes
  assert axes.get_ylabel() == 'choice/accuracy (share right)'
  left, right = axes.get_xlim()
  assert left > right  # better to the right
  assert 'chance' in _labels(figure)
  _renders(figure)


def test_residual_figure_is_in_per_cent(points, fit):
  figure = plots.residual_figure(points, fit)
  (axes,) = figure.axes
  shown = np.concatenate([line.get_ydata() for line in axes.lines[:-1]])
  assert 0.05 < np.std(shown) < 1
  assert '(%)' in axes.get_ylabel()
  _renders(figure)


def test_global_state_is_left_alone(points, fit):
  before = dict(matplotlib.rcParams)
  plots.residual_figure(points, fit)
  assert dict(matplotlib.rcParams) == before
