"""The pure step: its inputs, its loss, its sums, its update."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from scipy import special

from configs.errors import UserError
from configs.tree import to_dataclass
from data.batch import BatchShape
from model.parametrization import learning_rates
from model.transformer import Transformer, make
from train import losses
from train import step as steps
from train.config import RunConfig, StepConfig
from train.optimizer import make_optimizer

VOCAB = 7
# What differs from a decoder, and the batch that it takes.
SHAPES = {
  'decoder': ({}, BatchShape(4, 5)),
  'prefix': ({}, BatchShape(4, 5, has_prefix=True)),
  'encoder': (
    {
      'architecture': 'encoder',
      'tied_head': True,
      'mlm_head': True,
      'pooler': True,
    },
    BatchShape(4, 5),
  ),
  'encoder_decoder': (
    {'architecture': 'encoder_decoder', 'positions': 'relative'},
    BatchShape(4, 3, source_length=6),
  ),
}


@dataclasses.dataclass(frozen=True)
class Case:
  """A model of one shape, its first parameters, and a batch."""

  model: Transformer
  params: Any
  batch: dict[str, jax.Array]

  @functools.cached_property
  def gradients(self):
    """A batch to ((loss, sums), gradients), without dropout."""
    sums = functools.partial(losses.training_sums, model=self.model, key=None)
    compiled = jax.jit(jax.value_and_grad(sums, has_aux=True))
    return functools.partial(compiled, self.params)


@pytest.fixture(scope='module')
def run_config(tiny_config):
  config = to_dataclass(RunConfig, tiny_config)
  model = dataclasses.replace(config.model, vocab_size=VOCAB, num_layers=1)
  return dataclasses.replace(config, model=model)


@pytest.fixture(scope='module')
def make_case(run_config):
  @functools.cache
  def of(name):
    changes, shape = SHAPES[name]
    model = make(dataclasses.replace(run_config.model, **changes))
    started = jax.eval_shape(
      lambda key: steps.init_state(key, model, optax.identity()),
      jax.random.key(0),
    )
    params = _numbers(nn.unbox(started.params))
    return Case(model, params, _random(shape))

  return of


@pytest.fixture(params=SHAPES)
def case(make_case, request):
  return make_case(request.param)


@pytest.fixture
def decoder(make_case):
  return make_case('decoder')


def _numbers(params):
  """Of the size of initial ones, without compiling how those are drawn."""
  random = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: jnp.asarray(random.normal(0, 0.3, x.shape), x.dtype), params
  )


def _random(shape):
  """Two documents a row and one place of padding; some places weigh nothing."""
  random = np.random.default_rng(0)
  batch = shape.empty(shape.batch_size)
  for name, array in batch.items():
    length = array.shape[1]
    segments = np.repeat([1, 2, 0], [2, length - 3, 1])
    if name.endswith('segment_ids'):
      array[:] = segments
    elif name.endswith('positions'):
      array[:] = np.concatenate([[0, 1], np.arange(length - 3), [0]])
    elif name == 'weights':
      array[:] = random.integers(0, 3, array.shape) * (segments > 0)
      array[0] = 0
    elif name == 'prefix':
      array[:, [0, 1, 2]] = 1
    else:
      array[:] = random.integers(0, VOCAB, array.shape)
  return {name: jnp.asarray(array) for name, array in batch.items()}


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
  others = (case.batch['targets'] + 1) % VOCAB
  targets = jnp.where(weightless, others, case.batch['targets'])
  before = case.gradients(case.batch)
  after = case.gradients(case.batch | {'targets': targets})
  jax.tree.map(np.testing.assert_array_equal, before, after)
  (loss, _), _ = case.gradients(case.batch | {'targets': others})
  assert loss != before[0][0]


def test_bytes_are_those_of_the_weighted_targets(decoder):
  weights = jnp.zeros((4, 5)).at[0, jnp.array([0, 2])].set(1)
  batch = decoder.batch | {'weights': weights}
  table = jnp.arange(VOCAB, dtype=jnp.float32) * 10
  evaluate = jax.jit(functools.partial(steps.eval_step, model=decoder.model))
  sums = evaluate(decoder.params, batch, table)
  targets = np.asarray(batch['targets'])[0]
  assert float(sums['bytes']) == 10 * (targets[0] + targets[2])


def test_micro_batches_of_unequal_weight_give_the_whole_batchs_update(
  make_case,
):
  case = make_case('encoder_decoder')
  plain = optax.identity()
  state = steps.TrainState(jnp.int32(0), case.params, plain.init(case.params))

  @jax.jit
  def update():
    new, metrics = steps.train_step(
      state,
      case.batch,
      jnp.float32(1.0),
      model=case.model,
      optimizer=plain,
      config=StepConfig(accumulate_steps=2),
    )
    return jax.tree.map(jnp.subtract, state.params, new.params), metrics['loss']

  (_, (nats, weight)), grads = case.gradients(case.batch)
  whole = jax.tree.map(lambda g: g / weight, grads), nats / weight
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    update(),
    whole,
  )


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


def test_a_step_moves_against_the_learning_rate_times_the_update(
  run_config, decoder
):
  rates = functools.partial(learning_rates, decoder.model.config)
  optimizer = make_optimizer(run_config.optimizer, rates)
  state = steps.TrainState(
    jnp.int32(0), decoder.params, optimizer.init(decoder.params)
  )

  @jax.jit
  def moved(rate):
    new, _ = steps.train_step(
      state,
      decoder.batch,
      rate,
      model=decoder.model,
      optimizer=optimizer,
      config=StepConfig(),
    )
    return new.params['embedding']['table'] - state.params['embedding']['table']

  one, two = moved(jnp.float32(1.0)), moved(jnp.float32(2.0))
  np.testing.assert_allclose(2 * one, two, rtol=1e-4, atol=1e-6)
  assert float(jnp.abs(one).max()) > 0.5  # Adam's first step is about 1


ENCODER = SHAPES['encoder'][0]
TWO_STACKS = SHAPES['encoder_decoder'][0]


@pytest.mark.parametrize(
  ('changes', 'shape', 'message'),
  [
    (ENCODER | {'mlm_head': False}, {}, r'model\.mlm_head = False.*to True'),
    (ENCODER | {'num_classes': 3}, {}, r'model\.num_classes = 3.*to 0'),
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


@pytest.mark.parametrize('name', SHAPES)
def test_models_that_fit_their_batches(run_config, name):
  changes, shape = SHAPES[name]
  config = dataclasses.replace(run_config.model, **changes)
  losses.check_inputs(config, shape.arrays())
