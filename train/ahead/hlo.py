"""Reads the text of a compiled program: what it computes, moves and holds.

The text is what `jax.stages.Compiled.as_text` gives, XLA's HLO after all
optimization, of one device. https://openxla.org/xla/operation_semantics tells
what operations mean. Loops are multiplied out: everything below counts a body
as often as it runs.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_BITS = {
  **dict.fromkeys(('pred', 's8', 'u8'), 8),
  **dict.fromkeys(('s2', 'u2'), 2),
  **dict.fromkeys(('s4', 'u4', 'f4e2m1fn'), 4),
  **dict.fromkeys(('bf16', 'f16', 's16', 'u16'), 16),
  **dict.fromkeys(('f32', 's32', 'u32'), 32),
  **dict.fromkeys(('f64', 's64', 'u64', 'c64'), 64),
  'c128': 128,
  'token': 0,
  'opaque': 0,
}
_ARRAY = re.compile(r'\b([a-z]+[0-9]*\w*)\[([0-9,<=]*)\](\{[^{}]*\})?')
_COMPUTATION = re.compile(r'(ENTRY )?%?([\w.\-]+) (?:\(.*\) -> .* )?\{$')
_INSTRUCTION = re.compile(r'\s+(ROOT )?%?([\w.\-]+) = ')
_CALLED = re.compile(
  r'\b(?:calls|body|condition|to_apply|true_computation|false_computation|'
  r'called_computations|branch_computations)=(\{[^}]*\}|%?[\w.\-]+)'
)


class Shape(NamedTuple):
  """One array: its type, dimensions, and layout as it is written."""

  dtype: str
  dims: tuple[int, ...]
  layout: str = ''

  @property
  def elements(self) -> int:
    """Without what a layout adds."""
    return math.prod(self.dims)

  @property
  def bytes(self) -> int:
    """Without what a layout adds."""
    return -(-self.elements * _bits(self.dtype) // 8)

  @property
  def in_hbm(self) -> bool:
    """Whether it lies in the large memory, not within the processor."""
    found = re.search(r'S\((\d+)\)', self.layout)
    return found is None or found[1] == '0'

  @property
  def hbm_bytes(self) -> int:
    """Bytes of the large memory it takes, filled up to whole tiles."""
    if not self.in_hbm:
      return 0
    order = re.match(r'\{([\d,]+):T\(([\d,]+)\)', self.layout)
    if not order:
      return self.bytes
    minor = [self.dims[int(axis)] for axis in order[1].split(',')]
    tile = [int(size) for size in order[2].split(',')][::-1]
    for axis, size in enumerate(tile[: len(minor)]):
      minor[axis] = -(-minor[axis] // size) * size
    return -(-math.prod(minor) * _bits(self.dtype) // 8)


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One operation of a computation.

  Attributes:
    name: of it and of what it gives.
    opcode: such as 'fusion' or 'all-gather-start'.
    shapes: of what it gives, the leaves of tuples one after the other.
    operands: names, in order.
    text: what is written behind the operands.
    literal: what is written in place of the operands.
    is_root: whether the computation gives what it gives.
  """

  name: str
  opcode: str
  shapes: tuple[Shape, ...]
  operands: tuple[str, ...]
  text: str
  literal: str
  is_root: bool

  @functools.cached_property
  def called(self) -> tuple[str, ...]:
    """Names of the computations that it runs, also of scalars."""
    found = _CALLED.findall(self.text)
    return tuple(name for part in found for name in _names(part))

  def attribute(self, name: str) -> str:
    """What is written after `name=`, without braces; '' where nothing is."""
    found = re.search(rf'\b{name}=(?:\{{([^}}]*)\}}|([^,\s]+))', self.text)
    return (found[1] or found[2] or '') if found else ''

  @property
  def op_name(self) -> str:
    """The path within the traced function that it was made of."""
    found = re.search(r'op_name="([^"]*)"', self.text)
    return found[1] if found else ''


@dataclasses.dataclass(frozen=True)
class Computation:
  """A function of the program; in a compiled one, instructions run in order."""

  name: str
  instructions: Mapping[str, Instruction]

  @property
  def root(self) -> Instruction:
    """What it gives."""
    return next(i for i in self.instructions.values() if i.is_root)

  def operand(self, instruction: Instruction, index: int) -> Instruction:
    """The instruction whose result is an operand."""
    return self.instructions[instruction.operands[index]]


@dataclasses.dataclass(frozen=True)
class Module:
  """A whole program.

  Attributes:
    header: its first line.
    entry: name of the computation that is run.
    computations: by name.
  """

  header: str
  entry: str
  computations: Mapping[str, Computation]

  @functools.cached_property
  def runs(self) -> dict[str, int]:
    """How often each computation runs in one execution.

    Fusions and what they call are counted like any function; all branches of a
    conditional count as taken.
    """
    runs = dict.fromkeys(self.computations, 0)
    runs[self.entry] = 1
    for name in self._callers_first():
      computation = self.computations[name]
      for instruction in computation.instructions.values():
        times = runs[name]
        if instruction.opcode == 'while':
          times *= trip_count(self, computation, instruction)
        for called in instruction.called:
          runs[called] += times
    return runs

  def executed(self) -> Iterator[tuple[Computation, Instruction, int]]:
    """Every instruction, with its computation and how often it runs."""
    for name, computation in self.computations.items():
      times = self.runs[name]
      if times:
        for instruction in computation.instructions.values():
          yield computation, instruction, times

  def _callers_first(self) -> list[str]:
    order: list[str] = []
    seen: set[str] = set()

    def visit(name: str) -> None:
      seen.add(name)
      for instruction in self.computations[name].instructions.values():
        for called in instruction.called:
          if called not in seen:
            visit(called)
      order.append(name)

    visit(self.entry)
    return order[::-1]


