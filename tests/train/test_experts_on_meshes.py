"""A mixture of experts divides its work over a mesh, and stays the same."""

import functools
import math
import re
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import model as base
from configs.tree import to_dataclass
from model import dropless
from model.config import ModelConfig
from model.experts import LOSSES, Experts
from train.mesh import sharding
from train.mesh.config import MeshConfig
from train.mesh.rules import STRATEGIES

# data, fsdp, tensor, expert, sequence
ALONE = [
  (4, 1, 1, 1),
  (1, 4, 1, 1),
  (1, 1, 4, 1),
  (1, 1, 1, 4),
  (1, 1, 1, 1, 4),
]
MIXED = [(2, 2, 2, 1), (2, 1, 1, 4), (1, 2, 2, 2), (2, 1, 1, 2, 2)]
DROPLESS, CAPACITY = 0.0, 2.0
BATCH, LENGTH, WIDTH = 24, 8, 16


def _config(capacity, **overrides):
  return to_dataclass(
    ModelConfig,
    {
      **base.get_config(),
      'width': WIDTH,
      'ffn_width': 64,
      'num_experts': 8,
      'experts_per_token': 2,
      'expert_capacity': capacity,
      **overrides,
    },
  )


def _losses_and_grads(config):
  """What a layer gives and sows, and the gradients of a sum of them."""

  def total(params, x):
    out, sown = Experts(config).apply({'params': params}, x, mutable=[LOSSES])
    losses = jax.tree.map(jnp.float32, sown[LOSSES])
    return jnp.sum(jnp.sin(out)) + sum(jax.tree.leaves(losses)), (out, losses)

  return jax.value_and_grad(total, argnums=(0, 1), has_aux=True)


def _ragged_dot(x, kernels, sizes):
  return jax.lax.ragged_dot(x, kernels.astype(x.dtype), sizes)


@functools.cache
def _countable(config, mesh_sizes):
  """The same with a product of which the compiler can count the operations.

  It cannot tell how often a loop is run. On CPU `ragged_dot` is a product of
  every row with every kernel, so what divides rows, experts or their width
  divides its operations.
  """
  with mock.patch.object(dropless, 'grouped_product', _ragged_dot):
    return _compiled.__wrapped__(config, mesh_sizes)[0]


@functools.cache
def _compiled(config, mesh_sizes):
  """The layer and its gradients for a mesh, and arguments that lie on it."""
  devices = jax.devices()[: math.prod(mesh_sizes)]
  mesh = sharding.make_mesh(MeshConfig(*mesh_sizes), devices)
  with jax.set_mesh(mesh), sharding.logical_rules():
    boxed = jax.eval_shape(
      Experts(config).init, jax.random.key(0), jnp.zeros((1, 1, WIDTH))
    )['params']
    places = sharding.tree_shardings(boxed, mesh)
    random = np.random.default_rng(0)
    params = jax.tree.map(
      lambda leaf, place: jax.device_put(
        random.normal(0, 0.2, leaf.shape).astype(np.float32), place
      ),
      sharding.unbox(boxed),
      places,
    )
    x = random.normal(size=(BATCH, LENGTH, WIDTH)).astype(np.float32)
    x_place = sharding.batch_sharding(mesh)
    arguments = params, jax.device_put(x, x_place)
    compiled = (
      jax.jit(
        _losses_and_grads(config), out_shardings=(None, (places, x_place))
      )
      .lower(*arguments)
      .compile()
    )
  return compiled, arguments


@pytest.fixture(scope='module', params=[DROPLESS, CAPACITY])
def alone(request):
  config = _config(request.param)
  compiled, arguments = _compiled(config, (1, 1, 1, 1))
  return config, compiled(*arguments)


@pytest.mark.parametrize('mesh', ALONE + MIXED, ids=str)
def test_values_losses_and_gradients_are_those_of_one_device(alone, mesh):
  config, expected = alone
  compiled, arguments = _compiled(config, mesh)

  def near(a, b):
    a, b = np.asarray(a), np.asarray(b)
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())

  jax.tree.map(near, compiled(*arguments), expected)


@pytest.mark.parametrize('mesh', [*ALONE, MIXED[1]], ids=str)
def test_each_device_does_its_share(alone, mesh):
  config, _ = alone
  whole, part = (
    _countable(config, sizes).cost_analysis()['flops']
    for sizes in ((1, 1, 1, 1), mesh)
  )
  share = 1 / math.prod(mesh)
  assert share * 0.9 < part / whole < share * 1.4


@pytest.mark.parametrize('mesh', ALONE[:2], ids=str)
def test_no_device_gathers_the_batch(alone, mesh):
  compiled, _ = _compiled(alone[0], mesh)
  gathered = re.findall(r'\w+\[([\d,]*)\]\S* all-gather', compiled.as_text())
  assert not [shape for shape in gathered if shape.startswith(f'{BATCH},')]


def test_rows_are_divided_along_all_that_is_not_of_experts():
  for strategy in STRATEGIES.values():
    rules = strategy.activations
    assert rules['batch'] == (*rules['rows'], rules['experts'])
