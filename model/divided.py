"""Functions that each device of a mesh runs on its own part of arrays.

The mesh and the table from logical to mesh axes are those in context
(`jax.set_mesh`, `nn.logical_axis_rules`); without either, nothing is divided.
"""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jax.sharding import PartitionSpec


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
  part = nn.logical_to_mesh(PartitionSpec(logical))[0]
  axes = (part,) if isinstance(part, str) else part or ()
  manual = jax.sharding.get_abstract_mesh().manual_axes
  return tuple(axis for axis in axes if axis in manual)
