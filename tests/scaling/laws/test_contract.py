"""What every law of `LAWS` keeps to."""

import pathlib
import re

import jax
import numpy as np
import pytest

from scaling.fit import fit_law
from scaling.fitted import fit_from_json
from scaling.laws import LAWS
from scaling.points import Points

RNG = np.random.default_rng(0)
N = np.repeat(np.geomspace(2e7, 1e9, 6), 4)
D = N * np.tile([5, 10, 20, 80], 6)
X = np.linspace(2.0, 4.5, 24)

# Parameters of each law, and the inputs it is fitted at.
U = np.minimum(D, np.tile([2e8, 1e9, 4e9, 5e9], 6))
EXPERTS = np.tile([1.0, 8.0, 64.0, 256.0], 6)
EXAMPLES = {
  'chinchilla': ([1.8, 480.0, 2100.0, 0.35, 0.37], {'params': N, 'tokens': D}),
  'over_training': ([1.8, 480.0, 2100.0, 0.36], {'params': N, 'tokens': D}),
  'kaplan': ([8.8e13, 5.4e13, 0.076, 0.103], {'params': N, 'tokens': D}),
  'kaplan_offset': ([1.7, 3e9, 6e9, 0.34, 0.36], {'params': N, 'tokens': D}),
  'kaplan_params': ([8.8e13, 0.076], {'params': N}),
  'kaplan_params_offset': ([1.7, 1e9, 0.3], {'params': N}),
  'kaplan_tokens': ([5.4e13, 0.095], {'tokens': D}),
  'kaplan_tokens_offset': ([1.7, 1e10, 0.3], {'tokens': D}),
  'kaplan_compute': ([2e28, 0.05], {'flops': 6 * N * D}),
  'kaplan_compute_offset': ([1.7, 1e20, 0.15], {'flops': 6 * N * D}),
  'repeated': (
    [1.87, 521.0, 1488.0, 0.353, 0.353, 8.0, 5.0],
    {'params': N, 'tokens': D, 'unique_tokens': U},
  ),
  'broken_0': ([1.8, 480.0, 0.35], {'tokens': D}),
  'broken_1': ([0.4, 900.0, 0.36, 0.5, 2e9, 0.4], {'tokens': D}),
  'broken_2': (
    [0.3, 50.0, 0.1, 0.5, 8e8, 0.3, -0.35, 1.5e10, 0.3],
    {'tokens': D},
  ),
  'moe': (
    [-0.08, -0.11, 0.009, 1.1, 1.8, 300.0],
    {'params': N, 'experts': EXPERTS},
  ),
  'transfer': (
    [1.9e4, 0.18, 0.38],
    {'finetune_tokens': D / N * 1e6, 'params': N},
  ),
  'step_learning_rate': ([1.8, -0.71, 0.31], {'params': N, 'tokens': D}),
  'step_batch': ([0.58, 0.57], {'tokens': D}),
  'direct': ([300.0, 40.0, 0.3, 0.18, 0.25], {'params': N, 'tokens': D}),
  'direct_compute': ([1.2e4, 0.2, 0.25], {'flops': 6 * N * D}),
  'exponential_error': ([2.2, 0.71, 0.86], {'loss': X}),
  'sigmoid': ([0.6, -2.5, 3.2, 0.25], {'loss': X}),
}
BY_NAME = pytest.mark.parametrize('name', LAWS)


def example(name):
  params, columns = EXAMPLES[name]
  value = LAWS[name].predict(np.array(params), columns)
  zero = np.zeros(len(value))
  points = Points(columns, value, zero, zero, ('',) * len(value), {})
  return LAWS[name], np.array(params), points


@BY_NAME
def test_noise_free_data_give_the_law_back(name):
  law, params, points = example(name)
  fit = fit_law(points, name, resamples=8)
  assert fit.converged
  fitted = law.predict(fit.params_P, points.columns)
  np.testing.assert_allclose(fitted, points.value, rtol=1e-5)
  np.testing.assert_allclose(fit.params_P, params, rtol=2e-3)


@BY_NAME
def test_units_change_the_parameters_alone(name):
  law, params, points = example(name)
  units = {key: 10.0 ** RNG.integers(-6, 6) for key in law.inputs}
  if 'unique_tokens' in units:
    units['unique_tokens'] = units['tokens']
  if 'experts' in units:  # are counted
    units['experts'] = 1.0
  if 'loss' in units:  # in bits
    units['loss'] = 1 / np.log(2)
  other = {key: points[key] * unit for key, unit in units.items()}
  theta = law.scaled(params, {**dict.fromkeys(units, 1.0), 'value': 1.0})
  moved = law.natural(theta, {**units, 'value': 1.0})
  np.testing.assert_allclose(law.predict(moved, other), points.value, rtol=1e-9)


@BY_NAME
def test_scaled_undoes_natural(name):
  law, params, points = example(name)
  units = law.units(points.columns, points.value)
  theta = law.scaled(params, units)
  np.testing.assert_allclose(law.natural(theta, units), params, rtol=1e-12)
  stacked = law.natural(np.stack([theta, theta]), units)
  np.testing.assert_allclose(stacked, [params, params], rtol=1e-12)


@BY_NAME
def test_numpy_and_jax_agree(name):
  law, params, points = example(name)
  units = law.units(points.columns, points.value)
  theta = law.scaled(params, units)
  x = {key: points[key] / units[key] for key in law.inputs}
  with jax.enable_x64(True):
    curve = jax.jit(law.curve)(jax.numpy.asarray(theta), x)
  np.testing.assert_allclose(curve, law.curve(theta, x), rtol=1e-10)
  np.testing.assert_allclose(
    np.asarray(curve) * units['value'], points.value, rtol=1e-9
  )


@BY_NAME
def test_candidates_and_bounds_are_whole(name):
  law, params, points = example(name)
  units = law.units(points.columns, points.value)
  x = {key: points[key] / units[key] for key in law.inputs}
  y = points.value / units['value']
  lower, upper = law.bounds(x, y)
  theta = law.scaled(params, units)
  assert np.all((lower < theta) & (theta < upper))
  start = law.candidates(x, y)
  assert start.shape[1] == len(law.params) == len(lower) == len(upper)
  assert np.all(np.isfinite(start))


@BY_NAME
def test_json_keeps_every_bit(name):
  _, _, points = example(name)
  fit = fit_law(points, name, resamples=8)
  back = fit_from_json(fit.to_json())
  assert (back.params, back.intervals) == (fit.params, fit.intervals)
  assert (back.warnings, back.domain) == (fit.warnings, fit.domain)
  np.testing.assert_array_equal(back.samples, fit.samples)
  np.testing.assert_array_equal(back.noise, fit.noise)


def test_docstrings_name_their_paper():
  for law in LAWS.values():
    assert 'arXiv:' in type(law).__doc__, law.name


def test_the_docs_list_every_law():
  path = pathlib.Path(__file__).parents[3] / 'docs/laws.md'
  listed = set(re.findall(r'`(\w+)`', path.read_text()))
  assert set(LAWS) <= listed
