"""What a compiled program holds in a device's memory while it runs.

A compiled program is scheduled: its instructions run in the order in which they
are written. An array is held from the instruction that makes it to the last one
that reads it. Views hold nothing of their own, nor what is written in place:
what a loop carries, slices that are updated, and what the compiler says shares
the memory of an operand. Parameters of the program are not counted, nor are
results that take a donated parameter's place.
"""

import collections
import dataclasses
import re
from typing import NamedTuple

from train.ahead.hlo import Computation, Instruction, Module, Shape

_VIEWS = ('bitcast', 'get-tuple-element', 'tuple', 'optimization-barrier')
_IN_PLACE = ('dynamic-update-slice', 'scatter')
_FORWARD, _BACKWARD = 'jvp(', 'transpose('


@dataclasses.dataclass(eq=False)
class Buffer:
  """An array in memory.

  Attributes:
    bytes: 0 where it is another's memory, or lies within the processor.
    maker: the instruction that makes it.
    first: number of the instruction that makes it, within its computation.
    last: number of the last one that reads it.
    readers: the instructions that read it, views left out.
  """

  bytes: int
  maker: Instruction
  first: int
  last: int
  readers: list[Instruction] = dataclasses.field(default_factory=list)

  @property
  def kept(self) -> bool:
    """Whether the forward pass makes it and the backward pass reads it."""
    return _is_forward(self.maker) and any(map(_is_backward, self.readers))


class Held(NamedTuple):
  """Bytes of one device at the fullest moment.

  Attributes:
    peak: of all that is held at once.
    activations: the most that is held at once of what the forward pass makes
      and the backward pass reads. Which pass an instruction is of is told by
      the traced function's transformations in its name (`jvp`, `transpose`).
  """

  peak: int
  activations: int


def held(module: Module) -> Held:
  """The most that a program holds beside its parameters."""
  donates = re.search(r'\{[\d, ]*\}: \(', module.header) is not None
  return _inside(module, module.entry, donates)


def _fullest(buffers: list[Buffer], inner: dict[int, Held]) -> Held:
  kept = [buffer for buffer in buffers if buffer.kept]
  peak = _most(buffers, {at: found.peak for at, found in inner.items()})
  activations = _most(
    kept, {at: found.activations for at, found in inner.items()}
  )
  return Held(peak, activations)


def _most(buffers: list[Buffer], inner: dict[int, int]) -> int:
  """The most bytes at once, with what an instruction holds while it runs."""
  changes: dict[int, int] = collections.defaultdict(int)
  for buffer in buffers:
    changes[buffer.first] += buffer.bytes
    changes[buffer.last + 1] -= buffer.bytes
  now = most = 0
  for at in sorted({*changes, *inner}):
    now += changes[at]
    most = max(most, now + inner.get(at, 0))
  return most


def _buffers(
  module: Module, computation: Computation
) -> tuple[list[Buffer], dict[int, Held]]:
  """What a computation holds, and what is held inside of its instructions."""
  made: list[Buffer] = []
  inner: dict[int, Held] = {}
  leaves: dict[str, list[Buffer]] = {}
  for at, instruction in enumerate(computation.instructions.values()):
    operands = [leaves[name] for name in instruction.operands]
    if instruction.opcode not in _VIEWS:
      for buffer in (buffer for operand in operands for buffer in operand):
        buffer.last = at
        buffer.readers.append(instruction)
    bodies = _bodies(instruction)
    if bodies:
      found = [
        _inside(module, name, instruction.opcode == 'while') for name in bodies
      ]
      inner[at] = Held(*(max(part) for part in zip(*found, strict=True)))
    result = _result(instruction, operands, at)
    known = {id(buffer) for operand in operands for buffer in operand}
    made += [buffer for buffer in result if id(buffer) not in known]
    leaves[instruction.name] = result
  for buffer in leaves[computation.root.name]:
    buffer.last = len(computation.instructions)
  return made, inner


def _inside(module: Module, name: str, in_place: bool) -> Held:
  """Of one computation.

  Args:
    module: that it is of.
    name: of it.
    in_place: whether its results take the place of its parameters: those of a
      program that were donated, or what a round of a loop was given.
  """
  computation = module.computations[name]
  buffers, inner = _buffers(module, computation)
  for buffer in buffers:
    if in_place and buffer.last == len(computation.instructions):
      buffer.bytes = 0
  return _fullest(buffers, inner)


def _bodies(instruction: Instruction) -> tuple[str, ...]:
  """Computations that hold memory of their own; fusions hold none."""
  if instruction.opcode in ('while', 'call', 'conditional'):
    return instruction.called
  return ()


def _result(
  instruction: Instruction, operands: list[list[Buffer]], at: int
) -> list[Buffer]:
  """The buffers of an instruction's leaves: its operands', or new ones."""
  opcode, shapes = instruction.opcode, instruction.shapes
  if opcode in ('bitcast', 'optimization-barrier', 'while'):
    return operands[0]
  if opcode == 'tuple':
    return [buffer for operand in operands for buffer in operand]
  if opcode == 'get-tuple-element':
    index = int(instruction.attribute('index'))
    return operands[0][index : index + len(shapes)]
  if opcode.endswith('-done'):
    return _waited(operands[0], shapes)
  if opcode.endswith('-update'):
    return operands[0]
  new = [_new(instruction, shape, at) for shape in shapes]
  for operand, leaf in _shared(instruction):
    if len(operands[operand]) == 1 and leaf < len(new):
      new[leaf] = operands[operand][0]
  return new


def _new(instruction: Instruction, shape: Shape, at: int) -> Buffer:
  free = instruction.opcode in ('parameter', 'constant')
  return Buffer(0 if free else shape.hbm_bytes, instruction, at, at)


def _waited(started: list[Buffer], shapes: tuple[Shape, ...]) -> list[Buffer]:
  """What a wait gives: of the leaves of a start, those that it made."""
  own = [b for b in started if b.maker.opcode.endswith('-start')]
  own = own or started
  return (own + started)[: len(shapes)]


def _shared(instruction: Instruction) -> list[tuple[int, int]]:
  """(operand, leaf of the result) pairs that are in the same memory."""
  opcode = instruction.opcode
  if opcode == 'copy-start':
    return [(0, 1)]  # (copy, original, context)
  if opcode.endswith('-start') and opcode != 'all-reduce-start':
    return [(index, index) for index in range(len(instruction.operands))]
  if opcode in _IN_PLACE:
    return [(0, 0)]
  told = re.search(
    r'"aliasing_operands":\{"lists":\[((?:\{"indices":\[[^\]]*\]\},?)*)\]',
    instruction.text,
  )
  pairs = []
  count = len(instruction.operands)
  for listed in re.findall(r'\[([^\]]*)\]', told[1] if told else ''):
    # Leaves are counted on from the operands, of which there may be several.
    indices = [int(index) for index in re.findall(r'\d+', listed)]
    operands = [index for index in indices if index < count]
    leaves = [index - count for index in indices if index >= count]
    pairs += [(operand, leaf) for leaf in leaves for operand in operands[:1]]
  return pairs


def _is_forward(instruction: Instruction) -> bool:
  name = instruction.op_name
  return _FORWARD in name and _BACKWARD not in name


def _is_backward(instruction: Instruction) -> bool:
  return _BACKWARD in instruction.op_name
