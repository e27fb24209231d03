"""What a compiled program computes and sends, from its text."""

import dataclasses
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from train.ahead.hlo import Computation, Instruction, Module, Shape

KINDS = (
  'all-gather',
  'all-reduce',
  'reduce-scatter',
  'all-to-all',
  'collective-permute',
)

# Of a part of an exchange within a fusion, by which all parts know each other.
_SPREAD = 'async_collective_fusion_config'


class Dot(NamedTuple):
  """A matrix product or convolution.

  Attributes:
    instruction: that computes it.
    flops: of one run, two for each multiply-add.
    runs: how often a step runs it.
  """

  instruction: Instruction
  flops: int
  runs: int


@dataclasses.dataclass(frozen=True)
class Collective:
  """One exchange between devices.

  Attributes:
    kind: of `KINDS`.
    computation: name of the one that it is in.
    name: of the instruction that makes it, or starts it.
    bytes: of a device's larger side: what a gather or scatter has whole.
    group: numbers of the devices that exchange, of one group; () = all.
    runs: how often a step runs it.
    within: names of the fusions' computations beside whose products parts of it
      run; () where it is an instruction of its own.
    between_slices: whether it goes over the network alone, and hosts compute.
  """

  kind: str
  computation: str
  name: str
  bytes: int
  group: tuple[int, ...]
  runs: int
  within: tuple[str, ...] = ()
  between_slices: bool = False

  def sent_bytes(self, num_devices: int) -> float:
    """Bytes that each device sends in one run, by a ring.

    (n - 1) / n of the whole for a gather, a scatter or an exchange of all with
    all, twice that for a reduction that all get (Patarasu and Yuan 2009, eq.
    5), and all of a permutation.
    """
    if self.kind == 'collective-permute':
      return float(self.bytes)
    ways = len(self.group) or num_devices
    share = (ways - 1) / ways
    return self.bytes * share * (2 if self.kind == 'all-reduce' else 1)


def dots(module: Module) -> list[Dot]:
  """Every product of a program; those within kernels are not seen."""
  found = []
  for computation, instruction, runs in module.executed():
    if instruction.opcode == 'dot':
      found.append(Dot(instruction, _dot(computation, instruction), runs))
    if instruction.opcode == 'convolution':
      flops = _convolution(computation, instruction)
      found.append(Dot(instruction, flops, runs))
  return found


def collectives(module: Module) -> list[Collective]:
  """Every exchange of a program.

  One that is started and waited for counts once, and so does one that the
  compiler of TPUs spreads over several fusions, to run beside their products. A
  reduction of which a device takes only its own part, as that compiler writes
  it, is a reduce-scatter. Between slices a host sends and receives
  (`rendezvous` of both is the same): an exchange of that part of arrays.
  """
  found: list[Collective] = []
  spread: dict[str, int] = {}
  for computation, instruction, runs in module.executed():
    kind = _kind(instruction)
    if not kind:
      continue
    if instruction.opcode == 'send':
      name, size = instruction.name, instruction.shapes[0].bytes
      found.append(
        Collective(
          kind, computation.name, name, size, (), runs, between_slices=True
        )
      )
      continue
    within: tuple[str, ...] = ()
    if _SPREAD in instruction.text:
      within = (computation.name,)
      channel = instruction.attribute('channel_id')
      if channel in spread:
        first = found[spread[channel]]
        found[spread[channel]] = dataclasses.replace(
          first, within=first.within + within
        )
        continue
      spread[channel] = len(found)
    scatters = computation.name.startswith('all-reduce-scatter')
    found.append(
      Collective(
        'reduce-scatter' if kind == 'all-reduce' and scatters else kind,
        computation.name,
        instruction.name,
        _larger_side(computation, instruction),
        first_group(instruction),
        runs,
        within,
      )
    )
  return found


def totals(found: list[Collective]) -> dict[str, dict[str, int]]:
  """{kind: {count, bytes}} of a step, kinds that are not there left out."""
  table: dict[str, dict[str, int]] = {}
  for one in found:
    entry = table.setdefault(one.kind, {'count': 0, 'bytes': 0})
    entry['count'] += one.runs
    entry['bytes'] += one.runs * one.bytes
  return {kind: table[kind] for kind in KINDS if kind in table}


