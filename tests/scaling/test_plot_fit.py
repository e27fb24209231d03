import dataclasses
import math

import numpy as np
import pytest

from scaling.chain import fit_chain, forecast_chain
from scaling.fit import fit_law
from scaling.forecast import forecast
from scaling.frontier import frontier
from scaling.isoflop import fit_isoflop, predict
from scaling.laws import known_law
from scaling.plot_data import Band, Bars, Line, Markers, Rule
from scaling.plot_fit import (
  agreement_plot,
  curve_plot,
  loss_plot,
  plots_of,
  plots_of_allocation,
  score_plot,
)
from scaling.ready import prepare
from scaling.table import from_columns

RUN = {'params': 1.58e6, 'tokens': 6.4e6, 'flops': 6 * 1.58e6 * 6.4e6}


@pytest.fixture(scope='module')
def points(truth, ladder):
  return ladder(truth, 0.003, np.random.default_rng(0))


@pytest.fixture(scope='module')
def fit(points):
  return fit_law(points, delta=math.inf, resamples=50)


@pytest.fixture(scope='module')
def scores(as_scores):
  x = np.linspace(2.5, 4.5, 14)
  score = 0.6 / (1 + np.exp(3 * (x - 3.0))) + 0.25
  return as_scores(x, np.round(score, 3), 0.015)


@pytest.fixture(scope='module')
def sigmoid(scores):
  return fit_law(scores, 'sigmoid', fixed={'b': 0.25}, resamples=50)


def only(figure, kind):
  return [layer for layer in figure.layers if isinstance(layer, kind)]


def by_label(figure):
  return {layer.label: layer for layer in figure.layers if layer.label}


def test_loss_shows_every_run_by_size(points, fit):
  figure = loss_plot(points, fit)
  shown = only(figure, Markers)
  assert [layer.label for layer in shown] == [
    f'{size} parameters' for size in ('25k', '55k', '150k', '440k', '790k')
  ]
  np.testing.assert_array_equal(
    np.concatenate([layer.x for layer in shown]), points['flops']
  )
  np.testing.assert_array_equal(
    np.concatenate([layer.y for layer in shown]), points.value
  )
  assert len({layer.style.marker for layer in shown}) == 5
  assert shown[0].notes[1] == '25k parameters, 1.6M training tokens'
  assert figure.x.label == 'training compute (FLOPs)'
  assert figure.y.label == 'held-out loss (nats per token)'
  assert figure.x.scale == figure.y.scale == 'log'


def test_loss_lines_are_the_law_at_each_size(points, fit, law):
  size_lines = [
    line for line in only(loss_plot(points, fit), Line) if not line.label
  ]
  assert len(size_lines) == 5
  for line, n in zip(size_lines, np.unique(points['params']), strict=True):
    there = law(fit.params_P, n, line.x / (6 * n))
    np.testing.assert_allclose(line.y, there)


def test_frontier_has_the_band_of_its_refits(points, fit, law):
  layers = by_label(loss_plot(points, fit))
  line, band = layers['efficient frontier'], layers['90% band of the frontier']
  n, least = frontier(known_law(fit.law), fit.params_P, points, line.x)
  np.testing.assert_array_equal(line.y, least)
  refits = np.stack([law(p, n, line.x / (6 * n)) for p in fit.samples])
  lower, upper = np.quantile(refits, [0.05, 0.95], axis=0)
  np.testing.assert_allclose(band.lower, lower)
  np.testing.assert_allclose(band.upper, upper)
  assert np.max(line.x) > np.max(points['flops'])