def parse(text: str) -> Module:
  """Reads a program.

  Raises:
    ValueError: the text has no computation that is run.
  """
  header, entry, name = '', '', ''
  computations: dict[str, list[str]] = {}
  for line in text.splitlines():
    start = _COMPUTATION.match(line)
    if line.startswith('HloModule'):
      header = line
    elif start:
      name = start[2]
      computations[name] = []
      entry = name if start[1] else entry
    elif _INSTRUCTION.match(line):
      computations[name].append(line)
    elif name and computations[name]:
      # A string within an instruction may go over several lines.
      computations[name][-1] += ' ' + line
  if not entry:
    raise ValueError('no ENTRY computation: this is no text of a program')
  return Module(
    header,
    entry,
    {
      name: Computation(name, {i.name: i for i in map(_instruction, lines)})
      for name, lines in computations.items()
    },
  )


def trip_count(
  module: Module, computation: Computation, loop: Instruction
) -> int:
  """How often a loop's body runs.

  As the compiler says (`known_trip_count`), or as the condition does where it
  compares a counter from a constant with a constant, as loops of `lax.scan` and
  `lax.fori_loop` do. 1 where neither tells.
  """
  known = re.search(r'known_trip_count[^0-9}]*(\d+)', loop.text)
  if known:
    return int(known[1])
  condition = module.computations[loop.attribute('condition').lstrip('%')]
  compare, at = _resolved(module, condition, condition.root)
  if compare.opcode != 'compare':
    return 1
  sides = [_followed(at, at.operand(compare, side)) for side in (0, 1)]
  index = next(
    (s.attribute('index') for s in sides if s.opcode == 'get-tuple-element'), ''
  )
  limit = next((_constant(s) for s in sides if s.opcode == 'constant'), None)
  if not index or limit is None or compare.attribute('direction') != 'LT':
    return 1
  start = _followed(computation, computation.operand(loop, 0))
  first = _followed(computation, computation.operand(start, int(index)))
  body = module.computations[loop.attribute('body').lstrip('%')]
  return -(-(limit - (_constant(first) or 0)) // _step(module, body, index))


def _step(module: Module, body: Computation, index: str) -> int:
  """What a loop's body adds to its counter; 1 where it does not tell."""
  if body.root.opcode != 'tuple':
    return 1
  counter = body.operand(body.root, int(index))
  addition, at = _resolved(module, body, counter)
  if addition.opcode != 'add':
    return 1
  parts = [_followed(at, at.operand(addition, side)) for side in (0, 1)]
  steps = [_constant(part) for part in parts if part.opcode == 'constant']
  return next((step for step in steps if step and step > 0), 1)


def _resolved(
  module: Module, computation: Computation, root: Instruction
) -> tuple[Instruction, Computation]:
  """A root, or where it is a fusion or call of nothing else, that one's."""
  root = _followed(computation, root)
  if root.opcode in ('fusion', 'call') and root.called:
    # A counter is then a parameter of what is called: not followed further.
    inner = module.computations[root.called[0]]
    return _inlined(computation, root, inner)
  return root, computation


def _inlined(
  outer: Computation, call: Instruction, inner: Computation
) -> tuple[Instruction, Computation]:
  """The root of a called computation, its parameters being the operands."""
  merged = dict(outer.instructions)
  for name, instruction in inner.instructions.items():
    if instruction.opcode == 'parameter':
      operand = call.operands[int(instruction.literal)]
      instruction = dataclasses.replace(
        instruction, opcode='copy', operands=(operand,)
      )
    merged[name] = instruction
  return inner.root, Computation(inner.name, merged)


def _followed(computation: Computation, found: Instruction) -> Instruction:
  """The instruction that a chain of copies begins with."""
  while found.opcode in ('copy', 'bitcast', 'convert', 'copy-done'):
    found = computation.operand(found, 0)
    if found.opcode == 'copy-start':
      found = computation.operand(found, 0)
  return found


def _constant(instruction: Instruction) -> int | None:
  try:
    return int(instruction.literal)
  except ValueError:
    return None


def _instruction(line: str) -> Instruction:
  start = _INSTRUCTION.match(line)
  assert start
  line = re.sub(r'/\*index=\d+\*/', '', line[start.end() :])
  end = _balanced(line, 0) if line.startswith('(') else line.index(' ')
  types, rest = line[:end], line[end:].lstrip()
  opcode, _, rest = rest.partition('(')
  close = _balanced('(' + rest, 0) - 1
  literal = rest[: close - 1]
  return Instruction(
    start[2],
    opcode,
    tuple(_shapes(types)),
    tuple(re.findall(r'%([\w.\-]+)', literal)),
    rest[close:],
    literal,
    bool(start[1]),
  )


def _balanced(text: str, start: int) -> int:
  """The index after the parenthesis that closes the one at `start`."""
  depth = 0
  for found in re.compile(r'[()]').finditer(text, start):
    depth += 1 if found[0] == '(' else -1
    if not depth:
      return found.end()
  raise ValueError(f'a parenthesis is not closed: {text[:80]}')


def _shapes(types: str) -> Iterator[Shape]:
  for dtype, dims, layout in _ARRAY.findall(types):
    sizes = tuple(int(d.lstrip('<=')) for d in dims.split(',') if d)
    yield Shape(dtype, sizes, layout)


def _bits(dtype: str) -> int:
  return _BITS.get(dtype, 8 if dtype.startswith('f8') else 32)


def _names(part: str) -> list[str]:
  return re.findall(r'[\w.\-]+', part)
