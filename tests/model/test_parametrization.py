"""Maximal-update and depth parametrizations: what holds as models grow."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import model as base
from configs.errors import UserError
from configs.tree import to_dataclass
from model import masks
from model.attention import Attention
from model.config import PARAMETRIZATIONS, ModelConfig
from model.huggingface import by_path, by_tree
from model.norm import Norm
from model.parametrization import (
  as_standard,
  attention_scale,
  branch_scale,
  is_decayed,
  learning_rates,
  logit_scale,
  residual_scale,
)
from model.stack import Block, Context
from model.transformer import Decoder, EncoderDecoder
from train.config import StepConfig
from train.optimizer import make_optimizer
from train.optimizer_config import OptimizerConfig
from train.step import init_state, train_step

VOCAB = 64
ADAM = OptimizerConfig(
  learning_rate=1.0, b1=0.9, b2=0.98, eps=1e-9, weight_decay=0.0, clip_norm=1e9
)


def _config(width, parametrization, **changes):
  """Two layers of four heads that grow with the width; 64 is the base."""
  values = {
    **base.get_config(),
    'vocab_size': VOCAB,
    'width': width,
    'head_width': width // 4,
    'ffn_width': 8 * width // 3,
    'parametrization': parametrization,
    'scan_layers': True,  # compiles faster
    **changes,
  }
  return to_dataclass(ModelConfig, values)


@functools.cache
def _batch():
  """Text of a random order-one source, so that there is something to learn."""
  random = np.random.default_rng(0)
  likely = random.integers(0, VOCAB, (VOCAB, 2))
  tokens = np.zeros((8, 33), np.int32)
  for place in range(32):
    coin = random.integers(0, 2, 8)
    tokens[:, place + 1] = likely[tokens[:, place], coin]
  shape = (8, 32)
  return {
    'tokens': tokens[:, :-1],
    'targets': tokens[:, 1:],
    'segment_ids': np.ones(shape, np.int32),
    'positions': np.broadcast_to(np.arange(32, dtype=np.int32), shape),
    'weights': np.ones(shape, np.float32),
  }


@functools.cache
def _trained(config, num_steps):
  """Parameters after some steps from a seed."""
  model = Decoder(config)
  rates = functools.partial(learning_rates, config)
  optimizer = make_optimizer(ADAM, rates)
  init = jax.jit(lambda key: nn.unbox(init_state(key, model, optimizer)))
  step = jax.jit(
    functools.partial(
      train_step, model=model, optimizer=optimizer, config=StepConfig()
    )
  )
  state = init(jax.random.key(0))
  for _ in range(num_steps):
    state, _ = step(state, _batch(), jnp.float32(2.0**-6))
  return state.params


def _rms(x):
  return jnp.sqrt(jnp.mean(jnp.square(x)))


@functools.partial(jax.jit, static_argnums=0)
def _measured(config, params):
  """RMS of what flows: stream, logits; scores and sums of each layer, [N]."""
  batch, tree = _batch(), {'params': params}
  context = Context(masks.causal(batch['segment_ids']), batch['positions'])
  start = Decoder(config).apply(
    tree,
    method=lambda m: m.embedding(batch['tokens'], batch['positions']),
  )

  def layer(x, own):
    norm = Norm('rms', config.norm_epsilon)
    h = norm.apply({'params': own['attention_norm']}, x)

    def scores(attention):
      keys = attention.keys_values(h).keys_BxSxKxDh
      product = jnp.einsum('blhk,bshk->bhls', attention.query(h), keys)
      return product * attention_scale(config)

    own_scores = Attention(config).apply(
      {'params': own['attention']}, method=scores
    )
    after, _ = Block(config).apply({'params': own}, x, context)
    return after, (_rms(own_scores), _rms(after - x))

  x, (scores_N, sums_N) = jax.lax.scan(
    layer, start, params['decoder']['layers']
  )
  inputs = batch['tokens'], batch['segment_ids'], batch['positions']
  logits = Decoder(config).apply(tree, *inputs)
  return _rms(x), _rms(logits), scores_N, sums_N


def _sizes(config, params):
  stream, logits, scores, sums = map(np.asarray, _measured(config, params))
  each = {f'scores {n}': x for n, x in enumerate(scores)}
  each |= {f'layer {n}': x for n, x in enumerate(sums)}
  return {'stream': stream, 'logits': logits, **each}


@functools.cache
def _at(num_steps, config):
  return _sizes(config, _trained(config, num_steps))


def _over(num_steps, configs):
  rows = [_at(num_steps, config) for config in configs]
  # Of models of several depths, the layers of the shallowest.
  return {name: [row[name] for row in rows] for name in rows[0]}


def _spread(sizes):
  return max(sizes) / min(sizes)


@pytest.mark.parametrize('num_steps', [0, 5])
@pytest.mark.parametrize(
  'widths',
  [(64, 256), pytest.param((64, 128, 256, 512, 1024), marks=pytest.mark.long)],
)
def test_what_flows_keeps_its_size_at_any_width(num_steps, widths):
  found = _over(num_steps, [_config(width, 'mup') for width in widths])
  for name, sizes in found.items():
    if name.startswith(('stream', 'layer')):
      assert _spread(sizes) < 1.2, (name, sizes)
    else:
      # Wider is not larger; at the start it is even smaller.
      assert max(sizes) < 1.2 * sizes[0], (name, sizes)


def test_the_standard_parametrization_grows_with_the_width():
  found = _over(5, [_config(width, 'standard') for width in (64, 256)])
  for name in ('stream', 'scores 1', 'logits'):
    assert found[name][1] > 1.5 * found[name][0]


@pytest.mark.parametrize(
  ('parametrization', 'depths'),
  # The limit that depth-muP holds from on is not yet reached at two layers.
  [
    pytest.param('depth_mup', (8, 32), marks=pytest.mark.long),
    ('complete_p', (2, 8)),
    pytest.param('complete_p', (2, 8, 32), marks=pytest.mark.long),
  ],
)
def test_the_stream_keeps_its_size_at_any_depth(parametrization, depths):
  def stream(name):
    configs = [_config(64, name, num_layers=depth) for depth in depths]
    return _over(5, configs)['stream']

  assert _spread(stream(parametrization)) < 1.2
  assert _spread(stream('mup')) > 1.5


@pytest.mark.parametrize('parametrization', PARAMETRIZATIONS[1:])
def test_all_are_the_same_at_the_base(parametrization):
  expected = _trained(_config(64, 'standard'), 2)
  found = _trained(_config(64, parametrization), 2)
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def _larger(parametrization):
  """4 times as wide and 8 times as deep as the base."""
  return _config(256, parametrization, num_layers=16, biases=True)


@pytest.mark.parametrize(
  ('parametrization', 'matrix', 'vector', 'branch'),
  [
    ('standard', 1, 1, 1),
    ('mup', 1 / 4, 1, 1),
    ('depth_mup', 1 / 4 / 8**0.5, 1 / 8**0.5, 1 / 8**0.5),
    ('complete_p', 1 / 4, 1, 1 / 8),
  ],
)
def test_multipliers_by_hand(parametrization, matrix, vector, branch):
  config = _larger(parametrization)
  inputs = (jnp.ones((1, 1), jnp.int32),) * 3
  boxed = jax.eval_shape(Decoder(config).init, jax.random.key(0), *inputs)
  for params in (boxed['params'], nn.unbox(boxed['params'])):
    rates = learning_rates(config, params)
    found = {
      tuple(k.key for k in path if hasattr(k, 'key')): rate
      for path, rate in jax.tree_util.tree_leaves_with_path(rates)
    }
    layers = {k: v for k, v in found.items() if 'layers' in k}
    for path, rate in layers.items():
      expected = matrix if path[-1] == 'kernel' else vector
      assert rate == pytest.approx(expected), path
    assert {v for k, v in found.items() if k not in layers} == {1.0}
  assert branch_scale(config) == pytest.approx(branch)
  standard = parametrization == 'standard'
  assert logit_scale(config) == (1 if standard else 1 / 4)
  expected = 1 / 8 if standard else 4 / 64
  assert attention_scale(config) == pytest.approx(expected)
  held = 16 if parametrization in ('standard', 'mup') else 2
  assert residual_scale(config) == pytest.approx(1 / math.sqrt(2 * held))


def test_tables_of_an_encoder_learn_at_the_common_rate():
  params = {
    'embedding': {'table': 0, 'types': 0, 'norm': {'scale': 0}},
    'encoder': {'relative_bias': 0},
    'transform': {'kernel': 0, 'bias': 0},
    'head_bias': 0,
  }
  rates = learning_rates(_larger('complete_p'), params)
  decayed = is_decayed(params)
  assert rates.pop('transform') == {'kernel': 1 / 4, 'bias': 1}
  assert decayed == {
    'embedding': {'table': True, 'types': True, 'norm': {'scale': False}},
    'encoder': {'relative_bias': False},
    'transform': {'kernel': True, 'bias': False},
    'head_bias': False,
  }
  assert set(jax.tree.leaves(rates)) == {1}


@pytest.mark.parametrize(
  'changes',
  [
    {'biases': True, 'norm': 'layer'},
    {'qk_norm': True, 'parallel_residual': True},
    {'num_experts': 2, 'activation': 'relu'},
  ],
)
def test_a_standard_model_can_compute_the_same(changes):
  config = _config(128, 'complete_p', num_layers=3, head_width=32, **changes)
  random = np.random.default_rng(0)
  inputs = (
    jnp.asarray(random.integers(0, VOCAB, (2, 9))),
    *[jnp.asarray(x) for x in (np.ones((2, 9), int), [np.arange(9)] * 2)],
  )
  params = nn.unbox(jax.jit(Decoder(config).init)(jax.random.key(0), *inputs))
  params = jax.tree.map(
    lambda x: x + random.normal(0, 0.1, x.shape), params['params']
  )
  standard, factor = as_standard(config)
  assert standard.parametrization == 'standard'
  scaled = by_tree({k: factor(k) * v for k, v in by_path(params).items()})
  expected = Decoder(config).apply({'params': params}, *inputs)
  found = Decoder(standard).apply({'params': scaled}, *inputs)
  np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)
  same = Decoder(standard).apply({'params': params}, *inputs)
  assert not np.allclose(same, expected, rtol=1e-2)


def test_layers_that_read_a_source_are_scaled_too():
  config = _config(
    64, 'depth_mup', num_layers=8, architecture='encoder_decoder'
  )
  shape = np.arange(7)[None]
  inputs = (shape, np.ones_like(shape), shape) * 2
  params = nn.unbox(
    jax.jit(EncoderDecoder(config).init)(jax.random.key(0), *inputs)
  )['params']
  standard, factor = as_standard(config)
  scaled = by_tree({k: factor(k) * v for k, v in by_path(params).items()})
  expected = EncoderDecoder(config).apply({'params': params}, *inputs)
  found = EncoderDecoder(standard).apply({'params': scaled}, *inputs)
  np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)


def test_a_tied_head_cannot_hold_a_scale_of_logits():
  as_standard(_config(64, 'mup', tied_head=True))
  with pytest.raises(UserError, match=r'model\.tied_head = True: .* by 0\.5'):
    as_standard(_config(128, 'mup', tied_head=True))


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'parametrization': 'ntk'}, "model.parametrization = 'ntk': choose from"),
    ({'attention_scale': 'none'}, "model.attention_scale = 'none': 'sqrt' whe"),
    (
      {'tied_head': True, 'scale_tied_head': True},
      "model.scale_tied_head = True: model.parametrization = 'complete_p' sca",
    ),
    ({'norm_position': 'post'}, "model.norm_position = 'post': 'pre' where"),
    ({'base_width': 0}, 'model.base_width = 0: at least 1'),
  ],
)
def test_parametrizations_that_cannot_be(changes, message):
  config = dataclasses.replace(_config(64, 'complete_p'), **changes)
  with pytest.raises(UserError, match=message):
    config.validate()
