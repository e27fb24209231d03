"""How each array of a training state lies on the devices, as a table."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from train.mesh.sharding import as_tuple

_HEADER = ('array', 'shape', 'dtype', 'mesh axes', 'bytes a device')


class _Array(NamedTuple):
  """A line of the table; sizes in bytes, of all of it and on one device."""

  path: str
  shape: str
  dtype: str
  axes: str
  whole: int
  part: int


def layout_table(state: Any) -> str:
  """A line for each array of a state, and what a device holds of all of them.

  Told are the path, the shape, the dtype, the mesh axes that divide each
  dimension (`-` where none does, axes of one dimension joined by `+`; axes of
  size 1 are left out), and the bytes that each device holds.

  Args:
    state: a `TrainState` of arrays, or of abstract ones with shardings.

  Returns:
    Lines, each ended; totals of the parameters, the rest, and both are last.
  """
  leaves = jax.tree_util.tree_leaves_with_path(state)
  arrays = [_array(path, leaf) for path, leaf in leaves]
  rows = [_HEADER] + [
    (a.path, a.shape, a.dtype, a.axes, f'{a.part:,}') for a in arrays
  ]
  params = [array for array in arrays if array.path.startswith('params.')]
  rest = [array for array in arrays if not array.path.startswith('params.')]
  mesh = leaves[0][1].sharding.mesh
  sizes = ', '.join(f'{axis} = {size}' for axis, size in mesh.shape.items())
  return '\n'.join(
    [
      f'{mesh.size} devices: {sizes}',
      '',
      *_aligned(rows),
      '',
      _total('parameters', params),
      _total('optimizer and counts', rest),
      _total('together', arrays),
      '',
    ]
  )


def _array(path: Any, leaf: Any) -> _Array:
  mesh, spec = leaf.sharding.mesh, leaf.sharding.spec
  # A spec may leave out its last dimensions, which are whole.
  parts = [*spec, *(None,) * (len(leaf.shape) - len(spec))]
  axes = [
    '+'.join(axis for axis in as_tuple(part) if mesh.shape[axis] > 1) or '-'
    for part in parts
  ]
  part = leaf.sharding.shard_shape(leaf.shape)
  size = leaf.dtype.itemsize
  return _Array(
    path=jax.tree_util.keystr(path, simple=True, separator='.'),
    shape=' x '.join(map(str, leaf.shape)) or 'scalar',
    dtype=str(leaf.dtype),
    axes=', '.join(axes) or '-',
    whole=size * math.prod(leaf.shape),
    part=size * math.prod(part),
  )


def _total(name: str, arrays: Sequence[_Array]) -> str:
  whole, part = sum(a.whole for a in arrays), sum(a.part for a in arrays)
  return (
    f'{name}: {len(arrays)} arrays of {whole:,} bytes, {part:,} bytes a device'
  )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
  """Columns as wide as their longest entry, the last one to the right."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

  def line(row: Sequence[str]) -> str:
    cells = [cell.ljust(w) for cell, w in zip(row, widths, strict=True)]
    return '  '.join([*cells[:-1], row[-1].rjust(widths[-1])])

  return [line(row) for row in rows]