def first_group(instruction: Instruction) -> tuple[int, ...]:
  """Numbers of the devices of the first group that exchanges.

  Groups are written out, `{{0,1},{2,3}}`, counted, `[2,2]<=[4]`, or lie along
  axes of a mesh, `mesh['a'=2,'b'=2] {'b'}`. () means all devices.
  """
  text = instruction.text
  pairs = re.search(r'source_target_pairs=\{\{([\d,]+)\}', text)
  listed = pairs or re.search(r'replica_groups=\{\{([\d,]+)\}', text)
  if listed:
    return tuple(int(device) for device in listed[1].split(','))
  counted = re.search(
    r'replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?', text
  )
  if counted:
    order = _range_of(_ints(counted[2]))
    if counted[3]:
      order = order.transpose(_ints(counted[3]))
    return tuple(order.reshape(_ints(counted[1]))[0].tolist())
  meshed = re.search(r'replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}', text)
  if meshed:
    axes = re.findall(r"'(\w+)'=(\d+)", meshed[1])
    along = re.findall(r"'(\w+)'", meshed[2])
    order = _range_of([int(size) for _, size in axes])
    index = tuple(slice(None) if name in along else 0 for name, _ in axes)
    return tuple(order[index].ravel().tolist())
  return ()


def rendezvous(instruction: Instruction) -> str:
  """By which what is sent to other slices and what comes know each other."""
  told = re.search(r'_host_transfer_rendezvous="([^"]*)"', instruction.text)
  return told[1] if told else ''


def executed_outside(
  module: Module,
) -> Iterator[tuple[Computation, Instruction, int]]:
  """As `Module.executed`, what runs by itself: not in a fusion or reduction."""
  inner: set[str] = set()
  for _, instruction, _ in module.executed():
    if instruction.opcode not in ('while', 'call', 'conditional'):
      inner.update(instruction.called)
  for computation, instruction, runs in module.executed():
    if computation.name not in inner:
      yield computation, instruction, runs


def _larger_side(computation: Computation, instruction: Instruction) -> int:
  sides = [_bytes(instruction.shapes)]
  if instruction.opcode.endswith('-start'):
    # It gives what it reads, what it makes, and words of its own.
    sides = [shape.bytes for shape in instruction.shapes]
  operands = range(len(instruction.operands))
  reads = [computation.operand(instruction, index) for index in operands]
  return max(*sides, sum(_bytes(operand.shapes) for operand in reads))


def _kind(instruction: Instruction) -> str:
  """Of `KINDS`; '' of what is no exchange."""
  kind = instruction.opcode.removesuffix('-start')
  if kind == 'send':
    told = re.search(r'_megascale_transfer_type="(\w+)"', instruction.text)
    kind = told[1].lower().replace('_', '-') if told else ''
  return kind if kind in KINDS else ''


def _bytes(shapes: tuple[Shape, ...]) -> int:
  return sum(shape.bytes for shape in shapes)


def _range_of(sizes: list[int]) -> np.ndarray:
  return np.arange(int(np.prod(sizes))).reshape(sizes)


def _ints(text: str) -> list[int]:
  return [int(part) for part in text.split(',') if part]


def _dot(computation: Computation, instruction: Instruction) -> int:
  left = computation.operand(instruction, 0).shapes[0]
  summed = 1
  for axis in _ints(instruction.attribute('lhs_contracting_dims')):
    summed *= left.dims[axis]
  return 2 * instruction.shapes[0].elements * summed


def _convolution(computation: Computation, instruction: Instruction) -> int:
  """Products with places beyond an edge, which are zeros, are not counted."""
  left, right = (computation.operand(instruction, i).shapes[0] for i in (0, 1))
  out = instruction.shapes[0]
  labels = instruction.attribute('dim_labels')
  lhs, rhs, result = re.split(r'_|->', labels)
  products = right.dims[rhs.index('i')]
  for name in 'bf':
    products *= out.dims[result.index(name)]
  window = _window(instruction.text)
  for axis in range(len(labels.split('_')[0]) - 2):
    products *= _places(
      left.dims[lhs.index(str(axis))],
      right.dims[rhs.index(str(axis))],
      out.dims[result.index(str(axis))],
      {key: values[axis] for key, values in window.items()},
    )
  return 2 * products


def _window(text: str) -> dict[str, list[tuple[int, ...]]]:
  """Each part of a window by spatial axis, such as pad -> [(0, 0), (1, 1)]."""
  found = re.search(r'\bwindow=\{([^}]*)\}', text)
  parts = dict(part.split('=') for part in found[1].split()) if found else {}
  return {
    key: [tuple(int(n) for n in axis.split('_')) for axis in value.split('x')]
    for key, value in parts.items()
    if key != 'size'
  }


def _places(
  inputs: int, taps: int, outputs: int, window: dict[str, tuple[int, ...]]
) -> int:
  """Pairs of an output and a tap that meet an input, along one axis."""
  stride = window.get('stride', (1,))[0]
  dilation = window.get('rhs_dilate', (1,))[0]
  spread = window.get('lhs_dilate', (1,))[0]
  before = window.get('pad', (0, 0))[0]
  at = (
    np.arange(outputs)[:, None] * stride
    + np.arange(taps)[None, :] * dilation
    - before
  )
  last = (inputs - 1) * spread
  return int(((at >= 0) & (at <= last) & (at % spread == 0)).sum())
