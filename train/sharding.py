"""Which mesh axis each logical axis of an array lies along."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from configs.errors import UserError
from train.mesh_config import MeshConfig

MESH_AXES = ('data', 'fsdp', 'tensor', 'expert')

# One table for parameters and activations. `None`: not divided.
RULES: Mapping[str, str | tuple[str, ...] | None] = {
  'batch': ('data', 'fsdp', 'expert'),
  'rows': ('data', 'fsdp'),  # of a batch whose experts are divided
  'length': None,
  'stream': None,  # width of activations; `batch` has taken fsdp there
  'embed': 'fsdp',  # width of parameters
  'heads': 'tensor',
  'kv_heads': 'tensor',
  'head_width': None,
  'ffn': 'tensor',
  'experts': 'expert',
  'vocab': 'tensor',
  'norm': None,
  'layers': None,
}


def make_mesh(
  config: MeshConfig, devices: Sequence[jax.Device] | None = None
) -> Mesh:
  """A mesh of (data, fsdp, tensor, expert) over `devices`, by default all.

  Raises:
    UserError: the axes do not multiply to the number of devices.
  """
  devices = jax.devices() if devices is None else devices
  shape = config.shape(len(devices))
  # Linen needs Auto axes; make_mesh would otherwise give Explicit ones.
  return jax.make_mesh(
    shape, MESH_AXES, (AxisType.Auto,) * len(shape), devices=devices
  )


def spec_of(axes: tuple[str | None, ...]) -> PartitionSpec:
  """The mesh axes of an array with these logical axes.

  Raises:
    ValueError: a logical axis without a rule, or two dimensions of one array
      along the same mesh axis.
  """
  parts = []
  for axis in axes:
    if axis is not None and axis not in RULES:
      raise ValueError(f'no rule for the logical axis {axis!r}')
    parts.append(RULES[axis] if axis is not None else None)
  used = [a for part in parts for a in _as_tuple(part)]
  if len(used) != len(set(used)):
    raise ValueError(f'{axes} lays two dimensions along one mesh axis: {parts}')
  return PartitionSpec(*parts)


def check_divisible(
  shape: tuple[int, ...], axes: tuple[str | None, ...], mesh: Mesh, what: str
) -> None:
  """Raises UserError where a dimension does not divide by its mesh axes."""
  for size, axis, part in zip(shape, axes, spec_of(axes), strict=True):
    ways = math.prod(mesh.shape[a] for a in _as_tuple(part))
    if size % ways:
      raise UserError(
        f'{what}: its {axis} axis of {size} does not divide over '
        f'mesh {" x ".join(_as_tuple(part))} = {ways}; change the size or the '
        'mesh'
      )


def tree_shardings(abstract: Any, mesh: Mesh) -> Any:
  """Shardings of a tree of boxed (logically partitioned) abstract arrays.

  Leaves without logical axes are replicated. The result has no boxes.

  Raises:
    UserError: a dimension does not divide by its mesh axes.
  """

  def one(path: Any, leaf: Any) -> NamedSharding:
    if not isinstance(leaf, nn.LogicallyPartitioned):
      return NamedSharding(mesh, PartitionSpec())
    name = jax.tree_util.keystr(path, simple=True, separator='.')
    check_divisible(leaf.value.shape, leaf.names, mesh, name)
    return NamedSharding(mesh, spec_of(leaf.names))

  return jax.tree_util.tree_map_with_path(
    one, abstract, is_leaf=lambda x: isinstance(x, nn.LogicallyPartitioned)
  )


def unbox(tree: Any) -> Any:
  """The arrays of a tree without the boxes that name their axes.

  Unlike `nn.unbox` it adds no sharding constraints, and so takes abstract
  arrays too.
  """

  def one(leaf: Any) -> Any:
    return leaf.value if isinstance(leaf, nn.LogicallyPartitioned) else leaf

  return jax.tree.map(
    one, tree, is_leaf=lambda x: isinstance(x, nn.LogicallyPartitioned)
  )


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """The sharding of [batch, length] arrays."""
  return NamedSharding(mesh, spec_of(('batch', 'length')))


def batch_ways(mesh: Mesh) -> int:
  """How many parts a batch is divided into."""
  (part,) = spec_of(('batch',))
  return math.prod(mesh.shape[axis] for axis in _as_tuple(part))


def local_rows(mesh: Mesh, batch_size: int) -> slice:
  """The rows of a global batch that this process's devices hold.

  Raises:
    UserError: the batch does not divide over the mesh.
  """
  check_divisible((batch_size,), ('batch',), mesh, 'data.batch_size')
  indices = batch_sharding(mesh).addressable_devices_indices_map(
    (batch_size, 1)
  )
  bounds = [index[0].indices(batch_size) for index in indices.values() if index]
  return slice(min(b[0] for b in bounds), max(b[1] for b in bounds))


def put_batch(
  local: Mapping[str, np.ndarray], mesh: Mesh, batch_size: int
) -> dict[str, jax.Array]:
  """Global arrays from the rows of `local_rows` held by each process."""
  sharding = batch_sharding(mesh)
  first = local_rows(mesh, batch_size).start

  def one(rows: np.ndarray) -> jax.Array:
    def piece(index: tuple[slice, ...] | None) -> np.ndarray:
      assert index is not None
      start, stop, _ = index[0].indices(batch_size)
      return rows[start - first : stop - first]

    shape = (batch_size, *rows.shape[1:])
    return jax.make_array_from_callback(shape, sharding, piece)

  return {key: one(rows) for key, rows in local.items()}


def logical_rules() -> AbstractContextManager[None]:
  """The table as the context in which Linen resolves activation axes."""
  return nn.logical_axis_rules(tuple(RULES.items()))


def on_mesh(compiled: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
  """`compiled`, called where a mesh and the table of its axes are in place."""

  def call(*args: Any) -> Any:
    with jax.set_mesh(mesh), logical_rules():
      return compiled(*args)

  return call


def _as_tuple(part: str | tuple[str, ...] | None) -> tuple[str, ...]:
  if part is None:
    return ()
  return (part,) if isinstance(part, str) else tuple(part)
