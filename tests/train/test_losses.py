"""The loss: its inputs, its sums, its gradient, and what it holds."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from configs.errors import UserError
from configs.tree import to_dataclass, with_overrides
from data.batch import BatchShape
from train import losses
from train import program as programs
from train.config import RunConfig, StepConfig
from train.mesh.config import MeshConfig
from train.mesh.sharding import local_rows, make_mesh, on_mesh, put_batch

ENCODER = {'architecture': 'encoder', 'tied_head': True, 'mlm_head': True}
TWO_STACKS = {'architecture': 'encoder_decoder', 'positions': 'relative'}
# Another way from states to logits than those of the shapes.
HEAD = {'tied_head': True, 'scale_tied_head': True, 'logit_softcap': 3.0}


def _logits(case):
  """By the names of what each model's call takes."""
  batch = case.batch
  given = {
    f'{name}_BxL': batch[name]
    for name in ('tokens', 'segment_ids', 'positions')
  }
  if 'prefix' in batch:
    given['prefix_BxL'] = batch['prefix']
  given |= {f'{n}_BxS': x for n, x in batch.items() if n.startswith('source')}
  logits = jax.jit(case.model.apply)({'params': case.params}, **given)
  return np.asarray(logits, np.float64)


def test_loss_is_the_weighted_negative_log_likelihood(case):
  log_p = special.log_softmax(_logits(case), axis=-1)
  weights = np.asarray(case.batch['weights'])
  expected = 0.0
  for b, i in np.argwhere(weights):
    expected -= log_p[b, i, case.batch['targets'][b, i]] * weights[b, i]
  (_, (nats, weight)), _ = case.gradients(case.batch)
  assert float(weight) == weights.sum()
  assert float(nats) == pytest.approx(expected, rel=1e-5)


def test_targets_without_weight_are_ignored(case):
  weightless = case.batch['weights'] == 0
  others = (case.batch['targets'] + 1) % case.model.config.vocab_size
  targets = jnp.where(weightless, others, case.batch['targets'])
  before = case.gradients(case.batch)
  after = case.gradients(case.batch | {'targets': targets})
  jax.tree.map(np.testing.assert_array_equal, before, after)
  (loss, _), _ = case.gradients(case.batch | {'targets': others})
  assert loss != before[0][0]


def test_a_prefix_is_seen_from_before_its_end(make_case):
  case = make_case('prefix')
  causal = {k: v for k, v in case.batch.items() if k != 'prefix'}
  nats = jax.jit(lambda b: losses.token_nats(case.params, b, case.model))
  with_prefix, without = nats(case.batch), nats(causal)
  differs = np.abs(with_prefix - without).max(axis=0) > 1e-6
  # The first segment's two tokens see each other, of the second's only one is
  # in the prefix.
  np.testing.assert_array_equal(differs, [True, False, False, False, False])
  nothing = causal | {'prefix': jnp.zeros_like(case.batch['prefix'])}
  np.testing.assert_array_equal(nats(nothing), without)


@pytest.mark.parametrize(
  ('changes', 'shape', 'message'),
  [
    (ENCODER | {'mlm_head': False}, {}, r'model\.mlm_head = False.*to True'),
    (
      ENCODER | {'num_classes': 3, 'pooler': True},
      {},
      r'model\.num_classes = 3.*to 0',
    ),
    (ENCODER, {'has_prefix': True}, 'a prefix, which only a decoder reads'),
    (ENCODER, {'source_length': 2}, "'encoder': it reads no source"),
    (
      {},
      {'source_length': 2},
      "'decoder': it reads no source, and batches hav",
    ),
    (TWO_STACKS, {}, 'it reads a source, and batches have none'),
  ],
)
def test_a_model_that_does_not_fit_its_batches(
  run_config, changes, shape, message
):
  config = dataclasses.replace(run_config.model, **changes)
  config.validate()
  with pytest.raises(UserError, match=message):
    losses.check_inputs(config, BatchShape(2, 4, **shape).arrays())


def test_models_that_fit_their_batches(case):
  losses.check_inputs(case.model.config, case.batch)


def _assert_equal(found, expected, rtol=1e-5):
  """Each array, by the size of its largest element."""

  def one(a, b):
    a, b = np.asarray(a), np.asarray(b)
    np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max())

  jax.tree.map(one, found, expected)


def _check_chunks(case):
  """As many chunks as places, so that each gives a part of every sum."""
  (_, sums), gradients, _ = plain = case.found(1)
  used = {k: v for k, v in gradients.items() if k != 'pooler'}
  assert min(np.abs(x).max() for x in jax.tree.leaves(used)) > 1e-4
  assert sums[0] > 1
  _assert_equal(case.found(case.batch['targets'].shape[1]), plain)


def test_chunks_change_neither_loss_nor_gradient(case):
  _check_chunks(case)


def test_chunks_of_another_head(make_case):
  _check_chunks(make_case('decoder', **HEAD))


