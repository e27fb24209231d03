"""A training step of a config, laid out for devices that may be absent."""

import dataclasses
import functools
import math
import types
from collections.abc import Sequence
from typing import Any, cast

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from configs.tree import to_dataclass
from data.batch import BatchShape
from data.recipe import special_tokens
from data.tokenizer import Tokenizer
from model.config import ModelConfig
from model.embedding import STREAM
from model.transformer import make
from train import compiled, program
from train import step as steps
from train.config import RunConfig
from train.mesh import sharding
from train.optimizer import make_optimizer, rates_of
from train.optimizer_config import OptimizerConfig
from train.program import Lowered
from train.recipes import check_objective, recipe_of
from train.step import TrainState
from train.workdir import as_json


@dataclasses.dataclass(frozen=True)
class Job:
  """What is to be compiled.

  Attributes:
    config: the checked config.
    shape: of the global batch.
    mesh: of the devices.
    tree: the config as JSON has it.
  """

  config: RunConfig
  shape: BatchShape
  mesh: Mesh
  tree: dict[str, Any]

  def lower(self) -> Lowered:
    """The functions of a run, before they are compiled.

    Raises:
      UserError: an array does not divide over the mesh.
    """
    return program.lower(*self._arguments)

  def description(self) -> dict[str, Any]:
    """All that the compiled step depends on."""
    return compiled.description(*self._arguments)

  @property
  def _arguments(self) -> tuple[Any, ...]:
    c = self.config
    return (
      c.model,
      c.optimizer,
      c.train.step,
      self.shape,
      self.mesh,
      c.mesh.placement,
    )

  def abstract_state(self) -> TrainState:
    """Shapes and shardings of the state; much sooner there than by `lower`.

    Raises:
      UserError: an array does not divide over the mesh.
    """
    c = self.config
    boxed = abstract_state(c.model, c.optimizer)
    layout = sharding.state_shardings(boxed, self.mesh, c.mesh.placement)
    return jax.tree.map(
      lambda leaf, where: jax.ShapeDtypeStruct(
        leaf.shape, leaf.dtype, sharding=where
      ),
      sharding.unbox(boxed),
      layout,
    )

  def batch_bytes(self) -> int:
    """What one device holds of a batch."""
    total = 0
    for size, dtype in self.shape.arrays().values():
      part = sharding.batch_sharding(self.mesh, size[1]).shard_shape(size)
      total += math.prod(part) * np.dtype(dtype).itemsize
    return total

  def least_bytes(self) -> int:
    """Fewer bytes than a step holds on each device, in arithmetic alone.

    The state, the batch, a gradient of each parameter, and what every policy of
    rematerialization keeps: what goes into each layer. A loop over layers or
    micro-batches holds all gradients from the beginning, straight code only as
    many as are done.
    """
    c = self.config
    state = self.abstract_state()
    gradients = device_bytes(state.params)
    kept = self._kept_bytes()
    loops = c.model.scan_layers or c.train.accumulate_steps > 1
    held = gradients + kept if loops else max(gradients, kept)
    return device_bytes(state) + self.batch_bytes() + held

  def _kept_bytes(self) -> int:
    """Of what goes into the layers, in the compute dtype."""
    model, shape = self.config.model, self.shape
    if model.remat == 'offload':
      return 0
    rows = shape.batch_size // self.config.train.accumulate_steps
    table = self.config.mesh.placement.rules.activations
    spec = sharding.spec_of(STREAM, table)
    lengths = [shape.length] + [shape.source_length] * bool(shape.source_length)
    size = np.dtype(jax.numpy.dtype(model.compute_dtype)).itemsize
    ways = {
      name: self.mesh.shape[name] for axis in spec for name in _names(axis)
    }
    # What does not divide is whole or padded: it is no less than this.
    return size * sum(
      model.num_layers * rows * n * model.width // math.prod(ways.values())
      for n in lengths
    )


def _names(axis: Any) -> tuple[str, ...]:
  """Of the mesh's axes along which a dimension is divided."""
  if axis is None:
    return ()
  return (axis,) if isinstance(axis, str) else tuple(axis)


def device_bytes(tree: Any) -> int:
  """What one device holds of a tree of abstract arrays with shardings."""
  return sum(
    leaf.dtype.itemsize * math.prod(leaf.sharding.shard_shape(leaf.shape))
    for leaf in jax.tree.leaves(tree)
  )


def make_job(config: ConfigDict, devices: Sequence[jax.Device]) -> Job:
  """Checks a config, and lays its mesh over devices. No text is read.

  Args:
    config: as `configs.pretrain.get_config` makes it.
    devices: which may be absent.

  Raises:
    UserError: the config cannot work on so many devices.
  """
  run_config = to_dataclass(RunConfig, config)
  check_objective(run_config)
  shape = batch_shape(run_config)
  mesh = sharding.make_mesh(run_config.mesh, devices)
  sharding.check_batch(shape, run_config.train.accumulate_steps, mesh)
  return Job(run_config, shape, mesh, as_json(config.to_dict()))


def batch_shape(config: RunConfig) -> BatchShape:
  """The shape of a run's batches, without its tokenizer.

  Sizes of an objective depend on special tokens alone, which any tokenizer that
  can be trained with it has.
  """
  names = special_tokens(config.data)
  size = len(names) + 2
  stand_in = types.SimpleNamespace(
    vocab_size=size,
    separator_id=len(names),
    special_tokens={name: number for number, name in enumerate(names)},
    special_ids=np.arange(len(names) + 1, dtype=np.int32),
    starts_word=np.ones(size, bool),
  )
  return recipe_of(config, cast(Tokenizer, stand_in)).shape


@functools.lru_cache(maxsize=16)  # a search asks again and again
def abstract_state(
  model_config: ModelConfig, optimizer_config: OptimizerConfig
) -> Any:
  """Shapes of the state, parameters boxed with their logical axes."""
  model = make(model_config)
  rates = rates_of(model_config, optimizer_config)
  optimizer = make_optimizer(optimizer_config, rates)
  return jax.eval_shape(
    lambda key: steps.init_state(key, model, optimizer),
    jax.eval_shape(jax.random.key, 0),
  )
