"""Functions that each device of a mesh runs on its own part of arrays.

The mesh and the table from logical to mesh axes are those in context
(`jax.set_mesh`, `nn.logical_axis_rules`); without either, nothing is divided.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jax.sharding import PartitionSpec

# The residual stream [B, L, D] between layers; and as a layer reads it, where a
# device with a part of the heads or of the width has it for all places.
STREAM = ('batch', 'stream_length', 'stream')
LAYER_INPUT = ('batch', 'length', 'stream')


def per_device(f: Callable[..., Any], inputs: Any, outputs: Any) -> Any:
  """`f`, which sees of its arguments what lies on its device, and no more.

  Args:
    f: of positional arrays; `mesh_axes` tells it along what to communicate.
    inputs: for each argument a `PartitionSpec` of logical axes.
    outputs: the same for what it returns, which must be equal along the mesh
      axes that are not named there.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1 or not nn.get_logical_axis_rules():
    return f
  return jax.shard_map(
    f,
    in_specs=nn.logical_to_mesh(inputs),
    out_specs=nn.logical_to_mesh(outputs),
  )


def mesh_axes(logical: str) -> tuple[str, ...]:
  """Mesh axes that a logical axis is divided along, within `per_device`.

  Outside of it, and without a mesh, there are none; collectives over none
  change nothing.
  """
  manual = jax.sharding.get_abstract_mesh().manual_axes
  return tuple(axis for axis in _axes(logical) if axis in manual)


def ways(logical: str | None) -> int:
  """How many parts the mesh divides a logical axis into; 1 without a mesh."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or logical is None:
    return 1
  return math.prod(mesh.shape[axis] for axis in _axes(logical))


def constrained(x: jax.Array, axes: tuple[str | None, ...]) -> jax.Array:
  """`x`, divided over the mesh along these logical axes.

  A dimension that does not divide, as that of one token which is written, is
  whole on each device rather than padded.
  """
  sizes = zip(x.shape, axes, strict=True)
  even = tuple(axis if size % ways(axis) == 0 else None for size, axis in sizes)
  return nn.with_logical_constraint(x, even)


def crossing(x: jax.Array, axes: tuple[str | None, ...]) -> jax.Array:
  """`x` as `constrained`, on its way between the stream and a layer.

  Only where the stream is divided by more axes than what is in a layer: there
  the compiler would look for a way of its own, and find worse ones.
  """
  if ways('stream_length') == ways('length'):
    return x
  return constrained(x, axes)


def _axes(logical: str) -> tuple[str, ...]:
  part = nn.logical_to_mesh(PartitionSpec(logical))[0]
  return (part,) if isinstance(part, str) else tuple(part or ())