def test_loss_shows_the_forecast_and_then_the_truth(points, fit):
  told = forecast(fit, RUN)
  figure = loss_plot(points, fit, forecast=told, flops=RUN['flops'], truth=2.8)
  bars, star = figure.layers[-2:]
  assert bars.label == 'forecast, 90% interval'
  assert (bars.x, bars.y) == (RUN['flops'], told.value)
  assert (bars.lower, bars.upper) == (told.lower, told.upper)
  assert (bars.style.marker, bars.style.filled) == ('diamond', False)
  assert (star.x, star.y) == (RUN['flops'], 2.8)
  assert star.style.marker == 'star'
  bare = dataclasses.replace(told, lower=None, upper=None)
  figure = loss_plot(points, fit, forecast=bare, flops=RUN['flops'])
  assert isinstance(figure.layers[-1], Markers)
  assert figure.layers[-1].label == 'forecast'


def test_many_sizes_are_ranges_and_do_not_hide_the_law(as_points, truth, law):
  n = np.geomspace(1e4, 1e6, 64)
  d = np.tile([1e6, 2e6, 4e6, 8e6], 16)
  points = as_points(n, d, law(truth, n, d))
  figure = loss_plot(points, fit_law(points, delta=math.inf, resamples=8))
  shown = only(figure, Markers)
  assert len(shown) == 6
  assert shown[0].label == '10k to 20.8k parameters'
  assert sum(len(layer.x) for layer in shown) == 64
  assert figure.crowded
  assert figure.layers[-1].label == 'efficient frontier'


def test_too_few_points_have_no_band(ladder, truth):
  points = ladder(truth, 0.003, np.random.default_rng(0)).take(range(9))
  figure = loss_plot(points, fit_law(points, resamples=8))
  assert not only(figure, Band)


def test_scores_have_the_intervals_of_wilson(scores, sigmoid):
  figure = score_plot(scores, sigmoid)
  (bars,) = only(figure, Bars)
  p, n, z = scores.value, 1000, 1.959963984540054
  centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
  half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
  np.testing.assert_allclose(bars.lower, centre - half)
  np.testing.assert_allclose(bars.upper, centre + half)
  assert bars.label == 'measured, 95% interval'
  assert figure.x.reversed
  assert figure.x.scale == figure.y.scale == 'linear'
  assert figure.y.label == 'choice/accuracy (share right)'


def test_scores_show_the_law_chance_and_a_forecast(scores, sigmoid, points):
  chain = fit_chain(points, scores, fixed={'b': 0.25}, resamples=50)
  loss, score = forecast_chain(chain, RUN, items=1000)
  figure = score_plot(
    scores, chain.score, loss=loss, forecast=score, truth=(2.4, 0.6)
  )
  layers = by_label(figure)
  assert layers['chance'] == Rule('y', 0.25, 'chance')
  a, k, x0, b = chain.score.params_P
  line = layers['sigmoid']
  np.testing.assert_allclose(line.y, a / (1 + np.exp(-k * (line.x - x0))) + b)
  assert min(line.x) < 2.4 < 4.5 < max(line.x)
  told = layers['forecast, 90% interval']
  assert (told.x, told.y) == (loss.value, score.value)
  assert (layers['measured afterwards'].y) == 0.6


def test_a_loss_is_named_where_the_points_tell(scores, sigmoid):
  assert score_plot(scores, sigmoid).x.label == 'loss, falling'
  conventions = scores.conventions | {'loss': 'heldout/loss'}
  named = dataclasses.replace(scores, conventions=conventions)
  label = score_plot(named, sigmoid).x.label
  assert label == 'held-out loss (nats per token), falling'


def test_a_law_of_one_input_is_a_curve_with_its_band(points):
  fit = fit_law(points, 'kaplan_compute', resamples=50)
  figure = curve_plot(points, fit)
  band, line, runs = figure.layers
  np.testing.assert_array_equal(runs.x, points['flops'])
  c, alpha = fit.params_P
  np.testing.assert_allclose(line.y, (c / line.x) ** alpha)
  refits = np.stack([(c / line.x) ** alpha for c, alpha in fit.samples])
  np.testing.assert_allclose(
    [band.lower, band.upper], np.quantile(refits, [0.05, 0.95], axis=0)
  )
  assert figure.x.scale == figure.y.scale == 'log'


