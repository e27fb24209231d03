"""Trains all parameters of a classifier."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from configs.errors import UserError
from finetune.classifier import TextClassifier
from finetune.config import FinetuneConfig
from finetune.module import Classifier, abstract_state, shardings_of
from finetune.step import train_step
from train.interrupt import StopRequest
from train.mesh.placement import Placement
from train.mesh.sharding import local_rows, on_mesh, put_batch
from train.metrics import MetricWriter
from train.optimizer import make_optimizer, rates_of
from train.optimizer_config import OptimizerConfig
from train.schedule import learning_rate
from train.step import TrainState, averaged, first_state


def indices_of(step: int, num_examples: int, config: FinetuneConfig) -> Any:
  """Which examples [B] the batch of a step holds, the first being 0.

  Batches follow on each other through one shuffled order after another: a pure
  function of the seed and the step.
  """
  places = step * config.batch_size + np.arange(config.batch_size)
  epochs, rows = np.divmod(places, num_examples)
  orders = {
    epoch: np.random.default_rng((config.seed, int(epoch))).permutation(
      num_examples
    )
    for epoch in np.unique(epochs)
  }
  return np.array(
    [orders[epoch][row] for epoch, row in zip(epochs, rows, strict=True)]
  )


def fit(
  classifier: TextClassifier,
  examples: Mapping[str, np.ndarray],
  config: FinetuneConfig,
  writer: MetricWriter,
  validate: Callable[[Any], dict[str, float]],
  stop: StopRequest,
  show_progress: bool,
) -> tuple[Any, int]:
  """The parameters after training, averaged where the optimizer averages them,
  and the number of steps made.

  Args:
    classifier: where to begin; its parameters are left as they are.
    examples: `tokens`, `segment_ids` [N, L] and `labels` [N, 1].
    config: of the optimizer and the steps.
    writer: takes the loss every `log_every_steps`.
    validate: parameters to metrics, every `eval_every_steps`.
    stop: ends training before the next step.
    show_progress: a progress bar on stderr.

  Raises:
    UserError: the loss is not finite, or a batch does not divide over the mesh.
  """
  mesh, size = classifier.mesh, config.batch_size
  # The rate is handed to each step: runs that differ in it share a program.
  shared = dataclasses.replace(config.optimizer, learning_rate=1.0)
  start, advance = _program(
    classifier.model, shared, mesh, classifier.placement
  )
  state = start(classifier.params)
  local, num_examples = local_rows(mesh, size), len(examples['labels'])
  steps = tqdm(
    range(1, config.num_steps + 1),
    unit='step',
    desc=f'{config.task} {config.mode}',
    disable=not show_progress,
    dynamic_ncols=True,
  )
  for step in steps:
    if stop:
      return averaged(state), step - 1
    chosen = indices_of(step - 1, num_examples, config)[local]
    batch = {key: value[chosen] for key, value in examples.items()}
    rate = learning_rate(
      config.optimizer, config.schedule, step - 1, config.num_steps
    )
    state, found = advance(
      state, put_batch(batch, mesh, size), np.float32(rate)
    )
    if step % config.log_every_steps == 0 or step == config.num_steps:
      values = {name: float(value) for name, value in found.items()}
      _check_finite(step, values)
      writer.write(step, {**values, 'learning_rate': rate})
    if config.eval_every_steps and step % config.eval_every_steps == 0:
      writer.write(step, validate(averaged(state)))
  return averaged(state), config.num_steps


@functools.lru_cache(maxsize=16)
def _program(
  model: Classifier,
  optimizer_config: OptimizerConfig,
  mesh: Mesh,
  placement: Placement,
) -> tuple[Callable[..., TrainState], Callable[..., Any]]:
  """Parameters to the first state, and the compiled step.

  The step takes over the state's memory; so the first one has a copy of the
  parameters.
  """
  rates = rates_of(model.config, optimizer_config)
  optimizer = make_optimizer(optimizer_config, rates)
  layout = shardings_of(abstract_state(model, optimizer, mesh, placement))

  def start(params: Any) -> TrainState:
    return first_state(jax.tree.map(jnp.copy, params), optimizer)

  advance = jax.jit(
    functools.partial(train_step, model=model, optimizer=optimizer),
    out_shardings=(layout, layout.step),
    donate_argnames='state',
  )
  return jax.jit(start, out_shardings=layout), on_mesh(advance, mesh, placement)


def _check_finite(step: int, values: Mapping[str, float]) -> None:
  """A loss that once is not finite never is again: now and then is enough."""
  if not all(math.isfinite(value) for value in values.values()):
    told = ', '.join(f'{name} {value}' for name, value in values.items())
    raise UserError(
      f'finetuning has diverged at step {step} ({told}); lower '
      'optimizer.learning_rate or lengthen warmup_steps'
    )
