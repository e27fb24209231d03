"""Arrays divided over a mesh."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from configs.errors import UserError
from data.batch import BatchShape
from train.mesh.config import MeshConfig
from train.mesh.placement import DEFAULT, Override, Placement
from train.mesh.rules import BATCH, MESH_AXES, Axes, Table
from train.mesh.slices import arranged

_Path = tuple[str, ...]


def make_mesh(
  config: MeshConfig, devices: Sequence[jax.Device] | None = None
) -> Mesh:
  """A mesh of `MESH_AXES` over `devices`, by default all.

  Raises:
    UserError: the axes do not multiply to the number of devices, or the slices
      are not those of the devices.
  """
  devices = jax.devices() if devices is None else devices
  # Linen needs Auto axes.
  auto = (AxisType.Auto,) * len(MESH_AXES)
  return Mesh(arranged(config, devices), MESH_AXES, axis_types=auto)


def spec_of(axes: tuple[str | None, ...], table: Table) -> PartitionSpec:
  """The mesh axes of an array with these logical axes.

  Args:
    axes: of each dimension; None is not divided.
    table: of `train.mesh.rules`.

  Raises:
    ValueError: a logical axis without a rule, or two dimensions of one array
      along the same mesh axis.
  """
  parts = []
  for axis in axes:
    if axis is not None and axis not in table:
      raise ValueError(f'no rule for the logical axis {axis!r}')
    parts.append(table[axis] if axis is not None else None)
  used = [a for part in parts for a in as_tuple(part)]
  if len(used) != len(set(used)):
    raise ValueError(f'{axes} lays two dimensions along one mesh axis: {parts}')
  return PartitionSpec(*parts)


def tree_shardings(
  params: Any, mesh: Mesh, placement: Placement = DEFAULT
) -> Any:
  """Shardings of a tree of boxed (logically partitioned) parameters.

  Leaves without logical axes are replicated. The result has no boxes.

  Raises:
    UserError: a dimension does not divide by its mesh axes, or an override is
      of no parameter or does not fit it.
  """
  laid_out = _laid_out(params, mesh, placement)
  return jax.tree_util.tree_map_with_path(
    lambda path, _: laid_out[_names(path)].parameter, params, is_leaf=_is_box
  )


def state_shardings(
  state: Any, mesh: Mesh, placement: Placement = DEFAULT
) -> Any:
  """Shardings of all that a step changes, as `tree_shardings`.

  What an optimizer keeps of a parameter is known by its path, which ends in the
  parameter's, and by its shape, and follows the `optimizer` table. All else is
  replicated: it is small (counts, and the rows and columns of Adafactor).

  Args:
    state: a `TrainState` of boxed abstract arrays.
    mesh: of devices, which may be absent.
    placement: of parameters.
  """
  laid_out = _laid_out(state.params, mesh, placement)
  replicated = NamedSharding(mesh, PartitionSpec())

  def one(path: Any, leaf: Any) -> NamedSharding:
    names, shape = _names(path), unbox(leaf).shape
    if names[0] == 'params':
      return laid_out[names[1:]].parameter
    tails = (names[start:] for start in range(len(names)))
    owner = next((laid_out[tail] for tail in tails if tail in laid_out), None)
    if owner is None or owner.shape != shape:
      return replicated
    return owner.moment

  return jax.tree_util.tree_map_with_path(one, state, is_leaf=_is_box)


def unbox(tree: Any) -> Any:
  """The arrays of a tree without the boxes that name their axes.

  Unlike `nn.unbox` it adds no sharding constraints, and so takes abstract
  arrays too.
  """
  return jax.tree.map(
    lambda leaf: leaf.value if _is_box(leaf) else leaf, tree, is_leaf=_is_box
  )


def check_batch(shape: BatchShape, micro_batches: int, mesh: Mesh) -> None:
  """Raises UserError where a batch of training does not divide over a mesh.

  Args:
    shape: of the global batch.
    micro_batches: of a step, each of which is divided.
    mesh: of devices.
  """
  rows = shape.batch_size // micro_batches
  what = 'data.batch_size / train.accumulate_steps'
  _check_divisible((rows,), ('batch',), spec_of(('batch',), BATCH), mesh, what)
  lengths = {'data.sequence_length': shape.length}
  if shape.source_length:
    lengths = {
      'data.sequence_length': shape.source_length,
      'data.target_length': shape.length,
    }
  for key, length in lengths.items():
    spec = spec_of(('length',), BATCH)
    _check_divisible((length,), ('length',), spec, mesh, key)


def batch_sharding(mesh: Mesh, length: int | None = None) -> NamedSharding:
  """The sharding of [batch, length] arrays.

  Args:
    mesh: of devices.
    length: if it is given and does not divide, it is whole on each device.
  """
  along = 'length'
  (part,) = spec_of((along,), BATCH)
  divides = length is None or length % _ways(part, mesh) == 0
  axes = ('batch', along if divides else None)
  return NamedSharding(mesh, spec_of(axes, BATCH))


def batch_ways(mesh: Mesh) -> int:
  """How many parts a batch is divided into."""
  (part,) = spec_of(('batch',), BATCH)
  return _ways(part, mesh)


def local_rows(mesh: Mesh, batch_size: int) -> slice:
  """The rows of a global batch that this process's devices hold.

  Raises:
    UserError: the batch does not divide over the mesh.
  """
  spec = spec_of(('batch',), BATCH)
  _check_divisible((batch_size,), ('batch',), spec, mesh, 'data.batch_size')
  indices = NamedSharding(mesh, spec).addressable_devices_indices_map(
    (batch_size,)
  )
  bounds = [index[0].indices(batch_size) for index in indices.values() if index]
  return slice(min(b[0] for b in bounds), max(b[1] for b in bounds))


def put_batch(
  local: Mapping[str, np.ndarray], mesh: Mesh, batch_size: int
) -> dict[str, jax.Array]:
  """Global arrays [batch, length] from the rows of `local_rows` held by each
  process."""
  first = local_rows(mesh, batch_size).start

  def one(rows: np.ndarray) -> jax.Array:
    def piece(index: tuple[slice, ...] | None) -> np.ndarray:
      assert index is not None
      start, stop, _ = index[0].indices(batch_size)
      return rows[slice(start - first, stop - first), *index[1:]]

    shape = (batch_size, *rows.shape[1:])
    sharding = batch_sharding(mesh, rows.shape[1])
    return jax.make_array_from_callback(shape, sharding, piece)

  return {key: one(rows) for key, rows in local.items()}


def logical_rules(
  placement: Placement = DEFAULT,
) -> AbstractContextManager[None]:
  """The table as the context in which Linen resolves activation axes."""
  return nn.logical_axis_rules(tuple(placement.rules.activations.items()))


def on_mesh(
  compiled: Callable[..., Any], mesh: Mesh, placement: Placement = DEFAULT
) -> Callable[..., Any]:
  """`compiled`, called where a mesh and the table of its axes are in place."""

  def call(*args: Any) -> Any:
    with jax.set_mesh(mesh), logical_rules(placement):
      return compiled(*args)

  return call


def as_tuple(part: Axes) -> tuple[str, ...]:
  """The mesh axes of one dimension."""
  if part is None:
    return ()
  return (part,) if isinstance(part, str) else tuple(part)


class _Layout(NamedTuple):
  """Where a parameter lies, and what an optimizer keeps of it."""

  shape: tuple[int, ...]
  parameter: NamedSharding
  moment: NamedSharding


def _laid_out(
  params: Any, mesh: Mesh, placement: Placement
) -> dict[_Path, _Layout]:
  """By the path of each parameter."""
  leaves = {
    _names(path): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(
      params, is_leaf=_is_box
    )
  }
  _check_used(placement.overrides, leaves)

  def one(path: _Path, leaf: Any) -> _Layout:
    name, shape = '.'.join(path), unbox(leaf).shape
    axes = leaf.names if _is_box(leaf) else (None,) * len(shape)
    override = _of(name, placement.overrides)

    def sharding(table: Table) -> NamedSharding:
      spec = spec_of(axes, table)
      if override is not None:
        spec = _overridden(override, name, shape)
      _check_divisible(shape, axes, spec, mesh, name)
      return NamedSharding(mesh, spec)

    rules = placement.rules
    return _Layout(shape, sharding(rules.parameters), sharding(rules.optimizer))

  return {path: one(path, leaf) for path, leaf in leaves.items()}


def _of(name: str, overrides: Iterable[Override]) -> Override | None:
  return next((one for one in overrides if one.matches(name)), None)


def _overridden(
  override: Override, name: str, shape: tuple[int, ...]
) -> PartitionSpec:
  if len(override.axes) != len(shape):
    raise UserError(
      f'{override.key}: {len(override.axes)} entries, and {name} has '
      f'{len(shape)} dimensions, {shape}'
    )
  return PartitionSpec(*(axes or None for axes in override.axes))


def _check_used(overrides: Iterable[Override], params: Iterable[_Path]) -> None:
  names = ['.'.join(path) for path in params]
  for override in overrides:
    if not any(override.matches(name) for name in names):
      raise UserError(
        f'{override.key}: matches no parameter; there are {", ".join(names)}'
      )


def _check_divisible(
  shape: tuple[int, ...],
  axes: tuple[str | None, ...],
  spec: PartitionSpec,
  mesh: Mesh,
  what: str,
) -> None:
  """Raises UserError where a dimension does not divide by its mesh axes."""
  for size, axis, part in zip(shape, axes, spec, strict=True):
    ways = _ways(part, mesh)
    if size % ways:
      raise UserError(
        f'{what}: its {axis} axis of {size} does not divide over '
        f'mesh {" x ".join(as_tuple(part))} = {ways}; change the size or the '
        'mesh'
      )


def _ways(part: Axes, mesh: Mesh) -> int:
  return math.prod(mesh.shape[axis] for axis in as_tuple(part))


def _is_box(leaf: Any) -> bool:
  return isinstance(leaf, nn.LogicallyPartitioned)


def _names(path: Any) -> _Path:
  return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)
