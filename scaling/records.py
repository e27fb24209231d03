"""Measurements: one record each, one JSON line each."""

import dataclasses
import json
import math
import os
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.files import write_text

HELD_OUT = 'heldout'  # the task of a loss on text kept from training
LOSS = 'loss'  # its metric, in nats a token
_POSITIVE = (
  'params_total',
  'params_non_embedding',
  'params_active',
  'tokens',
  'flops',
)
_NOT_NEGATIVE = (
  'stderr',
  'seconds',
  'energy_joules',
  'cost_usd',
  'wall_seconds',
  'goodput',
  'mfu',
  'carbon_grams',
)


@dataclasses.dataclass(frozen=True)
class Record:
  """One measurement of one run; a field that does not apply is None."""

  run: str  # identity of the run, unique in a study
  config_digest: str
  family: str  # of the model: decoder, ...
  objective: str  # causal, ...
  size: str  # name of the model's shape
  params_total: float
  params_non_embedding: float
  params_active: float  # used by one token
  tokens: float  # seen in training
  unique_tokens: float | None
  flops: float  # of training
  flops_convention: str
  step: int
  seed: int
  schedule_phase: str  # warmup | stable | decay | end
  task: str
  shots: int
  metric: str
  value: float
  stderr: float | None  # of the value, from the items measured
  n: int | None  # items measured
  seconds: float | None
  energy_joules: float | None
  cost_usd: float | None
  # what was changed in the text on purpose, key=value, parted by blanks
  interventions: str = ''
  wall_seconds: float | None = None  # all; `seconds` are those of training
  goodput: float | None = None  # share of them in steps that count
  mfu: float | None = None  # model FLOPs over peak, in the seconds of steps
  peak_source: str = ''  # published | measured
  devices: int | None = None
  device_kind: str = ''
  energy_source: str = ''  # measured | modelled | rated | estimated | assumed
  carbon_grams: float | None = None  # CO2 equivalent
  region: str = ''  # of the grid that carbon is of
  price_source: str = ''  # listed | assumed

  def validate(self) -> None:
    """Raises UserError for a number that no measurement can have."""
    for name in _POSITIVE:
      number = getattr(self, name)
      if not (math.isfinite(number) and number > 0):
        raise UserError(f'{name} = {number}: expected a number above 0')
    if not math.isfinite(self.value):
      raise UserError(f'value = {self.value}: expected a finite number')
    for name in _NOT_NEGATIVE:
      number = getattr(self, name)
      if number is not None and not 0 <= number < math.inf:
        raise UserError(f'{name} = {number}: expected null or at least 0')


_HINTS = typing.get_type_hints(Record)
# Than some records, which do not have them.
_YOUNGER = {
  field.name
  for field in dataclasses.fields(Record)
  if field.default is not dataclasses.MISSING
}


def write_records(path: str | os.PathLike, records: Iterable[Record]) -> None:
  """Writes one JSON line a record, all or none of them.

  Raises:
    UserError: a record with an impossible number, named.
  """
  lines = []
  for record in records:
    record.validate()
    lines.append(json.dumps(dataclasses.asdict(record)) + '\n')
  write_text(Path(path), ''.join(lines))


def read_records(path: str | os.PathLike) -> list[Record]:
  """Reads records from JSON lines.

  Raises:
    UserError: no such file, nothing in it, a key missing or unknown, or a value
      that is no number, NaN, zero or negative, with its row.
  """
  path = Path(path)
  if not path.is_file():
    raise UserError(f'{path}: no such file; give a records JSONL or a CSV')
  try:
    records = _read_jsonl(path)
  except UnicodeDecodeError as error:
    raise UserError(f'{path}: not UTF-8 text') from error
  if not records:
    raise UserError(f'{path}: holds no runs; write at least one')
  return records


def _read_jsonl(path: Path) -> list[Record]:
  records = []
  for row, line in enumerate(path.read_text().splitlines(), start=1):
    if not line.strip():
      continue
    try:
      tree = json.loads(line)
    except json.JSONDecodeError as error:
      raise UserError(f'{path}, row {row}: no JSON: {error.msg}') from error
    records.append(_checked(path, row, lambda tree=tree: _from_tree(tree)))
  return records


def _checked(path: Path, row: int, build: Any) -> Record:
  try:
    return build()
  except UserError as error:
    raise UserError(f'{path}, row {row}: {error}') from error


def _from_tree(tree: Any) -> Record:
  if not isinstance(tree, Mapping):
    raise UserError('expected an object with the keys of a record')
  names = set(_HINTS)
  wrong = names.symmetric_difference(tree) - (_YOUNGER - tree.keys())
  if wrong:
    raise UserError(f'keys missing or unknown: {", ".join(sorted(wrong))}')
  for name, value in tree.items():
    _check_type(name, _HINTS[name], value)
  record = Record(**tree)
  record.validate()
  return record


def _check_type(name: str, hint: Any, value: Any) -> None:
  kinds: Sequence[type] = (
    typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
  )
  if float in kinds:
    kinds = (*kinds, int)
  if isinstance(value, bool) or not isinstance(value, tuple(kinds)):
    allowed = ' or '.join(
      'null' if kind is types.NoneType else kind.__name__ for kind in kinds
    )
    raise UserError(f'{name} = {value!r}: expected {allowed}')
