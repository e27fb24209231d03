"""The decoder: causality, packing, equivalence of its execution choices."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import model as base
from configs.tree import to_dataclass
from model.attention import attention_weights
from model.config import ModelConfig
from model.dropout import RNG, dropout
from model.norm import Norm
from model.positions import (
  relative_bucket,
  rotary_frequencies,
  rotate,
  sinusoidal,
)
from model.transformer import Decoder, Encoder

TINY = to_dataclass(
  ModelConfig,
  {
    **base.get_config(),
    'vocab_size': 61,
    'num_layers': 3,
    'width': 16,
    'num_heads': 4,
    'num_kv_heads': 2,
    'head_width': 4,
    'ffn_width': 24,
    'max_length': 12,
    'tied_head': True,
  },
)
GPT2_LIKE = dataclasses.replace(
  TINY, activation='gelu', norm='layer', positions='learned', tied_head=False
)


def _inputs(length=12, batch=2, segments=None):
  tokens = jax.random.randint(jax.random.key(1), (batch, length), 0, 61)
  segment_ids = jnp.ones_like(tokens)
  positions = jnp.broadcast_to(jnp.arange(length), tokens.shape)
  return tokens, segment_ids, positions


@functools.cache
def _params(config):
  params = nn.unbox(
    jax.jit(Decoder(config).init)(jax.random.key(0), *_inputs())
  )
  # Scales are ones at the start: move all, so that each parameter matters.
  random = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: x + random.normal(0, 0.1, x.shape).astype(np.float32), params
  )


@functools.cache
def _loss_and_gradient(config):
  def loss(params):
    return jnp.sin(Decoder(config).apply(params, *_inputs())).sum() / 100

  return jax.jit(jax.value_and_grad(loss))(_params(TINY))


@pytest.fixture(scope='module', params=[TINY, GPT2_LIKE], ids=['rope', 'gpt2'])
def config_and_params(request):
  return request.param, _params(request.param)


def _reach(model, params, inputs, **kwargs):
  """Which places' states depend on which tokens' embeddings, [L, L]."""
  embedding = params['params']['embedding']
  length = inputs[0].shape[1]

  def hidden_of(vectors_LxD):
    rows = {
      **embedding,
      'table': embedding['table'].at[:length].set(vectors_LxD),
    }
    own = {**params['params'], 'embedding': rows}
    places = jnp.arange(length)[None]
    out = model.bind({'params': own}).hidden(places, *inputs[1:], **kwargs)
    return out[0]

  vectors = embedding['table'][inputs[0][0]]
  jacobian = jax.jit(jax.jacobian(hidden_of))(vectors)
  return np.abs(np.asarray(jacobian)).sum((1, 3)) > 0


def test_no_state_depends_on_later_tokens(config_and_params):
  config, params = config_and_params
  reach = _reach(Decoder(config), params, _inputs(batch=1))
  np.testing.assert_array_equal(reach, np.tril(np.ones((12, 12), bool)))


def test_a_prefix_is_seen_by_all_of_its_document():
  inputs = _inputs(batch=1)
  prefix = (jnp.arange(12) < 5)[None]
  reach = _reach(Decoder(TINY), _params(TINY), inputs, prefix_BxL=prefix)
  expected = np.tril(np.ones((12, 12), bool))
  expected[:, :5] = True
  np.testing.assert_array_equal(reach, expected)


def test_an_encoder_sees_its_whole_document_and_no_other():
  config = dataclasses.replace(TINY, architecture='encoder')
  model = Encoder(config)
  tokens, _, _ = inputs = _inputs(batch=1)
  segments = jnp.array([[1] * 5 + [2] * 4 + [0] * 3])
  params = nn.unbox(jax.jit(model.init)(jax.random.key(0), *inputs))
  reach = _reach(model, params, (tokens, segments, inputs[2]))
  np.testing.assert_array_equal(reach, segments[0][:, None] == segments[0])


def test_an_encoder_gives_the_last_that_it_can():
  config = dataclasses.replace(
    TINY,
    architecture='encoder',
    pooler=True,
    mlm_head=True,
    num_classes=5,
    dropout=0.5,
    compute_dtype='bfloat16',
  )
  inputs = _inputs()
  params = nn.unbox(Encoder(config).init(jax.random.key(0), *inputs))

  def call(method=None, inputs=inputs, rngs=None, **changes):
    model = Encoder(dataclasses.replace(config, **changes))
    return model.apply(params, *inputs, method=method, rngs=rngs)

  hidden = call('hidden')
  pooled = call('pooled', [hidden])
  scores = call()
  assert (scores.shape, scores.dtype) == ((2, 5), jnp.float32)
  np.testing.assert_array_equal(scores, call('scores', [pooled]))
  logits = call(num_classes=0)
  np.testing.assert_array_equal(logits, call('logits', [hidden]))
  bare = {'num_classes': 0, 'mlm_head': False}
  np.testing.assert_array_equal(call(**bare), pooled)
  np.testing.assert_array_equal(call(**bare, pooler=False), hidden)
  # Dropout of what the classifier reads, and of nothing else here.
  ones = jnp.ones_like(pooled)
  dropped = call('scores', [ones], {RNG: jax.random.key(0)})
  assert not np.allclose(dropped, call('scores', [ones]))


def test_dropout_needs_a_generator_and_keeps_the_mean():
  x = jnp.ones((400, 500))

  class Dropped(nn.Module):
    @nn.compact
    def __call__(self, x):
      return dropout(self, x, 0.25)

  np.testing.assert_array_equal(Dropped().apply({}, x), x)
  found = Dropped().apply({}, x, rngs={RNG: jax.random.key(0)})
  assert set(np.unique(found)) == {0.0, np.float32(1 / 0.75)}
  assert found.mean() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(('parallel', 'draws'), [(False, 3), (True, 2)])
def test_a_layer_draws_for_its_weights_and_its_outputs(parallel, draws):
  config = dataclasses.replace(TINY, dropout=0.5, parallel_residual=parallel)

  inputs, key = _inputs(), jax.random.key(0)

  def drawn(params):
    return Decoder(config).apply(params, *inputs, rngs={RNG: key})

  def count(jaxpr):
    inner = [
      getattr(value, 'jaxpr', value)
      for equation in jaxpr.eqns
      for value in equation.params.values()
    ]
    own = sum(e.primitive.name == 'random_bits' for e in jaxpr.eqns)
    return own + sum(count(j) for j in inner if hasattr(j, 'eqns'))

  # One more for the embedding; the layers are one body of a loop.
  assert count(jax.make_jaxpr(drawn)(_params(config)).jaxpr) == 1 + draws


def test_dropout_needs_the_key_and_depends_on_it():
  config = dataclasses.replace(TINY, dropout=0.5)
  apply = jax.jit(Decoder(config).apply)
  plain = apply(_params(TINY), *_inputs())
  without = jax.jit(Decoder(TINY).apply)(_params(TINY), *_inputs())
  np.testing.assert_array_equal(plain, without)
  keys = [jax.random.key(seed) for seed in (0, 0, 1)]
  found = [apply(_params(TINY), *_inputs(), rngs={RNG: key}) for key in keys]
  np.testing.assert_array_equal(found[0], found[1])
  assert not np.allclose(found[0], found[2])
  assert not np.allclose(found[0], plain)


def test_packed_documents_never_see_each_other(config_and_params):
  config, params = config_and_params
  tokens, _, _ = _inputs(batch=1)
  segment_ids = jnp.array([[1] * 5 + [2] * 7])
  positions = jnp.array([[*range(5), *range(7)]])
  apply = jax.jit(Decoder(config).apply)
  packed = apply(params, tokens, segment_ids, positions)
  alone = apply(params, tokens[:, 5:], segment_ids[:, 5:], positions[:, 5:])
  np.testing.assert_allclose(packed[:, 5:], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  ('scan_layers', 'remat'),
  [(True, 'none'), (False, 'full'), (True, 'dots'), (True, 'full')],
)
def test_execution_choices_change_neither_loss_nor_gradient(scan_layers, remat):
  other = dataclasses.replace(TINY, scan_layers=scan_layers, remat=remat)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6),
    _loss_and_gradient(TINY),
    _loss_and_gradient(other),
  )


def test_only_scan_compiles_a_loop():
  params, inputs = _params(TINY), _inputs()

  def has_loop(config):
    compiled = jax.jit(Decoder(config).apply).lower(params, *inputs).compile()
    return ' while(' in compiled.as_text()

  assert has_loop(dataclasses.replace(TINY, scan_layers=True))
  assert not has_loop(TINY)


def test_remat_recomputes():
  params, inputs = _params(TINY), _inputs()

  def products(remat):
    model = Decoder(dataclasses.replace(TINY, remat=remat))
    grad = jax.grad(lambda p: model.apply(p, *inputs).sum())
    return str(jax.make_jaxpr(grad)(params)).count('dot_general')

  assert products('full') > products('none')


def test_bfloat16_stays_near_float32_and_gives_float32_logits():
  params, inputs = _params(TINY), _inputs()
  exact = jax.jit(Decoder(TINY).apply)(params, *inputs)
  config = dataclasses.replace(TINY, compute_dtype='bfloat16')
  rounded = jax.jit(Decoder(config).apply)(params, *inputs)
  assert rounded.dtype == jnp.float32
  error = jnp.linalg.norm(rounded - exact) / jnp.linalg.norm(exact)
  assert 0 < error < 0.02


def test_bfloat16_products_are_summed_in_float32():
  params, inputs = _params(TINY), _inputs()
  config = dataclasses.replace(TINY, compute_dtype='bfloat16')
  jaxpr = str(jax.make_jaxpr(Decoder(config).apply)(params, *inputs))
  products = [line for line in jaxpr.split('\n') if 'dot_general' in line]
  assert products
  assert all('f32[' in line.split('=')[0] for line in products)


def test_attention_by_hand():
  # Scores 0 and ln 3 with a head of width 1: weights 1/4 and 3/4.
  q = jnp.ones((1, 2, 1, 1))
  k = jnp.array([0.0, math.log(3)]).reshape(1, 2, 1, 1)
  mask = jnp.tril(jnp.ones((1, 2, 2), bool))
  found = attention_weights(q, [k], mask, scale=1.0)[0, 0, 0]
  np.testing.assert_allclose(found, [[1, 0], [0.25, 0.75]], rtol=1e-6)
  # Halved and capped at 0.1, then with a bias that undoes a ninefold ratio.
  bias = jnp.array([0.0, math.log(9)]).reshape(1, 1, 1, 2)
  found = attention_weights(q, [k], mask, bias, scale=0.5, cap=0.1)[0, 0, 0, 1]
  second = 9 * math.exp(0.1 * math.tanh(math.log(3) / 2 / 0.1))
  np.testing.assert_allclose(found[1], second / (1 + second), rtol=1e-6)


def test_each_query_head_uses_the_key_head_of_its_group():
  # Each query is the unit vector of its own key head.
  q = jnp.eye(2)[jnp.array([0, 0, 0, 1, 1, 1])][None, None]
  k = 5.0 * jnp.array([[[[1.0, 0], [0, 1]], [[0, 0], [0, 0]]]])
  mask = jnp.ones((1, 1, 2), bool)
  found = attention_weights(q, [k], mask, scale=1.0)
  assert found.shape == (1, 2, 3, 1, 2)
  np.testing.assert_allclose(found[..., 0], 1 / (1 + math.exp(-5)), rtol=1e-6)


FREQUENCIES = rotary_frequencies(dataclasses.replace(TINY, head_width=8))


def test_rotary_scores_depend_on_distance_alone():
  q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 8))

  def score(i, j):
    turned_q = rotate(q, jnp.array([[i]]), FREQUENCIES)
    turned_k = rotate(k, jnp.array([[j]]), FREQUENCIES)
    return float((turned_q * turned_k).sum())

  assert score(7, 3) == pytest.approx(score(104, 100), rel=1e-4)
  assert score(7, 3) != pytest.approx(score(8, 3), rel=1e-2)


def test_rotary_by_hand():
  x = jnp.array([1.0, 0.0]).reshape(1, 1, 1, 2)
  out = rotate(x, jnp.array([[2]]), np.ones(1)).ravel()
  np.testing.assert_allclose(out, [math.cos(2), math.sin(2)], rtol=1e-6)


def test_norms_by_hand():
  x = jnp.array([[[1.0, 7.0]]])
  rms = Norm('rms', 1e-6).bind({'params': {'scale': jnp.ones(2)}})(x)
  np.testing.assert_allclose(rms.ravel(), [0.2, 1.4], rtol=1e-5)
  layer = Norm('layer', 1e-6).bind(
    {'params': {'scale': jnp.full(2, 2.0), 'bias': jnp.ones(2)}}
  )(x)
  np.testing.assert_allclose(layer.ravel(), [-1.0, 3.0], rtol=1e-5)


def test_every_parameter_has_logical_axes():
  boxed = jax.eval_shape(Decoder(GPT2_LIKE).init, jax.random.key(0), *_inputs())
  leaves = jax.tree.leaves(
    boxed, is_leaf=lambda x: isinstance(x, nn.LogicallyPartitioned)
  )
  for leaf in leaves:
    assert isinstance(leaf, nn.LogicallyPartitioned)
    assert len(leaf.names) == leaf.value.ndim


def test_sinusoidal_by_hand():
  found = sinusoidal(jnp.array([[0, 3]]), 4)
  waves = [math.sin(3), math.cos(3), math.sin(0.03), math.cos(0.03)]
  np.testing.assert_allclose(found[0], [[0, 1, 0, 1], waves], rtol=1e-5)


def test_relative_buckets_by_hand():
  """8 buckets up to distance 16: 0 to 3 alone, then 4-5, 6-7, 8-11, 12-..."""
  distance = -jnp.array([0, 1, 3, 4, 5, 6, 8, 12, 16, 900])
  found = relative_bucket(distance, 8, 16, bidirectional=False)
  np.testing.assert_array_equal(found, [0, 1, 3, 4, 4, 5, 6, 7, 7, 7])
  after = relative_bucket(jnp.array([1, 900]), 8, 16, bidirectional=False)
  np.testing.assert_array_equal(after, [0, 0])
  both = relative_bucket(jnp.array([-1, 0, 1, 900]), 8, 16, bidirectional=True)
  np.testing.assert_array_equal(both, [1, 0, 5, 7])
