"""Measurements as arrays: what the laws are fitted to."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from configs.errors import UserError
from scaling.records import HELD_OUT, LOSS, Record

_RUNG = ('params', 'tokens', 'flops', 'unique_tokens')
CONVENTIONS = ('total', 'non_embedding', 'active')


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
  """One measurement a row, float64 arrays of shape [M].

  `columns` are what laws are functions of, by name: params, tokens, flops,
  unique_tokens, loss, ... `stderr` is that of the value from the items it was
  measured on, 0 where it is not known.
  """

  columns: dict[str, np.ndarray]
  value: np.ndarray
  stderr: np.ndarray
  seed: np.ndarray
  size: tuple[str, ...]  # name of the model's shape, '' where it has none
  conventions: dict[str, str]  # how params and flops count, what was measured

  def __len__(self) -> int:
    return len(self.value)

  def __getitem__(self, name: str) -> np.ndarray:
    return self.columns[name]

  def take(self, rows: Sequence[int] | np.ndarray) -> 'Points':
    """The points of some rows, in their order."""
    rows = np.arange(len(self))[rows]
    return Points(
      {name: column[rows] for name, column in self.columns.items()},
      self.value[rows],
      self.stderr[rows],
      self.seed[rows],
      tuple(self.size[row] for row in rows),
      self.conventions,
    )


def points(
  records: Iterable[Record],
  *,
  params: str = 'non_embedding',
  task: str = HELD_OUT,
  metric: str = LOSS,
  shots: int = 0,
  phase: str | None = 'end',
) -> Points:
  """The measurements of one metric, in the order of the records.

  Args:
    records: any, of which those of the task, metric and shots are taken.
    params: which count stands for a model's size: total, non_embedding or
      active. Exponents depend on it (Porian et al., arXiv:2406.19146).
    task: the task's name.
    metric: the metric's name.
    shots: examples in the prompt.
    phase: of the schedule; None for all. Before a learning rate has decayed, a
      loss is not what a run of that length would have reached.

  Raises:
    UserError: an unknown convention, no such measurement, or records that
      count FLOPs in several ways.
  """
  if params not in CONVENTIONS:
    raise UserError(f'params = {params!r}: choose from {CONVENTIONS}')
  records = list(records)
  chosen = [
    r
    for r in records
    if (r.task, r.metric, r.shots) == (task, metric, shots)
    and phase in (None, r.schedule_phase)
  ]
  if not chosen:
    known = sorted({f'{r.task}/{r.metric}/{r.shots}-shot' for r in records})
    raise UserError(
      f'no record of {task}/{metric}/{shots}-shot; '
      f'there are {", ".join(known) or "none at all"}'
    )
  flops = sorted({r.flops_convention for r in chosen})
  if len(flops) > 1:
    raise UserError(
      f'the records count FLOPs in several ways ({", ".join(flops)}): '
      'fit each alone'
    )
  columns = {
    'params': _array(getattr(r, f'params_{params}') for r in chosen),
    'tokens': _array(r.tokens for r in chosen),
    'flops': _array(r.flops for r in chosen),
  }
  # Where a run does not tell, nothing was repeated that anybody knows of.
  unique = [r.unique_tokens or r.tokens for r in chosen]
  return Points(
    columns=columns | {'unique_tokens': _array(unique)},
    value=_array(r.value for r in chosen),
    stderr=_array(r.stderr or 0.0 for r in chosen),
    seed=_array(r.seed for r in chosen),
    size=tuple(r.size for r in chosen),
    conventions={
      'params': params,
      'flops': flops[0],
      'value': f'{task}/{metric}',
    },
  )


def scores(
  records: Iterable[Record],
  *,
  task: str,
  metric: str = 'accuracy',
  loss_task: str = HELD_OUT,
  loss_metric: str = LOSS,
  shots: int = 0,
  params: str = 'non_embedding',
) -> Points:
  """A score with the loss of the same run at the same step, column `loss`.

  A standard error that is absent or 0 (every item right, or none) is replaced
  by that of a proportion with two successes and two failures added (Agresti
  and Coull 1998). Column `items` tells how many items each was measured on.

  Raises:
    UserError: no pair, or a score without its number of items.
  """
  records = list(records)
  losses = {
    (r.run, r.step): r.value
    for r in records
    if (r.task, r.metric) == (loss_task, loss_metric)
  }
  paired = [
    r
    for r in records
    if (r.task, r.metric, r.shots) == (task, metric, shots)
    and (r.run, r.step) in losses
  ]
  if not paired:
    raise UserError(
      f'no run has both {task}/{metric} ({shots}-shot) and '
      f'{loss_task}/{loss_metric} at the same step'
    )
  stderr, items = [], []
  for r in paired:
    if r.n is None or r.n < 1:
      raise UserError(f'{r.run}: {task}/{metric} has no number of items (n)')
    if not 0 <= r.value <= 1:
      raise UserError(
        f'{r.run}: {task}/{metric} = {r.value}: a score is a share, 0 to 1'
      )
    centre = (r.value * r.n + 2) / (r.n + 4)
    stderr.append(r.stderr or (centre * (1 - centre) / (r.n + 4)) ** 0.5)
    items.append(r.n)
  found = points(
    paired, params=params, task=task, metric=metric, shots=shots, phase=None
  )
  more = {
    'loss': _array(losses[r.run, r.step] for r in paired),
    'items': _array(items),
  }
  return dataclasses.replace(
    found,
    columns=found.columns | more,
    stderr=_array(stderr),
    conventions=found.conventions | {'loss': f'{loss_task}/{loss_metric}'},
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Rungs:
  """Points of which those that differ by their seed alone are averaged."""

  points: Points
  runs: np.ndarray  # [M], how many were averaged
  deviations: tuple[np.ndarray, ...]  # of those from their mean, in its space
  variance: float  # of one run about its rung, pooled; 0 without repeats
  freedom: int  # degrees of freedom behind the variance


def average_seeds(
  points: Points, inputs: Sequence[str], space: str = 'log'
) -> Rungs:
  """Averages runs that differ by their seed alone.

  Args:
    points: one run a row.
    inputs: columns that are equal in all runs of a rung, beside those that tell
      one rung from another whether or not a law knows them.
    space: 'log' averages the log of values: the geometric mean.

  Returns:
    The rungs, with the seed of the first run each.
  """
  groups: dict[tuple[float, ...], list[int]] = defaultdict(list)
  told = [name for name in _RUNG if name in points.columns]
  names = dict.fromkeys([*inputs, *told])
  cells = zip(*(points[name] for name in names), strict=True)
  for row, cell in enumerate(cells):
    groups[cell].append(row)
  value = np.log(points.value) if space == 'log' else points.value
  keep, means, stderr, apart, square, freedom = [], [], [], [], 0.0, 0
  for rows in groups.values():
    if len(set(points.seed[rows])) < len(rows):  # repeats, but not of seeds
      keep += rows
      means += list(value[rows])
      stderr += list(points.stderr[rows])
      apart += [np.zeros(1)] * len(rows)
      continue
    keep.append(rows[0])
    means.append(np.mean(value[rows]))
    stderr.append(np.sqrt(np.sum(points.stderr[rows] ** 2)) / len(rows))
    apart.append(value[rows] - np.mean(value[rows]))
    square += np.sum(apart[-1] ** 2)
    freedom += len(rows) - 1
  mean = _array(means)
  rungs = dataclasses.replace(
    points.take(keep),
    value=np.exp(mean) if space == 'log' else mean,
    stderr=_array(stderr),
  )
  return Rungs(
    rungs,
    _array(len(off) for off in apart),
    tuple(apart),
    float(square / freedom) if freedom else 0.0,
    freedom,
  )


def _array(values: Iterable[float]) -> np.ndarray:
  return np.asarray(list(values), np.float64)
