"""Products of 8-bit integers, and which products they are."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import model as base
from configs.errors import UserError
from configs.tree import to_dataclass
from model import int8
from model.config import ModelConfig
from model.linear import Linear, Products, products
from model.transformer import Decoder

TINY = to_dataclass(
  ModelConfig,
  {
    **base.get_config(),
    'vocab_size': 31,
    'width': 16,
    'num_heads': 2,
    'num_kv_heads': 2,
    'head_width': 8,
    'ffn_width': 24,
    'max_length': 8,
  },
)


@pytest.fixture
def qwix():
  return pytest.importorskip('qwix', reason='the extra int8')


def _layer(dtype=jnp.float32):
  return Linear('bd,df->bf', (2, 1), ('embed', 'ffn'), dtype)


def _product(x, kernel, matmul='int8'):
  params = {'params': {'kernel': jnp.asarray(kernel, jnp.float32)}}
  with products(Products(matmul)):
    return _layer().apply(params, jnp.asarray(x, jnp.float32))


def test_a_product_by_hand(qwix):
  """The largest of a row is 127.5, so that scales are 1, and 2 in the second.

  127.5 becomes 127, the largest integer of 8 bits; halves go to even numbers.
  """
  kernel = [[127.5], [10.6]]
  found = _product([[-127.5, 2.4], [255.0, 5.0]], kernel)
  np.testing.assert_allclose(
    found, [[-128 * 127 + 2 * 11], [2 * (127 * 127 + 2 * 11)]]
  )
  exact = _product([[-127.5, 2.4]], kernel, matmul='native')
  np.testing.assert_allclose(exact, [[-127.5 * 127.5 + 2.4 * 10.6]])


def _params(config):
  tokens = jnp.zeros((1, 1), jnp.int32)
  abstract = jax.eval_shape(
    Decoder(config).init, jax.random.key(0), tokens, tokens, tokens
  )
  random = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: jnp.asarray(random.normal(0, 0.3, x.shape), x.dtype),
    nn.unbox(abstract),
  )


def _loss(config):
  tokens = jax.random.randint(jax.random.key(1), (2, 8), 0, 31)
  positions = jnp.broadcast_to(jnp.arange(8), (2, 8))
  model = Decoder(config)

  def loss(params):
    logits = model.apply(params, tokens, jnp.ones_like(tokens), positions)
    return jnp.mean(jax.nn.log_softmax(logits)[..., 0])

  return jax.value_and_grad(loss)


def _primitives(jaxpr):
  for equation in jaxpr.eqns:
    yield equation
    for value in jax.tree.leaves(
      list(equation.params.values()), is_leaf=lambda x: hasattr(x, 'eqns')
    ):
      inner = getattr(value, 'jaxpr', value)
      if hasattr(inner, 'eqns'):
        yield from _primitives(inner)


def test_the_products_of_layers_with_parameters_are_of_integers(qwix):
  """All three passes of seven kernels; not scores, mix and the head."""
  config = dataclasses.replace(TINY, matmul='int8', scan_layers=True)
  program = jax.make_jaxpr(_loss(config))(_params(TINY))
  kinds = [
    {str(v.aval.dtype) for v in e.invars}
    for e in _primitives(program.jaxpr)
    if e.primitive.name == 'dot_general'
  ]
  assert kinds.count({'int8'}) == 3 * 7
  assert kinds.count({'float32'}) == 3 * 3


def test_a_loop_that_recomputes_gives_the_same(qwix):
  """And the parameters are those of any model: as many, and float32."""
  config = dataclasses.replace(TINY, matmul='int8')
  params = _params(config)
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(
    jnp.shape, _params(TINY)
  )
  (loss, gradient), (other, other_gradient), (exact, _) = (
    jax.jit(_loss(c))(params)
    for c in (
      config,
      dataclasses.replace(config, scan_layers=True, remat='full'),
      TINY,
    )
  )
  assert {x.dtype for x in jax.tree.leaves(gradient)} == {jnp.dtype('float32')}
  # A rounding may go the other way.
  assert float(other) == pytest.approx(float(loss), rel=1e-3)
  np.testing.assert_allclose(
    other_gradient['params']['head'],
    gradient['params']['head'],
    atol=0.02 * np.abs(gradient['params']['head']).max(),
  )
  assert float(loss) != float(exact)
  assert float(loss) == pytest.approx(float(exact), rel=0.02)


def test_qwix_is_an_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, 'qwix', None)
  int8._provider.cache_clear()
  with pytest.raises(UserError, match=r"'int8' needs the extra int8: .*\[int8"):
    _product([[1.0, 2.0]], [[1.0], [2.0]])


def test_experts_are_native():
  config = dataclasses.replace(TINY, matmul='int8', num_experts=4)
  with pytest.raises(UserError, match=r"model\.matmul = 'int8': native"):
    config.validate()
