"""The decoder: causality, packing, equivalence of its execution choices."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from model.attention import attend
from model.config import ModelConfig
from model.norm import Norm
from model.positions import rotate
from model.transformer import Decoder

TINY = ModelConfig(
  vocab_size=61,
  num_layers=3,
  width=16,
  num_heads=4,
  num_kv_heads=2,
  head_width=4,
  ffn_width=24,
  activation='swiglu',
  norm='rms',
  positions='rotary',
  max_length=12,
  rope_theta=10_000.0,
  tied_head=True,
  compute_dtype='float32',
  scan_layers=False,
  remat='none',
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


def test_no_logit_depends_on_later_tokens(config_and_params):
  config, params = config_and_params
  model = Decoder(config)
  tokens, segment_ids, positions = _inputs(batch=1)
  table = params['params']['embedding']

  def hidden_of(vectors_LxD):
    # A row of the embedding for each place: its gradient is that place's.
    own = {**params['params'], 'embedding': table.at[:12].set(vectors_LxD)}
    places = jnp.arange(12)[None]
    out = model.bind({'params': own}).hidden(places, segment_ids, positions)
    return out[0]

  jacobian = jax.jit(jax.jacobian(hidden_of))(table[tokens[0]])
  reach = np.abs(np.asarray(jacobian)).sum((1, 3))
  assert np.all(np.triu(reach, 1) == 0)
  assert np.all(np.tril(reach) + np.triu(np.ones_like(reach), 1) > 0)


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
  v = jnp.array([4.0, 8.0]).reshape(1, 2, 1, 1)
  mask = jnp.tril(jnp.ones((1, 2, 2), bool))
  np.testing.assert_allclose(
    attend(q, k, v, mask).ravel(), [4.0, 7.0], rtol=1e-6
  )


def test_each_query_head_uses_the_key_head_of_its_group():
  kv_heads, group = 2, 3
  k = jnp.zeros((1, 1, kv_heads, 4))
  v = jnp.arange(kv_heads, dtype=jnp.float32)[:, None] * jnp.ones((1, 1, 2, 4))
  q = jnp.ones((1, 1, kv_heads * group, 4))
  out = attend(q, k, v, jnp.ones((1, 1, 1), bool))
  np.testing.assert_array_equal(out[0, 0, :, 0], [0, 0, 0, 1, 1, 1])


def test_rotary_scores_depend_on_distance_alone():
  q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 8))

  def score(i, j):
    turned_q = rotate(q, jnp.array([[i]]), 10_000.0)
    turned_k = rotate(k, jnp.array([[j]]), 10_000.0)
    return float((turned_q * turned_k).sum())

  assert score(7, 3) == pytest.approx(score(104, 100), rel=1e-4)
  assert score(7, 3) != pytest.approx(score(8, 3), rel=1e-2)


def test_rotary_by_hand():
  x = jnp.array([1.0, 0.0]).reshape(1, 1, 1, 2)
  out = rotate(x, jnp.array([[2]]), 10_000.0).ravel()
  np.testing.assert_allclose(out, [math.cos(2), math.sin(2)], rtol=1e-6)


def test_norms_by_hand():
  x = jnp.array([[[1.0, 7.0]]])
  rms = Norm('rms').bind({'params': {'scale': jnp.ones(2)}})(x)
  np.testing.assert_allclose(rms.ravel(), [0.2, 1.4], rtol=1e-5)
  layer = Norm('layer').bind(
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
