"""What the backward pass recomputes, and that it changes no number."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import model as base
from configs.tree import to_dataclass
from model.config import REMAT_POLICIES, ModelConfig
from model.transformer import Decoder

TINY = to_dataclass(
  ModelConfig,
  {
    **base.get_config(),
    'vocab_size': 31,
    'num_layers': 3,
    'width': 16,
    'num_heads': 4,
    'num_kv_heads': 2,
    'head_width': 4,
    'ffn_width': 24,
    'max_length': 8,
  },
)


def _inputs():
  tokens = jax.random.randint(jax.random.key(1), (2, 8), 0, 31)
  return tokens, jnp.ones_like(tokens), jnp.broadcast_to(jnp.arange(8), (2, 8))


@functools.cache
def _params():
  abstract = nn.unbox(
    jax.eval_shape(Decoder(TINY).init, jax.random.key(0), *_inputs())
  )
  random = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: jnp.asarray(random.normal(0, 0.3, x.shape), x.dtype), abstract
  )


def _learnt(policy, scan_layers=True, dtype='float32'):
  config = dataclasses.replace(
    TINY, remat=policy, scan_layers=scan_layers, compute_dtype=dtype
  )

  def loss(params):
    return jnp.sin(Decoder(config).apply(params, *_inputs())).sum() / 100

  return jax.value_and_grad(loss)


@functools.cache
def _plain():
  return jax.jit(_learnt('none', scan_layers=False))(_params())


@pytest.mark.parametrize(
  ('policy', 'scan_layers'),
  [('dots', True), ('full', True), ('offload', True), ('offload', False)],
)
def test_no_policy_changes_loss_or_gradient(policy, scan_layers):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6),
    jax.jit(_learnt(policy, scan_layers))(_params()),
    _plain(),
  )


def _equations(jaxpr):
  """Of a program, those of a loop's body once."""
  for equation in jaxpr.eqns:
    yield equation
    for value in jax.tree.leaves(
      list(equation.params.values()), is_leaf=lambda x: hasattr(x, 'eqns')
    ):
      inner = getattr(value, 'jaxpr', value)
      if hasattr(inner, 'eqns'):
        yield from _equations(inner)


@functools.cache
def _program(policy, dtype='float32'):
  return jax.make_jaxpr(_learnt(policy, dtype=dtype))(_params()).jaxpr


# A layer has nine products: q, k, v, scores, mix, out, gate, up and down. The
# last one's result is nothing that a gradient needs.
@pytest.mark.parametrize(
  ('policy', 'recomputed'),
  [('none', 0), ('dots', 2), ('full', 8), ('offload', 8)],
)
def test_what_is_recomputed(policy, recomputed):
  names = [e.primitive.name for e in _equations(_program(policy))]
  # Forward, and backward of both factors; one more product is the head.
  assert names.count('dot_general') == 3 * (9 + 1) + recomputed


@pytest.mark.parametrize('policy', REMAT_POLICIES)
def test_only_offload_moves_what_layers_read_to_the_host(policy):
  moved = [
    e.outvars[0].aval
    for e in _equations(_program(policy))
    if e.primitive.name == 'device_put' and '<host>' in str(e.outvars[0].aval)
  ]
  expected = [(2, 8, 16)] if policy == 'offload' else []
  assert [x.shape for x in moved] == expected


@pytest.mark.parametrize(
  ('policy', 'shapes'),
  [
    ('full', [(2, 8, 16)]),
    # The stream; q, k and v; out; gate and up.
    (
      'dots',
      [
        (2, 8, 16),
        *[(2, 8, 4, 4), (2, 8, 2, 4), (2, 8, 2, 4)],
        *[(2, 8, 16), (2, 8, 24), (2, 8, 24)],
      ],
    ),
  ],
)
def test_what_is_kept_of_each_layer(policy, shapes):
  """In the compute dtype, none of it twice."""
  forward = next(
    e
    for e in _equations(_program(policy, 'bfloat16'))
    if e.primitive.name == 'scan'
  )
  kept = [v.aval for v in forward.outvars if v.aval.shape[:1] == (3,)]
  assert {x.dtype for x in kept} == {jnp.dtype('bfloat16')}
  assert sorted(x.shape[1:] for x in kept) == sorted(shapes)
