"""Small models of all shapes, each with parameters and a batch."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from configs.tree import to_dataclass
from data.batch import BatchShape
from model.transformer import Transformer, make
from train import losses
from train import step as steps
from train.config import RunConfig, StepConfig

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

  @functools.cached_property
  def found(self):
    """What is learnt from with a z-loss of 0.3, by the number of chunks.

    Twice (loss, sums), the gradients of that, and the nats of each place.
    """

    def one(params, chunks):
      config = StepConfig(z_loss=0.3, loss_chunks=chunks)

      def twice(params):
        total, sums = losses.training_sums(
          params, self.batch, self.model, None, config
        )
        return 2 * total, sums

      learnt = jax.value_and_grad(twice, has_aux=True)(params)
      return *learnt, losses.token_nats(params, self.batch, self.model, chunks)

    compiled = jax.jit(one, static_argnums=1)
    return functools.cache(lambda chunks: compiled(self.params, chunks))


@pytest.fixture(scope='session')
def run_config(tiny_config):
  """Of a decoder of one layer and a vocabulary of 7."""
  config = to_dataclass(RunConfig, tiny_config)
  model = dataclasses.replace(config.model, vocab_size=VOCAB, num_layers=1)
  return dataclasses.replace(config, model=model)


@pytest.fixture(scope='session')
def make_case(run_config):
  """A name of `SHAPES` to its `Case`, with other keys of the model changed."""

  @functools.cache
  def of(name, **others):
    changes, shape = SHAPES[name]
    model = make(dataclasses.replace(run_config.model, **changes, **others))
    started = jax.eval_shape(
      lambda key: steps.init_state(key, model, optax.sgd),
      jax.random.key(0),
    )
    params = _numbers(nn.unbox(started.params))
    return Case(model, params, _random(shape))

  return of


@pytest.fixture(params=SHAPES)
def case(make_case, request):
  """Of each shape."""
  return make_case(request.param)


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
