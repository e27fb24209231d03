"""Each optimizer against its reference."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from optax import contrib

from configs import pretrain
from configs.tree import to_dataclass
from model.transformer import abstract_inputs, make
from tests.train.optimizing import (
  PLAIN,
  after_one,
  by_name,
  ones_of,
  random_tree,
  some_params,
  stepper,
  zeros_like,
)
from train.config import RunConfig
from train.optimizer import averaged_params, make_optimizer, rates_of


def _reference(ours, theirs, steps=4, rate=0.05):
  """Runs of ours and of an optax optimizer from the same start."""
  params = random_tree({'a': {'kernel': (6, 10)}, 'b': {'kernel': (10, 6)}})
  ends = []
  for optimizer in (make_optimizer(ours, ones_of)(rate), theirs):
    now, state = params, optimizer.init(params)
    update = jax.jit(optimizer.update)
    for number in range(steps):
      grads = random_tree(jax.tree.map(jnp.shape, params), 20 + number)
      updates, state = update(grads, state, now)
      now = optax.apply_updates(now, updates)
    ends.append(averaged_params(state, now))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *ends
  )


def test_adamw_is_that_of_optax():
  ours = dataclasses.replace(PLAIN, weight_decay=0.1)
  _reference(ours, optax.adamw(0.05, 0.9, 0.99, 1e-8, weight_decay=0.1))


def test_lion_is_that_of_optax():
  ours = dataclasses.replace(PLAIN, kind='lion', weight_decay=0.1)
  _reference(ours, optax.lion(0.05, 0.9, 0.99, weight_decay=0.1))


def test_adafactor_is_that_of_optax():
  ours = dataclasses.replace(
    PLAIN, kind='adafactor', b1=0.0, b2=0.999999, eps=1e-15
  )
  theirs = optax.adafactor(0.05, multiply_by_parameter_scale=False)
  _reference(ours, theirs)


@pytest.mark.parametrize('rms', [0.0, 0.2])
def test_muon_is_that_of_optax(rms):
  ours = dataclasses.replace(
    PLAIN, kind='muon', update_rms=rms, weight_decay=0.1
  )
  theirs = contrib.muon(
    0.05, consistent_rms=rms or None, weight_decay=0.1, eps=1e-8
  )
  _reference(ours, theirs)


def test_schedule_free_is_that_of_optax():
  ours = dataclasses.replace(PLAIN, kind='schedule_free', weight_decay=0.1)
  theirs = contrib.schedule_free_adamw(
    0.05, b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.1
  )
  _reference(ours, theirs)


def test_schedule_free_weighs_iterates_by_the_squared_rate():
  config = dataclasses.replace(PLAIN, kind='schedule_free')
  init, step = stepper(config)
  params = {'kernel': jnp.array([0.0])}
  state = init(params)
  ones = {'kernel': jnp.array([1.0])}
  # Adam's direction for a gradient of 1 is 1 throughout.
  for rate in (1.0, 2.0, 2.0):
    params, state = step(params, state, ones, rate)
  iterates, weights = np.array([-1.0, -3.0, -5.0]), np.array([1.0, 4.0, 4.0])
  expected = np.sum(iterates * weights) / weights.sum()
  found = averaged_params(state, params)['kernel']
  np.testing.assert_allclose(found, [expected], rtol=1e-5)
  np.testing.assert_allclose(
    params['kernel'], [0.9 * expected + 0.1 * -5], rtol=1e-5
  )


def test_the_average_is_of_all_parameters_after_the_first():
  config = dataclasses.replace(PLAIN, ema_decay=0.75)
  init, step = stepper(config)
  params = {'kernel': jnp.array([7.0])}
  state, seen = init(params), []
  assert float(averaged_params(state, params)['kernel'][0]) == 7
  for number in range(5):
    grads = {'kernel': jnp.array([1.0 + number])}
    params, state = step(params, state, grads, 0.1)
    seen.append(float(params['kernel'][0]))
    weights = 0.75 ** np.arange(len(seen))[::-1]
    np.testing.assert_allclose(
      averaged_params(state, params)['kernel'][0],
      np.average(seen, weights=weights),
      rtol=1e-6,
    )


def test_adafactor_merges_heads_and_keeps_rows_and_columns():
  config = dataclasses.replace(PLAIN, kind='adafactor', b1=0.0)
  params = random_tree(
    {
      'layers': {
        'attention': {
          'query': {'kernel': (2, 128, 4, 32)},
          'out': {'kernel': (2, 4, 32, 128)},
        }
      }
    }
  )
  state = jax.eval_shape(make_optimizer(config, ones_of)(0.0).init, params)
  sizes = [x.size for x in jax.tree.leaves(state)]
  # A row and a column for each of two layers of two 128 x 128 matrices.
  assert sum(sizes) < 2 * 2 * (128 + 128) + 10
  grads = random_tree(jax.tree.map(jnp.shape, params), 1)
  after = after_one(config, grads, params)
  # The first moment is the gradient's alone: g over the root of its means.
  g_LxIxO = np.asarray(
    grads['layers']['attention']['query']['kernel'], np.float64
  ).reshape(2, 128, 128)
  squared = g_LxIxO**2
  rows = squared.mean(axis=2, keepdims=True)
  columns = squared.mean(axis=1, keepdims=True)
  means = squared.mean(axis=(1, 2), keepdims=True)
  expected = g_LxIxO / np.sqrt(rows * columns / means)
  rms = np.sqrt((expected**2).mean(axis=(1, 2), keepdims=True))
  expected /= np.maximum(1, rms)
  moved = jax.tree.map(jnp.subtract, params, after)
  np.testing.assert_allclose(
    moved['layers']['attention']['query']['kernel'].reshape(2, 128, 128),
    expected,
    rtol=1e-4,
    atol=1e-5,
  )


# What is a matrix inside each network, and how many of its last dimensions are
# inputs and outputs; `head` counts heads together with their width.
MATRICES = {
  'query/kernel': (1, 2),
  'key/kernel': (1, 2),
  'value/kernel': (1, 2),
  'out/kernel': (2, 1),
  'gate/kernel': (1, 1),
  'up/kernel': (1, 1),
  'down/kernel': (1, 1),
  'router/kernel': (1, 1),
  'ffn/gate': (1, 1),
  'ffn/up': (1, 1),
  'ffn/down': (1, 1),
  'transform/kernel': (1, 1),
  'pooler/kernel': (1, 1),
}
NETWORKS = {
  'mixtral-8x7b': {'num_experts': 3, 'experts_per_token': 1, 'num_kv_heads': 2},
  'bert-base': {'pooler': True},
  't5-v1.1-small': {},
}


@pytest.mark.parametrize('size', NETWORKS)
def test_muon_makes_every_matrix_orthogonal_and_nothing_else(size):
  config = to_dataclass(RunConfig, pretrain.get_config(size)).model
  small = dict(
    vocab_size=32,
    num_layers=2,
    width=16,
    num_heads=4,
    num_kv_heads=4,
    head_width=6,
    ffn_width=40,
    max_length=8,
  )
  model = make(dataclasses.replace(config, **(small | NETWORKS[size])))
  tokens = [jnp.zeros(x.shape, x.dtype) for x in abstract_inputs(model.config)]
  abstract = nn.unbox(
    jax.eval_shape(lambda: model.init(jax.random.key(0), *tokens)['params'])
  )
  params = zeros_like(abstract)
  grads = random_tree(jax.tree.map(lambda x: x.shape, abstract), 3)
  muon = dataclasses.replace(PLAIN, kind='muon', update_rms=0.2)
  moved = by_name(after_one(muon, grads, params))
  found = set()
  for name, update in moved.items():
    tail = '/'.join(name.split('/')[-2:])
    if tail not in MATRICES:
      # Adam's first step is the sign of the gradient.
      np.testing.assert_allclose(np.abs(update), 1, rtol=1e-3)
      continue
    found.add(tail)
    inputs, outputs = MATRICES[tail]
    shape = update.shape
    stacked = shape[: len(shape) - inputs - outputs]
    assert len(stacked) == ('layers' in name) + (tail.count('/kernel') == 0)
    rows = int(np.prod(shape[len(stacked) : len(stacked) + inputs]))
    matrices = np.asarray(update).reshape(*stacked, rows, -1)
    values = np.linalg.svd(matrices, compute_uv=False)
    values /= 0.2 * max(matrices.shape[-2:]) ** 0.5
    assert values.min() > 0.6 and values.max() < 1.3, (name, values)
  assert len(found) >= 6


@pytest.mark.parametrize(
  ('kind', 'update_rms'), [('adamw', 0.2), ('muon', 0.2), ('muon', 0.0)]
)
def test_rates_hold_what_an_update_changes_as_the_width_grows(kind, update_rms):
  """The spectral norm of its update, where outputs over inputs stay."""
  norms = []
  config = dataclasses.replace(PLAIN, kind=kind, update_rms=update_rms)
  for width in (64, 256):
    model = dataclasses.replace(
      to_dataclass(RunConfig, pretrain.get_config()).model,
      width=width,
      head_width=width // 4,
      parametrization='complete_p',
      num_layers=8,
    )
    params = random_tree(
      {'layers': {'ffn': {'up': {'kernel': (1, width, 2 * width)}}}}
    )
    # The gradient of one example has rank one, where Adam's update is largest.
    one = random_tree({'x': (width, 1), 'y': (1, 2 * width)}, 1)
    grads = {'layers': {'ffn': {'up': {'kernel': (one['x'] @ one['y'])[None]}}}}
    optimizer = make_optimizer(config, rates_of(model, config))(1.0)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    norms.append(np.linalg.norm(jax.tree.leaves(updates)[0][0], 2))
  assert norms[1] == pytest.approx(norms[0], rel=0.1)


def test_rates_of_muon_are_adams_where_there_is_no_width_or_no_matrix():
  base = to_dataclass(RunConfig, pretrain.get_config()).model
  wide = dataclasses.replace(
    base, parametrization='depth_mup', width=256, num_layers=8
  )
  params = some_params()
  for model, factor in ((base, 1.0), (wide, 2.0)):
    adam, muon = (
      by_name(rates_of(model, dataclasses.replace(PLAIN, kind=kind))(params))
      for kind in ('adamw', 'muon')
    )
    for name, rate in adam.items():
      expected = factor * rate if name.endswith('kernel') else rate
      assert muon[name] == pytest.approx(expected)
