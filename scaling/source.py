"""Where points come from on a command line: records or a CSV."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from configs.errors import UserError
from scaling import table
from scaling.points import CONVENTIONS, Points, points, scores
from scaling.records import HELD_OUT, LOSS, read_records

_OF_RECORDS = ('loss', 'score', 'error')


@dataclasses.dataclass(frozen=True)
class Selection:
  """Which numbers of a file are fitted."""

  columns: tuple[str, ...] = ()  # 'params=N', of a CSV
  params: str = 'non_embedding'  # of records
  task: str = HELD_OUT
  metric: str = LOSS
  shots: int = 0


def read_points(
  path: str,
  chosen: Selection,
  *,
  inputs: Sequence[str],
  value: str = 'loss',
  items: bool = False,
) -> Points:
  """Points from a CSV, by its name, or from records.

  Args:
    path: of the file.
    chosen: which of its numbers.
    inputs: columns that a law is a function of.
    value: column of a CSV that is fitted.
    items: whether records are scores, each with the loss of its run.

  Raises:
    UserError: no such file, or a column, key or number that cannot be.
  """
  if Path(path).suffix.lower() != '.csv':
    records = read_records(path)
    if value not in _OF_RECORDS:
      raise UserError(
        f'{path}: records hold no {value}; give a CSV with that column'
      )
    view = scores if items else points
    found = view(
      records,
      params=chosen.params,
      task=chosen.task,
      metric=chosen.metric,
      shots=chosen.shots,
    )
    if value == 'error':
      found = dataclasses.replace(found, value=1 - found.value)
    return found
  try:
    return table.from_columns(
      table.read_csv(Path(path), _renamed(chosen.columns)),
      inputs,
      value,
    )
  except UserError as error:
    told = str(error)
    raise UserError(
      told if told.startswith(path) else f'{path}: {told}'
    ) from error


def define_flags() -> None:
  """Flags of a command that reads points."""
  default = Selection()
  flags.DEFINE_string('records', None, 'records JSONL or CSV', required=True)
  flags.DEFINE_list(
    'columns', [], 'names in a CSV: params=N,tokens=D,loss=L,flops=C'
  )
  flags.DEFINE_enum(
    'params', default.params, CONVENTIONS, 'count of parameters, of records'
  )
  flags.DEFINE_string('task', default.task, 'task, of records')
  flags.DEFINE_string('metric', default.metric, 'metric of the task')
  flags.DEFINE_integer('shots', default.shots, 'examples in the prompt')


def from_flags(args: Any) -> Selection:
  """What `define_flags` were set to."""
  return Selection(
    tuple(args.columns), args.params, args.task, args.metric, args.shots
  )


def _renamed(columns: Sequence[str]) -> dict[str, str]:
  renamed = {}
  for pair in columns:
    name, equals, theirs = pair.partition('=')
    if not (name and equals and theirs):
      raise UserError(
        f'--columns={pair}: expected our name = theirs, such as params=N'
      )
    renamed[name] = theirs
  return renamed
