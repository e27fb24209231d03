"""The pure steps, laid out over a mesh and compiled."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from data.batch import BatchShape
from model.config import ModelConfig
from model.transformer import make
from train import compiled
from train import step as steps
from train.config import StepConfig
from train.losses import check_inputs
from train.mesh.placement import DEFAULT, Placement
from train.mesh.sharding import (
  batch_sharding,
  check_batch,
  logical_rules,
  state_shardings,
  unbox,
)
from train.optimizer import make_optimizer, rates_of
from train.optimizer_config import OptimizerConfig
from train.step import TrainState


@dataclasses.dataclass(frozen=True)
class Program:
  """Compiled functions of one model, batch shape and mesh.

  Attributes:
    mesh: over which everything below is laid out.
    abstract_state: shapes and shardings of the state.
    init: a seed's key to the state at step 0.
    train_step: (state, batch, learning rate, key of dropout or None) to (state,
      metrics); takes over the state's memory. Where spikes are skipped it takes
      the limits of `step.train_step` as well.
    eval_step: (params, batch, token bytes) to sums.
    averaged: a state to the parameters to evaluate; `state.params` itself where
      the optimizer does not average.
  """

  mesh: Mesh
  abstract_state: TrainState
  init: Callable[[jax.Array], TrainState]
  train_step: Callable[..., tuple[TrainState, dict[str, jax.Array]]]
  eval_step: Callable[..., dict[str, jax.Array]]
  averaged: Callable[[TrainState], Any] = steps.averaged


@dataclasses.dataclass(frozen=True)
class Lowered:
  """The functions of a `Program`, before they are compiled.

  Nothing of it needs the devices of the mesh to be there.
  """

  mesh: Mesh
  abstract_state: TrainState
  init: Callable[[jax.Array], TrainState]
  train_step: jax.stages.Lowered
  eval_step: jax.stages.Lowered


def build(
  model_config: ModelConfig,
  optimizer_config: OptimizerConfig,
  step_config: StepConfig,
  shape: BatchShape,
  mesh: Mesh,
  placement: Placement = DEFAULT,
  compiled_step: str = '',
) -> Program:
  """Compiles a program; the same arguments give the same one again.

  The learning rate is no part of it: it is handed to each step.

  Args:
    model_config: of any of the three shapes of a transformer.
    optimizer_config: its learning rate is not used.
    step_config: of a step.
    shape: of the global batch.
    mesh: of devices, which may be absent.
    placement: of arrays over the mesh.
    compiled_step: file of `train.compiled` to read the training step from.

  Raises:
    UserError: the model gives no logits of such a batch's targets, an array
      does not divide over the mesh, or the file has no such step.
  """
  any_rate = dataclasses.replace(optimizer_config, learning_rate=1.0)
  return _build(
    model_config, any_rate, step_config, shape, mesh, placement, compiled_step
  )


@functools.lru_cache(maxsize=16)
def _build(
  model_config: ModelConfig,
  optimizer_config: OptimizerConfig,
  step_config: StepConfig,
  shape: BatchShape,
  mesh: Mesh,
  placement: Placement,
  compiled_step: str,
) -> Program:
  parts = (
    model_config,
    optimizer_config,
    step_config,
    shape,
    mesh,
    placement,
  )
  lowered = lower(*parts)
  train_step: Callable[..., Any]
  if compiled_step:
    about = compiled.description(*parts)
    train_step = compiled.load(compiled_step, lowered.train_step, about, mesh)
  else:
    train_step = lowered.train_step.compile()
  return Program(
    mesh,
    lowered.abstract_state,
    lowered.init,
    train_step,
    lowered.eval_step.compile(),
    _averaged(optimizer_config, lowered.abstract_state),
  )


def _averaged(
  config: OptimizerConfig, state: TrainState
) -> Callable[[TrainState], Any]:
  """Compiled where it computes; a moving average is just there."""
  if config.kind != 'schedule_free':
    return steps.averaged
  layout = jax.tree.map(lambda leaf: leaf.sharding, state.params)
  return jax.jit(steps.averaged, out_shardings=layout)


def lower(
  model_config: ModelConfig,
  optimizer_config: OptimizerConfig,
  step_config: StepConfig,
  shape: BatchShape,
  mesh: Mesh,
  placement: Placement = DEFAULT,
) -> Lowered:
  """Lays the functions out over a mesh; arguments and errors as `build`."""
  check_inputs(model_config, shape.arrays())
  model = make(model_config)
  rates = rates_of(model_config, optimizer_config)
  optimizer = make_optimizer(optimizer_config, rates)
  check_batch(shape, step_config.accumulate_steps, mesh)
  replicated = NamedSharding(mesh, PartitionSpec())

  def init(key: jax.Array) -> TrainState:
    return unbox(steps.init_state(key, model, optimizer))

  def array(dtype: Any, shape: tuple[int, ...], sharding: Any) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

  # Its shape alone: the devices of a mesh may be absent.
  any_key = jax.eval_shape(jax.random.key, 0)
  with jax.set_mesh(mesh), logical_rules(placement):
    boxed = jax.eval_shape(
      lambda key: steps.init_state(key, model, optimizer), any_key
    )
    state = jax.tree.map(
      lambda leaf, sharding: array(leaf.dtype, leaf.shape, sharding),
      unbox(boxed),
      state_shardings(boxed, mesh, placement),
    )
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    batch = {
      name: array(dtype, size, batch_sharding(mesh))
      for name, (size, dtype) in shape.arrays().items()
    }
    # Without dropout the program has no such argument.
    key = array(any_key.dtype, (), replicated) if model_config.dropout else None
    limits = [array(jnp.float32, (2,), replicated)]
    train_step = jax.jit(
      functools.partial(
        steps.train_step,
        model=model,
        optimizer=optimizer,
        config=step_config,
      ),
      out_shardings=(shardings, replicated),
      donate_argnames='state',
    ).lower(
      state,
      batch,
      array(jnp.float32, (), replicated),
      key,
      *(limits if step_config.skip_spikes else ()),
    )
    eval_step = jax.jit(
      functools.partial(steps.eval_step, model=model, config=step_config),
      out_shardings=replicated,
    ).lower(
      state.params,
      batch,
      array(jnp.float32, (model_config.vocab_size,), replicated),
    )
  return Lowered(
    mesh, state, jax.jit(init, out_shardings=shardings), train_step, eval_step
  )