def test_standard_errors_are_bars():
  x = np.linspace(2, 5, 12)
  error = 0.86 - 2.2 * np.exp(-0.71 * x)
  columns = {'loss': x, 'error': error, 'stderr': np.full(12, 0.01)}
  points = from_columns(columns, ('loss',), 'error')
  fit = fit_law(points, 'exponential_error', resamples=8)
  figure = curve_plot(points, fit)
  (bars,) = only(figure, Bars)
  np.testing.assert_allclose(bars.reach, 0.0196, rtol=1e-3)
  assert figure.y.label == 'error (share wrong)'
  assert figure.x.reversed
  assert set(plots_of(points, fit)) == {'curve', 'residuals'}


def test_a_law_of_several_inputs_agrees_with_what_was_measured():
  rng = np.random.default_rng(0)
  n, d = np.repeat([1e6, 1e7, 1e8], 4), np.tile([1e5, 1e6, 1e7, 1e8], 3)
  value = 40 * d**0.2 * n**0.4 * np.exp(0.05 * rng.standard_normal(12))
  points = from_columns(
    {'params': n, 'finetune_tokens': d, 'transferred_tokens': value},
    ('finetune_tokens', 'params'),
    'transferred_tokens',
  )
  fit = fit_law(points, 'transfer', resamples=50)
  figure = agreement_plot(points, fit)
  shown = only(figure, Bars)
  assert [layer.label for layer in shown] == [
    f'{size} parameters' for size in ('1M', '10M', '100M')
  ]
  np.testing.assert_array_equal(shown[0].x, value[:4])
  k, alpha, beta = fit.params_P
  np.testing.assert_allclose(shown[0].y, k * d[:4] ** alpha * 1e6**beta)
  refits = np.stack([k * d[:4] ** a * 1e6**b for k, a, b in fit.samples])
  np.testing.assert_allclose(
    [shown[0].lower, shown[0].upper],
    np.quantile(refits, [0.05, 0.95], axis=0),
  )
  assert figure.x.label == 'transferred tokens, measured'
  assert set(plots_of(points, fit)) == {'agreement', 'residuals'}


def test_all_that_applies_to_a_fit(points, fit, scores, sigmoid):
  ready = prepare(points, 'chinchilla', delta=math.inf)
  assert list(plots_of(points, fit, ready)) == [
    'loss',
    'residuals',
    *(f'profile_{name}' for name in ('E', 'A', 'B', 'alpha', 'beta')),
  ]
  ready = prepare(scores, 'sigmoid', fixed={'b': 0.25})
  assert list(plots_of(scores, sigmoid, ready)) == [
    'score',
    'residuals',
    *(f'profile_{name}' for name in ('a', 'k', 'x0')),
  ]
  few = points.take(range(9))
  found = plots_of(few, fit_law(few), prepare(few, 'chinchilla'))
  assert list(found) == ['loss', 'residuals']


def test_allocation_shows_optima_law_and_band():
  flops = np.repeat(np.geomspace(1e17, 1e20, 5), 7)
  best = 0.1 * flops**0.5
  n = best * np.tile(np.geomspace(0.3, 3, 7), 5)
  noise = 1e-3 * np.random.default_rng(0).standard_normal(35)
  loss = 3 + 0.1 * np.log(n / best) ** 2 + noise
  found = fit_isoflop({'flops': flops, 'params': n, 'loss': loss})
  figures = plots_of_allocation(found)
  assert set(figures) == {'params', 'tokens'}
  band, line, optima = figures['params'].layers
  np.testing.assert_array_equal(optima.y, found.optima.params)
  np.testing.assert_allclose(line.y, predict(found.fit, line.x).params)
  assert np.all((band.lower < line.y) & (line.y < band.upper))
  assert figures['tokens'].y.label == 'best training tokens'