def test_chunks_divide_a_row(make_case):
  case = make_case('decoder')
  with pytest.raises(UserError, match=r'train\.loss_chunks = 2: .* 5 places'):
    losses.loss_sums(case.params, case.batch, case.model, 2)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'train.loss_chunks': 0}, r'train\.loss_chunks = 0: at least 1'),
    ({'train.z_loss': -1e-4}, r'train\.z_loss = -0\.0001: at least 0'),
    ({'train.z_loss': math.nan}, r'train\.z_loss = nan: at least 0'),
    ({'train.seed': 2**32}, r'train\.seed = 4294967296: in \[0, 2\^32\)'),
    (
      {'train.loss_chunks': 3},
      r'train\.loss_chunks = 3: must divide data\.sequence_length = 16',
    ),
    (
      {
        'train.loss_chunks': 3,
        'data.target_length': 8,
        'model.architecture': 'encoder_decoder',
      },
      r'train\.loss_chunks = 3: must divide data\.target_length = 8',
    ),
  ],
)
def test_keys_that_cannot_be(tiny_config, changes, message):
  with pytest.raises(UserError, match=message):
    to_dataclass(RunConfig, with_overrides(tiny_config, changes))


# Along data, fsdp, tensor, expert and sequence.
@pytest.mark.parametrize(
  ('name', 'sizes'),
  [
    ('decoder', (1, 2, 2, 1, 2)),
    pytest.param('encoder', (1, 2, 2, 1, 2), marks=pytest.mark.long),
    pytest.param('decoder', (2, 2, 2), marks=pytest.mark.long),
    pytest.param('encoder', (2, 2, 2), marks=pytest.mark.long),
    pytest.param('encoder_decoder', (2, 2, 2), marks=pytest.mark.long),
  ],
  ids=str,
)
def test_chunks_on_a_mesh(run_config, make_case, name, sizes):
  """Vocabulary, width, rows and places are divided; one device is not."""
  case = make_case(name, vocab_size=8)
  length = 8
  shape = BatchShape(
    4, length, source_length=6 if 'source_tokens' in case.batch else 0
  )
  random = np.random.default_rng(0)
  rows = shape.empty(4)
  for array in rows.values():
    array[:] = random.integers(0, 3, array.shape)
  config = case.model.config

  def learnt(sizes, chunks):
    mesh = make_mesh(MeshConfig(*sizes), jax.devices()[: math.prod(sizes)])
    state = programs.lower(
      config, run_config.optimizer, StepConfig(), shape, mesh
    ).abstract_state
    params = jax.tree.map(
      lambda x, leaf: jax.device_put(x, leaf.sharding),
      case.params,
      state.params,
    )
    step = StepConfig(loss_chunks=chunks)
    sums = functools.partial(
      losses.training_sums, model=case.model, key=None, config=step
    )
    compiled = jax.jit(jax.value_and_grad(sums, has_aux=True))
    local = {key: x[local_rows(mesh, 4)] for key, x in rows.items()}
    return on_mesh(compiled, mesh)(params, put_batch(local, mesh, 4))

  _assert_equal(learnt(sizes, 2), learnt((1, 1, 1), 1))


def test_the_loss_of_large_sums_of_logits(case):
  """In what is descended, and not in the loss that is told."""
  log_z = special.logsumexp(_logits(case), axis=-1)
  penalty = 0.3 * (log_z**2 * np.asarray(case.batch['weights'])).sum()
  (total, sums), *_ = case.found(1)
  (plain, expected), _ = case.gradients(case.batch)
  assert float(total / 2 - plain) == pytest.approx(penalty, rel=1e-4)
  _assert_equal(sums, expected, 1e-6)


def test_where_z_loss_pulls_by_hand(make_case):
  """All 7 logits of a head of zeros are 0, and so log z is log 7."""
  case = make_case('decoder')
  batch, log_z = case.batch, np.log(7)

  @jax.jit
  def learnt(head, states):
    def sums(head, z_loss):
      params = case.params | {'head': head}
      config = StepConfig(z_loss=z_loss)
      return losses.training_sums(params, batch, case.model, None, config)[0]

    found = [jax.value_and_grad(sums)(head, z) for z in (0.5, 0.0)]
    return jax.tree.map(jnp.subtract, *found), states()

  def states():
    inputs = losses.inputs(case.model, batch)
    return case.model.apply({'params': case.params}, *inputs, method='hidden')

  (penalty, pull_VxD), states_BxLxD = learnt(
    jnp.zeros_like(case.params['head']), jax.tree_util.Partial(states)
  )
  weights = np.asarray(batch['weights'])
  expected = 0.5 * weights.sum() * log_z**2
  assert float(penalty) == pytest.approx(expected, rel=1e-4)
  # Each row of the head learns d (log z)^2 / d logit = 2 log z / 7 of states.
  summed_D = np.einsum('bl,bld->d', weights, states_BxLxD)
  _assert_equal(pull_VxD, np.tile(0.5 * 2 * log_z / 7 * summed_D, (7, 1)))


def test_chunks_hold_a_part_of_the_logits(run_config):
  """In float32, and the compiler does not put them together."""
  shape, vocab_size = BatchShape(2, 128), 8192
  config = dataclasses.replace(run_config.model, vocab_size=vocab_size)
  mesh = make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])

  def logits_held(chunks):
    step = StepConfig(loss_chunks=chunks)
    lowered = programs.lower(config, run_config.optimizer, step, shape, mesh)
    return [
      program.compile().memory_analysis().temp_size_in_bytes
      / (4 * 2 * 128 * vocab_size)
      for program in (lowered.train_step, lowered.eval_step)
    ]

  training, evaluation = logits_held(1)
  assert training > 2
  assert evaluation > 1
  training, evaluation = logits_held(16)
  assert training < 0.5
  assert evaluation < 0.2
