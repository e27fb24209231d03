"""Columns of numbers, from a CSV or a data frame, as points."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from scaling.points import Points

_GAP = 1e4  # between neighbouring values, that no ladder leaves


def read_csv(
  path: Path, renamed: Mapping[str, str] | None = None
) -> dict[str, list[str]]:
  """The columns of a CSV with a header, as text.

  Args:
    path: of the file.
    renamed: our name of a column: its name in the file.

  Raises:
    UserError: no such file, no UTF-8, no rows, or no column of a name.
  """
  if not path.is_file():
    raise UserError(f'{path}: no such file; give a records JSONL or a CSV')
  try:
    with path.open(newline='', encoding='utf-8-sig') as file:
      reader = csv.DictReader(file)
      rows = list(reader)
  except UnicodeDecodeError as error:
    raise UserError(f'{path}: not UTF-8 text') from error
  except csv.Error as error:
    raise UserError(f'{path}: no CSV: {error}') from error
  if not rows:
    raise UserError(f'{path}: holds no runs; write at least one')
  header = [name.strip() for name in reader.fieldnames or ()]
  if len(set(header)) < len(header):
    raise UserError(f'{path}: a column twice among {", ".join(header)}')
  for number, row in enumerate(rows, start=1):
    if None in row:
      raise UserError(
        f'{path}: row {number} has more cells than the header: a comma within '
        'a number?'
      )
  table = {
    name.strip(): [(row[name] or '').strip() for row in rows]
    for name in reader.fieldnames or ()
  }
  for name, theirs in (renamed or {}).items():
    if theirs not in table:
      raise UserError(
        f'{path}: no column {theirs} among {", ".join(table)}, which '
        f'--columns takes for {name}'
      )
  return table | {name: table[t] for name, t in (renamed or {}).items()}


def from_columns(
  columns: Mapping[str, Sequence[Any]],
  inputs: Sequence[str],
  value: str = 'loss',
) -> Points:
  """Points from columns by name: a dict of lists, a data frame, a CSV.

  Beside the inputs and the value, `seed`, `stderr` and `size` are read where
  they are there, and `flops`, 6 x params x tokens where it is not.

  Args:
    columns: numbers or their text, all of one length.
    inputs: names of the columns that a law is a function of.
    value: name of what is fitted.

  Raises:
    UserError: a column missing; a number that is none, or not finite, or not
      above 0, with its row; or values that look like two units in one column.
  """
  given = {str(name): list(column) for name, column in columns.items()}
  lengths = {name: len(column) for name, column in given.items()}
  if len(set(lengths.values())) > 1:
    told = ', '.join(f'{name} {count}' for name, count in lengths.items())
    raise UserError(f'columns of several lengths: {told}')
  counted = 'flops' in given
  needed = [*inputs, value]
  missing = [name for name in needed if name not in given]
  if not counted and {'params', 'tokens'} <= set(given):
    missing = [name for name in missing if name != 'flops']
  if missing:
    raise UserError(
      f'no column {", ".join(missing)} among {", ".join(given) or "none"}; '
      f'needed: {", ".join(needed)}'
    )
  known = ('params', 'tokens', 'flops', 'unique_tokens', *inputs)
  read = {
    name: _positive(name, given[name])
    for name in dict.fromkeys(known)
    if name in given
  }
  if not counted and {'params', 'tokens'} <= set(read):
    read['flops'] = 6 * read['params'] * read['tokens']
  measured = _numbers(value, given[value])
  if not len(measured):
    raise UserError(f'{value}: no rows; give at least one run')
  if value == 'loss':
    measured = _positive(value, given[value])
  for name in read.keys() - {'flops'}:
    _one_unit(name, read[name])
  count = len(measured)
  zero = [0.0] * count
  errors = _numbers('stderr', given.get('stderr', zero))
  if np.any(errors < 0):
    raise UserError(f'stderr = {np.min(errors):g}: expected at least 0')
  return Points(
    columns=read,
    value=measured,
    stderr=errors,
    seed=_numbers('seed', given.get('seed', zero)),
    size=tuple(str(name) for name in given.get('size', [''] * count)),
    conventions={
      'params': 'as given',
      'flops': 'as given' if counted else '6ND',
      'value': value,
    },
  )


def _numbers(name: str, column: Sequence[Any]) -> np.ndarray:
  read = []
  for row, cell in enumerate(column, start=1):
    try:
      number = float(cell)
    except (TypeError, ValueError) as error:
      raise UserError(
        f'row {row}: {name} = {cell!r}: expected a number'
      ) from error
    if not math.isfinite(number):
      raise UserError(f'row {row}: {name} = {cell}: expected a finite number')
    read.append(number)
  return np.asarray(read, np.float64)


def _positive(name: str, column: Sequence[Any]) -> np.ndarray:
  read = _numbers(name, column)
  for row in np.flatnonzero(read <= 0).tolist():
    raise UserError(
      f'row {row + 1}: {name} = {column[row]}: expected a number above 0'
    )
  return read


def _one_unit(name: str, column: np.ndarray) -> None:
  order = np.sort(column)
  (jumps,) = np.nonzero(order[1:] > _GAP * order[:-1])
  if len(jumps):
    low, high = order[jumps[0]], order[jumps[0] + 1]
    raise UserError(
      f'{name}: {jumps[0] + 1} of {len(column)} values are at most {low:.4g}, '
      f'the others at least {high:.4g}: two units in one column? Give all in '
      'one, such as tokens rather than billions of them'
    )
