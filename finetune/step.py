"""The training step of a classifier: pure functions."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from finetune.module import Classifier
from train.optimizer import Optimizer
from train.step import TrainState

Batch = Mapping[str, jax.Array]


def loss(params: Any, batch: Batch, model: Classifier) -> jax.Array:
  """Mean negative log-likelihood of the labels in nats, float32 scalar.

  Args:
    params: of `model`.
    batch: integers `tokens` and `segment_ids` [B, L], and `labels` [B, 1].
    model: gives the scores.
  """
  scores_BxC = model.apply(
    {'params': params}, batch['tokens'], batch['segment_ids']
  )
  nats_B = optax.softmax_cross_entropy_with_integer_labels(
    scores_BxC, batch['labels'][:, 0]
  )
  return jnp.mean(nats_B)


def train_step(
  state: TrainState,
  batch: Batch,
  learning_rate: jax.Array,
  *,
  model: Classifier,
  optimizer: Optimizer,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """One update from the mean loss over a global batch.

  Args:
    state: before the update.
    batch: as `loss`.
    learning_rate: scalar.
    model: gives the scores.
    optimizer: of the learning rate, whose updates are added to parameters.

  Returns:
    The next state, and `loss` (nats a text) and `grad_norm` (before clipping)
    as float32 scalars.
  """
  nats, grads = jax.value_and_grad(loss)(state.params, batch, model)
  updates, optimizer_state = optimizer(learning_rate).update(
    grads, state.optimizer_state, state.params
  )
  params = optax.apply_updates(state.params, updates)
  metrics = {'loss': nats, 'grad_norm': optax.tree.norm(grads)}
  return TrainState(state.step + 1, params, optimizer_state), metrics
