"""TPUs that are not there: what the compiler needs to know of them."""

import dataclasses
import math
import os
import re
from collections.abc import Sequence
from typing import Any

from configs.chips import CHIPS, TPUS, Chip, Tpu
from configs.errors import UserError

_EXAMPLES = 'v4:2x2x1, v5e:4x4, v5p:2x2x1, v5p:8x8x8, v6e:16x16'
_ENVIRONMENT = {
  # No server that tells of this machine's TPU is asked: there is none.
  'TPU_SKIP_MDS_QUERY': '1',
  # Several processes may compile at once, as none of them drives a chip.
  'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
  # Arrays and keys of the process itself live on the CPU.
  'JAX_PLATFORMS': 'cpu',
  # Any: without them libtpu complains of a machine that is none of its own.
  'TPU_WORKER_HOSTNAMES': 'localhost',
  'TPU_ACCELERATOR_TYPE': 'v5p-8',
}


@dataclasses.dataclass(frozen=True)
class Topology:
  """Chips of one kind in a grid, perhaps several such slices.

  Attributes:
    name: such as v5p:2x2x1.
    kind: a key of `configs.chips.TPUS`.
    grid: chips along each axis of one slice.
    num_slices: slices, which only the data-center network connects.
  """

  name: str
  kind: str
  grid: tuple[int, ...]
  num_slices: int = 1

  @property
  def tpu(self) -> Tpu:
    """Of each chip: memory, bandwidths, clock."""
    return TPUS[self.kind]

  @property
  def chip(self) -> Chip:
    """Of each chip: its peak."""
    return CHIPS[self.tpu.chip]

  @property
  def num_devices(self) -> int:
    """Chips of all slices."""
    return math.prod(self.grid) * self.num_slices

  @property
  def rings(self) -> tuple[bool, ...]:
    """Whether each side of a slice closes to a ring."""
    return tuple(side % self.tpu.wraps == 0 for side in self.grid)


def parse(name: str, num_slices: int = 1) -> Topology:
  """Reads a name such as v5p:2x2x1.

  Raises:
    UserError: no such TPU, or no such grid of it.
  """
  found = re.fullmatch(r'(\w+):(\d+(?:x\d+)*)', name)
  if not found or found[1] not in TPUS:
    raise UserError(
      f'topology = {name!r}: write KIND:GRID, a kind of {", ".join(TPUS)} and '
      f'chips along each side, such as {_EXAMPLES}'
    )
  kind, grid = found[1], tuple(int(side) for side in found[2].split('x'))
  axes = TPUS[kind].axes
  if len(grid) != axes or min(grid) < 1:
    raise UserError(
      f'topology = {name!r}: a grid of {kind} has {axes} sides of at least 1 '
      f'chip, such as {_EXAMPLES}'
    )
  if any(side > 1 and side % 2 for side in grid[:2]):
    raise UserError(
      f'topology = {name!r}: machines hold two by two chips, so the first two '
      f'sides are 1 or even, such as {_EXAMPLES}'
    )
  most = TPUS[kind].most_chips
  if math.prod(grid) > most:
    raise UserError(
      f'topology = {name!r}: a slice of {kind} has at most {most:,} chips, '
      f'such as {_EXAMPLES}'
    )
  if num_slices < 1:
    raise UserError(f'num_slices = {num_slices}: at least 1')
  return Topology(name, kind, grid, num_slices)


def prepare_environment() -> None:
  """Sets what libtpu and JAX read from the environment when they are loaded.

  What the user has set stays, but for the platform.
  """
  for key, value in _ENVIRONMENT.items():
    os.environ.setdefault(key, value)


def devices(topology: Topology) -> Sequence[Any]:
  """The chips, as devices that only a compiler can use.

  Raises:
    UserError: libtpu is missing, or knows no such grid.
  """
  try:
    import libtpu  # noqa: F401
  except ImportError as error:
    raise UserError(
      'compiling for TPUs needs libtpu==0.0.42.*, of the extra tpu: run '
      '`pip install -e .[tpu]`'
    ) from error
  prepare_environment()
  from jax.experimental import topologies

  options: dict[str, Any] = {
    'num_slices': topology.num_slices,
    'chips_per_host_bounds': _host(topology.grid),
    'wrap': (*topology.rings, *(False,) * (3 - len(topology.grid))),
  }
  if topology.kind == 'v4':
    # Its two cores are one device, as they are on a VM of Google's.
    options['chip_config_name'] = 'megacore'
  try:
    return topologies.get_topology_desc(
      platform='tpu', topology_name=topology.name, **options
    ).devices
  except Exception as error:  # of the plug-in, which has no type of its own
    told = ' '.join(str(error).split())
    raise UserError(
      f'topology = {topology.name!r}: libtpu cannot make it ({told}); try one '
      f'such as {_EXAMPLES}'
    ) from error


def _host(grid: tuple[int, ...]) -> list[int]:
  """Chips of one machine: two by two, fewer where the slice is smaller."""
  sides = [min(2, side) for side in grid[:2]]
  return [*sides, 1]
