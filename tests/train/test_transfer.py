"""The best learning rate stays as the width grows, where it is meant to."""

import functools

import jax
import numpy as np
import pytest

from configs import pretrain
from configs.tree import to_dataclass, with_overrides
from data import corpus as corpora
from data import pipeline
from train import program as programs
from train.config import RunConfig
from train.mesh.sharding import local_rows, make_mesh, put_batch
from train.recipes import recipe_of
from train.schedule import learning_rate

STEPS, ROWS, LENGTH = 100, 8, 64
POWERS = range(-10, -3)  # of two: the grid of learning rates
SEEDS = range(3)


def _config(parametrization, width, rate, seed):
  """Four heads that grow with the width; real text."""
  return to_dataclass(
    RunConfig,
    with_overrides(
      pretrain.get_config(),
      {
        'model.width': width,
        'model.ffn_width': 8 * round(width / 3),
        'model.num_heads': 4,
        'model.num_kv_heads': 4,
        'model.head_width': width // 4,
        'model.parametrization': parametrization,
        'data.sequence_length': LENGTH,
        'data.batch_size': ROWS,
        'data.seed': seed,
        'optimizer.learning_rate': rate,
        'optimizer.weight_decay': 0.0,
        'schedule.kind': 'cosine',
        'schedule.warmup_steps': STEPS // 5,
        'schedule.decay_steps': 0,
        'train.num_steps': STEPS,
        'train.seed': seed,
        'mesh.data': 1,
      },
    ),
  )


def _loss(parametrization, width, rate, seed):
  """Mean over the last fifth of the steps, nats a token."""
  config = _config(parametrization, width, rate, seed)
  corpus = corpora.prepare(config.data)
  mesh = make_mesh(config.mesh, jax.devices()[:1])
  recipe = recipe_of(config, corpus.tokenizer)
  program = programs.build(
    config.model, config.optimizer, config.train.step, recipe.shape, mesh
  )
  state = program.init(jax.random.key(seed))
  rows = pipeline.train_rows(corpus, config.data, recipe)
  batches = pipeline.train_batches(rows, config.data, local_rows(mesh, ROWS))
  losses = []
  for step in range(STEPS):
    batch = put_batch(next(batches), mesh, ROWS)
    now = learning_rate(config.optimizer, config.schedule, step, STEPS)
    state, found = program.train_step(state, batch, np.float32(now), None)
    losses.append(found['loss'])
  return float(np.mean(losses[-STEPS // 5 :]))


@functools.cache
def _best(parametrization, width):
  """The power of two of the learning rate with the least mean loss."""
  means = {
    power: np.mean(
      [_loss(parametrization, width, 2.0**power, seed) for seed in SEEDS]
    )
    for power in POWERS
  }
  print(parametrization, width, {k: round(v, 4) for k, v in means.items()})
  return min(means, key=means.get)


@pytest.mark.long
def test_the_best_learning_rate_stays_as_the_width_grows():
  base = _best('mup', 64)  # where both are the same
  assert min(POWERS) < base < max(POWERS)
  for width in (128, 256, 512):
    assert abs(_best('mup', width) - base) <= 1
  assert _best('standard', 512) <= base - 2
