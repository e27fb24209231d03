"""The training step: pure functions of (state, batch, learning rate)."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from model.transformer import Transformer, abstract_inputs
from train.config import StepConfig
from train.losses import Batch, loss_sums, training_sums
from train.mesh.sharding import unbox
from train.optimizer import Optimizer, averaged_params

_PLAIN = StepConfig()


class TrainState(flax.struct.PyTreeNode):
  """All that a step changes.

  Random numbers are no part of it: each step folds its number into the run's
  seed where it needs them.

  Attributes:
    step: int32 scalar, the number of updates made.
    params: the parameters of a `Transformer`, float32, at which gradients are
      taken.
    optimizer_state: moments of the optimizer, and averages of the parameters.
  """

  step: jax.Array
  params: Any
  optimizer_state: Any


def init_state(
  key: jax.Array, model: Transformer, optimizer: Optimizer
) -> TrainState:
  """A state at step 0; parameters are boxed with their logical axes."""
  tokens = [jnp.zeros(x.shape, x.dtype) for x in abstract_inputs(model.config)]
  params = model.init(key, *tokens)['params']
  return first_state(params, optimizer)


def first_state(params: Any, optimizer: Optimizer) -> TrainState:
  """A state at step 0 of parameters, which may be boxed.

  What the optimizer keeps is not: its arrays can have other axes than the
  parameters, whose paths theirs end in.
  """
  kept = optimizer(0.0).init(unbox(params))
  return TrainState(jnp.int32(0), params, kept)


def averaged(state: TrainState) -> Any:
  """The parameters to evaluate and to keep.

  They are `state.params` itself unless the optimizer averages.
  """
  return averaged_params(state.optimizer_state, state.params)


def train_step(
  state: TrainState,
  batch: Batch,
  learning_rate: jax.Array,
  key: jax.Array | None = None,
  limits_2: jax.Array | None = None,
  *,
  model: Transformer,
  optimizer: Optimizer,
  config: StepConfig,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """One update from the mean loss over a global batch.

  Args:
    state: before the update.
    batch: as `losses.loss_sums`; B a multiple of `accumulate_steps`.
    learning_rate: scalar.
    key: of the run's dropout, into which the step's number is folded; None
      drops nothing.
    limits_2: of the loss and of the norm of the gradient, float32. Where one is
      above its own or not finite, nothing changes but the step's number. None
      takes every step.
    model: gives the logits.
    optimizer: of the learning rate, whose updates are added to parameters.
    config: of micro-batches, whose gradients are summed one by one, and of the
      loss.

  Returns:
    The next state, and `loss` (nats a token), `grad_norm` (before clipping) and
    with limits `skipped` (0 or 1) as float32 scalars.
  """

  def sums_and_grads(number: jax.Array | int, micro: Batch) -> Any:
    own = None if key is None else jax.random.fold_in(key, number)
    (_, sums), grads = jax.value_and_grad(training_sums, has_aux=True)(
      state.params, micro, model, own, config
    )
    return *sums, grads

  accumulate_steps = config.accumulate_steps
  first = state.step * accumulate_steps
  if accumulate_steps == 1:
    nats, weight, grads = sums_and_grads(first, batch)
  else:
    # Strided, so that every device keeps a part of every micro-batch.
    micros = jax.tree.map(
      lambda x: x.reshape(-1, accumulate_steps, *x.shape[1:]).swapaxes(0, 1),
      batch,
    )

    def add(total: Any, numbered: tuple[jax.Array, Batch]) -> tuple[Any, None]:
      one = sums_and_grads(*numbered)
      return jax.tree.map(jnp.add, total, one), None

    zero = jnp.float32(0)
    start = zero, zero, jax.tree.map(jnp.zeros_like, state.params)
    numbers = first + jnp.arange(accumulate_steps)
    (nats, weight, grads), _ = jax.lax.scan(add, start, (numbers, micros))

  grads = jax.tree.map(lambda g: g / weight, grads)
  updates, optimizer_state = optimizer(learning_rate).update(
    grads, state.optimizer_state, state.params
  )
  params = optax.apply_updates(state.params, updates)
  new = TrainState(state.step + 1, params, optimizer_state)
  metrics = {'loss': nats / weight, 'grad_norm': optax.tree.norm(grads)}
  if limits_2 is None:
    return new, metrics
  found_2 = jnp.stack([metrics['loss'], metrics['grad_norm']])
  taken = jnp.all(jnp.isfinite(found_2) & (found_2 <= limits_2))
  stayed = state.replace(step=new.step)
  new = jax.tree.map(lambda a, b: jnp.where(taken, a, b), new, stayed)
  return new, metrics | {'skipped': 1 - taken.astype(jnp.float32)}


def eval_step(
  params: Any,
  batch: Batch,
  token_bytes_V: jax.Array,
  *,
  model: Transformer,
  config: StepConfig = _PLAIN,
) -> dict[str, jax.Array]:
  """Sums over a batch, to be added up: `nats`, `weight`, `bytes` of text.

  Args:
    params: of `model`.
    batch: as `losses.loss_sums`.
    token_bytes_V: float32, bytes of text that each token stands for.
    model: gives the logits.
    config: its `loss_chunks`.
  """
  nats, weight = loss_sums(params, batch, model, config.loss_chunks)
  num_bytes = jnp.sum(token_bytes_V[batch['targets']] * batch['weights'])
  return {'nats': nats, 'weight': weight, 'bytes': num_bytes}
