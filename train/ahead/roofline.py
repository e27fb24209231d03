"""How fast a compiled step can be on chips that are not there.

A roofline (Williams et al. 2009): each resource of a chip needs so many seconds
for what a step asks of it, and the slowest of them is a bound that no schedule
beats. `train.ahead.modelled` says what the compiler itself expects.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from train.ahead.hlo import Computation, Instruction, Module, Shape
from train.ahead.hlo_costs import Collective
from train.ahead.topology import Topology

# Products of L x S x Dh in a kernel of attention, by its name: scores and their
# mix; scores, gradients of them and of queries; the same of keys and values.
_PRODUCTS = {'fwd': 2, 'dq': 3, 'dkv': 4}
_KERNEL = re.compile(r'splash_m[hq]a_(fwd|dq|dkv)')
# They move nothing, or what they move is another's: a loop's is its body's.
_FREE = (
  *('parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast'),
  *('while', 'conditional', 'call', 'optimization-barrier', 'partition-id'),
)
_SLICES = ('dynamic-slice', 'gather')


class Place(NamedTuple):
  """Where a device is.

  Attributes:
    slice: number of its slice.
    coords: of its chip within the slice.
  """

  slice: int
  coords: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Roofline:
  """Seconds of a step by resource.

  Attributes:
    compute: of matrix units, at their peak.
    hbm: of the memory.
    ici: of links between chips.
    dcn: of the network between slices.
  """

  compute: float
  hbm: float
  ici: float
  dcn: float

  @property
  def seconds(self) -> float:
    """The slowest resource, all others hidden behind it."""
    return max(self.as_dict().values())

  def as_dict(self) -> dict[str, float]:
    """Seconds by resource."""
    return dataclasses.asdict(self)


def places(devices: Iterable[Any]) -> list[Place]:
  """Of the devices of a mesh, in the order of their numbers in a program."""
  return [
    Place(getattr(device, 'slice_index', None) or 0, tuple(device.coords))
    for device in devices
  ]


def exchange_seconds(
  collective: Collective, where: Sequence[Place], topology: Topology
) -> tuple[float, float]:
  """Seconds of the links and of the network in one run of an exchange.

  Within a slice, data go around along every axis of the torus in which the
  group extends, at once and both ways: two links of a chip an axis where it
  closes to a ring, one where it does not. Between slices each chip sends its
  part over the network.

  Args:
    collective: what is exchanged.
    where: the devices of the mesh.
    topology: of which they are.
  """
  tpu = topology.tpu
  if collective.between_slices:
    sent = _sent(collective, topology.num_slices)
    return 0.0, sent / tpu.network_bytes_per_second
  group = [where[device] for device in collective.group] or list(where)
  slices = len({place.slice for place in group})
  inside = len(group) // slices
  within = _sent(collective, inside)
  links = sum(
    2 if ring else 1
    for side, ring in enumerate(topology.rings)
    if len({place.coords[side] for place in group}) > 1
  )
  ici = within / (links * tpu.link_bytes_per_second) if links else 0.0
  if slices == 1:
    return ici, 0.0
  between = dataclasses.replace(
    collective, bytes=math.ceil(collective.bytes / inside)
  )
  return ici, _sent(between, slices) / tpu.network_bytes_per_second


def _sent(collective: Collective, ways: int) -> float:
  group = tuple(range(ways))
  if ways == 1 and collective.kind != 'collective-permute':
    return 0.0
  return dataclasses.replace(collective, group=group).sent_bytes(ways)


def kernel_flops(instruction: Instruction, computation: Computation) -> int:
  """FLOPs of a kernel of attention over all scores; 0 of anything else."""
  found = _KERNEL.search(instruction.op_name or instruction.name)
  if instruction.opcode != 'custom-call' or not found:
    return 0
  # Before queries, keys and values come integers that tell of the mask.
  queries, keys = [
    shape
    for name in instruction.operands
    for shape in computation.instructions[name].shapes
    if shape.dtype in ('bf16', 'f32')
  ][:2]
  *rows, length, width = queries.dims  # of the batch and of the heads
  return (
    2 * _PRODUCTS[found[1]] * math.prod(rows) * length * keys.dims[-2] * width
  )


def moved_bytes(
  module: Module, computation: Computation, instruction: Instruction
) -> int:
  """Bytes of the memory that an instruction reads and writes in one run.

  Of an array of which a slice is read or written, the slice.
  """
  opcode = instruction.opcode
  if opcode in _FREE or opcode.endswith('-done'):
    return 0
  reads = [
    sum(shape.hbm_bytes for shape in computation.instructions[name].shapes)
    for name in instruction.operands
  ]
  writes = sum(shape.hbm_bytes for shape in instruction.shapes)
  if opcode in _SLICES:
    return 2 * writes
  if opcode == 'dynamic-update-slice':
    return 2 * reads[1]
  if opcode == 'fusion':
    inner = module.computations[instruction.called[0]]
    reads = [
      _read(module, inner, index, whole) for index, whole in enumerate(reads)
    ]
    writes = min(writes, _written(inner, instruction.shapes))
  return sum(reads) + writes


def _read(module: Module, inner: Computation, index: int, whole: int) -> int:
  """Bytes that a fusion reads of an operand: all, or the slices it takes."""
  parameter = next(
    found.name
    for found in inner.instructions.values()
    if found.opcode == 'parameter' and int(found.literal) == index
  )
  return _read_of(module, inner, parameter, whole)


def _read_of(module: Module, inner: Computation, name: str, whole: int) -> int:
  total = 0
  for user in inner.instructions.values():
    if name not in user.operands or total >= whole:
      continue
    at = user.operands.index(name)
    if user.opcode in _SLICES and at == 0:
      total += sum(shape.bytes for shape in user.shapes)
    elif user.opcode == 'bitcast':
      total += _read_of(module, inner, user.name, whole)
    elif user.opcode == 'fusion':
      called = module.computations[user.called[0]]
      total += _read(module, called, at, whole)
    elif user.opcode != 'dynamic-update-slice' or at > 0:
      return whole
  return min(total, whole)


def _written(inner: Computation, shapes: tuple[Shape, ...]) -> int:
  """Bytes that a fusion writes: all, or the slice that it updates."""
  root = inner.root
  while root.opcode in ('bitcast', 'copy') and root.operands:
    root = inner.operand(root, 0)
  if root.opcode == 'dynamic-update-slice':
    return sum(shape.bytes for shape in inner.operand(root, 1).shapes)
  return sum(shape.hbm_bytes for shape in shapes)
