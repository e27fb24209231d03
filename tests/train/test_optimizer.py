"""What every optimizer must do."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec

from configs.errors import UserError
from configs.tree import to_dataclass
from data.batch import BatchShape
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
from train import program
from train.checkpoint import Meta, find, load_state
from train.config import CheckpointConfig, RunConfig, StepConfig
from train.mesh import sharding
from train.mesh.config import MeshConfig
from train.optimizer import averaged_params, make_optimizer
from train.optimizer_config import KINDS
from train.run_checkpoints import RunCheckpoints
from train.step import first_state

# Every kind, and what can be added to any.
CASES = {kind: {'kind': kind} for kind in KINDS}
CASES |= {
  f'{kind} bfloat16': {'kind': kind, 'state_dtype': 'bfloat16'}
  for kind in ('adamw', 'adafactor', 'muon')
}
CASES['lion ema'] = {'kind': 'lion', 'ema_decay': 0.9}


@pytest.fixture(params=CASES)
def config(request):
  return dataclasses.replace(PLAIN, **CASES[request.param])


def test_a_quadratic_falls(config):
  target, params = some_params(1), some_params(0)
  init, step = stepper(config)
  state = init(params)

  def loss(params):
    off = jax.tree.map(jnp.subtract, averaged_params(state, params), target)
    return float(optax.tree.norm(off))

  first = loss(params)
  for number in range(150):
    grads = jax.tree.map(jnp.subtract, params, target)
    rate = 0.1 * (1 - number / 150) * (3 if config.kind == 'muon' else 1)
    params, state = step(params, state, grads, rate)
  assert loss(params) < 0.1 * first


def test_only_what_is_no_vector_decays(config):
  params = some_params()
  after = by_name(after_one(config, zeros_like(params), params, 0.1, 1.0, 0.5))
  for name, before in by_name(params).items():
    factor = 1.0 if name.endswith('scale') else 1 - 0.1 * 0.5
    np.testing.assert_allclose(after[name], factor * before, rtol=1e-5)


def test_multipliers_of_the_rate_hold_and_spare_the_decay(config):
  params, grads = some_params(), some_params(1)
  decayed, whole, part = (
    by_name(after_one(config, g, params, 1.0, multiplier, 0.5))
    for g, multiplier in [
      (zeros_like(params), 1.0),
      (grads, 1.0),
      (grads, 0.25),
    ]
  )
  for name, base in decayed.items():
    np.testing.assert_allclose(
      part[name] - base, 0.25 * (whole[name] - base), rtol=1e-4, atol=1e-5
    )


def test_moments_have_their_dtype_and_parameters_float32(config):
  params = some_params()
  init, step = stepper(config)
  params, state = step(params, init(params), some_params(1), 0.1)
  assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype('float32')}
  # Averages and schedule-free's iterate are parameters rather than moments.
  if hasattr(state, 'z'):
    state = state.base_optimizer_state
  state = getattr(state, 'inner', state)
  kept = {
    name: x
    for name, x in by_name(state).items()
    if jnp.issubdtype(x.dtype, jnp.floating) and 'ns_coeffs' not in name
  }
  assert {x.dtype for x in kept.values()} == {jnp.dtype(config.state_dtype)}


@pytest.mark.parametrize('kind', ['adamw', 'adafactor', 'muon'])
def test_bfloat16_moments_change_little(kind):
  ends = []
  for dtype in ('float32', 'bfloat16'):
    config = dataclasses.replace(PLAIN, kind=kind, state_dtype=dtype)
    init, step = stepper(config)
    params = some_params()
    state = init(params)
    for number in range(4):
      params, state = step(params, state, some_params(10 + number), 0.01)
    ends.append(params)
  moved = optax.tree.norm(jax.tree.map(jnp.subtract, ends[0], some_params()))
  apart = optax.tree.norm(jax.tree.map(jnp.subtract, *ends))
  assert 0 < apart < 0.1 * moved


def test_a_rate_that_is_traced_gives_what_a_constant_one_gives(config):
  params = {'kernel': jnp.array([[1.0, 2.0]])}
  grads = {'kernel': jnp.array([[0.3, -0.1]])}
  optimizer = make_optimizer(config, ones_of)
  states = [optimizer(rate).init(params) for rate in (0.0, 0.1)]
  jax.tree.map(np.testing.assert_array_equal, *states)
  updates, _ = optimizer(0.1).update(grads, states[0], params)
  after = after_one(config, grads, params, jnp.float32(0.1))
  np.testing.assert_allclose(
    params['kernel'] + updates['kernel'], after['kernel'], rtol=1e-5
  )


def test_a_saved_state_goes_on_bit_for_bit(config, tmp_path):
  params = some_params()
  _, step = stepper(config)
  start = first_state(params, make_optimizer(config, ones_of))

  def advanced(state, numbers):
    for number in numbers:
      now = step(
        state.params,
        state.optimizer_state,
        some_params(10 + number),
        0.01,
      )
      state = state.replace(
        step=state.step + 1, params=now[0], optimizer_state=now[1]
      )
    return state

  half = advanced(start, range(3))
  meta = Meta({}, '', {}, {}, 3, 0.0)
  keep = CheckpointConfig(1, 1, (), '')
  average = averaged_params(half.optimizer_state, half.params)
  with RunCheckpoints(tmp_path, keep) as checkpoints:
    checkpoints.save(
      half, meta, averaged=None if average is half.params else average
    )
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  abstract = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), half
  )
  loaded = load_state(find(tmp_path), abstract)
  assert jax.tree.structure(loaded) == jax.tree.structure(half)
  jax.tree.map(
    np.testing.assert_array_equal,
    advanced(loaded, range(3, 6)),
    advanced(start, range(6)),
  )


@pytest.mark.parametrize('kind', KINDS)
def test_updates_on_a_mesh_are_those_on_one_device(kind):
  config = dataclasses.replace(PLAIN, kind=kind)

  def layers(query, up):
    return {
      'layers': {
        'attention': {'query': {'kernel': query}},
        'ffn': {'up': {'kernel': up}},
      }
    }

  shapes = layers((2, 128, 4, 32), (2, 128, 160))
  params, grads = random_tree(shapes), random_tree(shapes, 1)
  boxed = jax.tree.map(
    nn.LogicallyPartitioned,
    params,
    layers(
      ('layers', 'embed', 'heads', 'head_width'), ('layers', 'embed', 'ffn')
    ),
  )
  optimizer = make_optimizer(config, ones_of)
  state = first_state(boxed, optimizer)
  mesh = sharding.make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
  shardings = sharding.state_shardings(state, mesh)
  # What has a parameter's shape lies as it does, and all else is small.
  layout = {name: leaf.spec for name, leaf in by_name(shardings.params).items()}
  assert layout['layers/ffn/up/kernel'] == PartitionSpec(None, 'fsdp', 'tensor')
  specs = by_name(shardings.optimizer_state)
  for name, leaf in by_name(state.optimizer_state).items():
    spec = next((s for p, s in layout.items() if name.endswith(p)), None)
    if leaf.size > 2 * 160:
      assert specs[name].spec == spec, name
  init, step = stepper(config)
  alone = step(params, init(params), grads, 0.1)
  spread = jax.jit(
    step,
    in_shardings=(
      shardings.params,
      shardings.optimizer_state,
      shardings.params,
      None,
    ),
    out_shardings=(shardings.params, shardings.optimizer_state),
  )(params, state.optimizer_state, grads, 0.1)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    alone,
    spread,
  )


@pytest.mark.parametrize(('norm', 'clipped'), [(0.5, 0.5), (5.0, 1.0)])
def test_gradients_are_clipped_by_their_global_norm(norm, clipped):
  config = dataclasses.replace(PLAIN, b1=0.0, b2=0.0, clip_norm=1.0)
  ours = make_optimizer(config, ones_of)(0.1)
  params = {'a': jnp.zeros(2), 'b': jnp.zeros(2)}
  grads = {'a': jnp.array([norm, 0.0]), 'b': jnp.zeros(2)}
  _, state = ours.update(grads, ours.init(params), params)
  assert float(state[1].mu['a'][0]) == pytest.approx(clipped)


def test_blocks_are_clipped_each_on_its_own_layers_apart():
  config = dataclasses.replace(PLAIN, b1=0.0, clip_block_norm=1.0)
  ours = make_optimizer(config, ones_of)(0.1)
  grads = {
    'layers': {'kernel': jnp.array([[3.0, 4.0], [0.3, 0.4]])},
    'table': jnp.array([[3.0, 4.0], [0.0, 12.0]]),
  }
  _, state = ours.update(grads, ours.init(grads), grads)
  clipped = state[1].mu
  np.testing.assert_allclose(
    clipped['layers']['kernel'], [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6
  )
  np.testing.assert_allclose(
    clipped['table'], np.array([[3.0, 4.0], [0.0, 12.0]]) / 13, rtol=1e-6
  )


def test_adamw_keeps_what_checkpoints_hold(tiny_config):
  config = to_dataclass(RunConfig, tiny_config)
  params = some_params()
  state = make_optimizer(config.optimizer, ones_of)(0.0).init(params)
  parts = {
    name.split('/')[0] + '/' + name.split('/')[1] for name in by_name(state)
  }
  assert parts == {'1/count', '1/mu', '1/nu'}


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'kind': 'adam'}, r"optimizer\.kind = 'adam': choose from adamw, ada"),
    ({'state_dtype': 'float16'}, r"state_dtype = 'float16': choose from fl"),
    ({'learning_rate': 0.0}, r'optimizer\.learning_rate = 0\.0: above 0'),
    ({'eps': math.inf}, r'optimizer\.eps = inf: above 0'),
    ({'weight_decay': math.nan}, r'optimizer\.weight_decay = nan: at least 0'),
    (
      {'kind': 'adafactor', 'eps': 1e-30},
      r"optimizer\.eps = 1e-30: at least 1e-18 with optimizer\.kind = 'adaf",
    ),
    (
      {'kind': 'muon', 'state_dtype': 'bfloat16', 'momentum': 0.999},
      r'optimizer\.momentum = 0\.999: at most 0\.996.* with .*bfloat16',
    ),
    ({'clip_norm': -1.0}, r'optimizer\.clip_norm = -1\.0: at least 0'),
    ({'clip_block_norm': -1.0}, r'clip_block_norm = -1\.0: at least 0'),
    ({'update_rms': -1.0}, r'optimizer\.update_rms = -1\.0: at least 0'),
    ({'ema_decay': 1.0}, r'optimizer\.ema_decay = 1\.0: in \[0, 1\)'),
    ({'momentum': 1.0}, r'optimizer\.momentum = 1\.0: in \[0, 1\)'),
    (
      {'state_dtype': 'bfloat16', 'b2': 0.999},
      r'optimizer\.b2 = 0\.999: at most 0\.996.* with .*bfloat16',
    ),
    ({'kind': 'schedule_free', 'b1': 0.0}, r'optimizer\.b1 = 0\.0: above 0'),
    (
      {'kind': 'schedule_free', 'ema_decay': 0.9},
      r'optimizer\.ema_decay = 0\.9: 0 with .*schedule_free',
    ),
  ],
)
def test_values_out_of_range_are_refused(changes, message):
  with pytest.raises(UserError, match=message):
    dataclasses.replace(PLAIN, **changes).validate()


def test_slow_moments_in_bfloat16_would_stand_still():
  """Why `validate` refuses them."""
  moment = jnp.bfloat16(1.0)
  assert (jnp.float32(moment) * 0.996).astype(jnp.bfloat16) < moment
  assert (jnp.float32(moment) * 0.999).astype(jnp.bfloat16) == moment


def test_a_program_averages_and_skips(tiny_config):
  config = to_dataclass(RunConfig, tiny_config)
  model = dataclasses.replace(config.model, num_layers=1)
  mesh = sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
  optimizer = dataclasses.replace(config.optimizer, kind='schedule_free')
  shape = BatchShape(4, 8)
  step_config = StepConfig(skip_spikes=True)
  built = program.build(model, optimizer, step_config, shape, mesh)
  state = built.init(jax.random.key(0))
  batch = shape.empty(4)
  batch['weights'][:] = 1
  placed = sharding.put_batch(batch, mesh, 4)
  for limits_2 in ([np.inf, np.inf], [np.inf, np.inf], [np.inf, 0.0]):
    limits_2 = np.array(limits_2, np.float32)
    state, found = built.train_step(
      state, placed, np.float32(0.1), None, limits_2
    )
  assert found.keys() == {'loss', 'grad_norm', 'skipped'}
  assert found['skipped'] == 1 and state.step == 3
  assert state.optimizer_state.step_count == 3  # begins at 1
  apart = jax.tree.map(jnp.subtract, built.averaged(state), state.params)
  assert float(optax.tree.norm(apart)) > 0
