"""Records as arrays: what the laws are fitted to."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from configs.errors import UserError
from scaling.records import HELD_OUT, LOSS, Record

CONVENTIONS = ('total', 'non_embedding', 'active')


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
  """One measurement a row, float64 arrays of shape [M]."""

  params: np.ndarray
  tokens: np.ndarray
  flops: np.ndarray  # of training
  value: np.ndarray
  seed: np.ndarray
  size: tuple[str, ...]  # name of the model's shape, '' where it has none
  conventions: dict[str, str]  # how params and flops count, what was measured

  def __len__(self) -> int:
    return len(self.value)

  def take(self, rows: Sequence[int] | np.ndarray) -> 'Points':
    """The points of some rows, in their order."""
    rows = np.arange(len(self))[rows]
    return Points(
      self.params[rows],
      self.tokens[rows],
      self.flops[rows],
      self.value[rows],
      self.seed[rows],
      tuple(self.size[row] for row in rows),
      self.conventions,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
  """A loss and a score of the same checkpoint a row, arrays of shape [M]."""

  loss: np.ndarray
  score: np.ndarray
  stderr: np.ndarray  # of the score, from its items; above 0
  n: np.ndarray  # items


def points(
  records: Iterable[Record],
  *,
  params: str = 'non_embedding',
  task: str = HELD_OUT,
  metric: str = LOSS,
  shots: int = 0,
) -> Points:
  """The measurements of one metric, in the order of the records.

  Args:
    records: any, of which those of the task, metric and shots are taken.
    params: which count stands for a model's size: total, non_embedding or
      active. Exponents depend on it (Porian et al., arXiv:2406.19146).
    task: the task's name.
    metric: the metric's name.
    shots: examples in the prompt.

  Raises:
    UserError: an unknown convention, no such measurement, or records that
      count FLOPs in several ways.
  """
  if params not in CONVENTIONS:
    raise UserError(f'params = {params!r}: choose from {CONVENTIONS}')
  records = list(records)
  chosen = [
    r for r in records if (r.task, r.metric, r.shots) == (task, metric, shots)
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
  # A CSV has one count, whose convention its author alone knows.
  told = any(r.params_total != r.params_non_embedding for r in chosen)
  return Points(
    params=_array(getattr(r, f'params_{params}') for r in chosen),
    tokens=_array(r.tokens for r in chosen),
    flops=_array(r.flops for r in chosen),
    value=_array(r.value for r in chosen),
    seed=_array(r.seed for r in chosen),
    size=tuple(r.size for r in chosen),
    conventions={
      'params': params if told else 'as given',
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
) -> Scores:
  """Pairs a score with the loss of the same run at the same step.

  A standard error that is absent or 0 (every item right, or none) is replaced
  by that of a proportion with two successes and two failures added (Agresti
  and Coull 1998).

  Raises:
    UserError: no pair, or a score without its number of items.
  """
  records = list(records)
  losses = {
    (r.run, r.step): r.value
    for r in records
    if (r.task, r.metric) == (loss_task, loss_metric)
  }
  rows = []
  for r in records:
    if (r.task, r.metric, r.shots) != (task, metric, shots):
      continue
    if (r.run, r.step) not in losses:
      continue
    if r.n is None or r.n < 1:
      raise UserError(f'{r.run}: {task}/{metric} has no number of items (n)')
    centre = (r.value * r.n + 2) / (r.n + 4)
    stderr = r.stderr or (centre * (1 - centre) / (r.n + 4)) ** 0.5
    rows.append((losses[r.run, r.step], r.value, stderr, r.n))
  if not rows:
    raise UserError(
      f'no run has both {task}/{metric} ({shots}-shot) and '
      f'{loss_task}/{loss_metric} at the same step'
    )
  return Scores(*np.asarray(rows, np.float64).T)


def average_seeds(points: Points) -> tuple[Points, float, int]:
  """Averages runs that differ by their seed alone, in the log of the value.

  Returns:
    The rungs, one point each (the geometric mean, the first seed); the variance
    of one run's log value about its rung, pooled over repeated rungs (0.0
    without any); and the degrees of freedom behind it.
  """
  groups: dict[tuple[float, float], list[int]] = defaultdict(list)
  for row, cell in enumerate(zip(points.params, points.tokens, strict=True)):
    groups[cell].append(row)
  log_value = np.log(points.value)
  keep, means, square, freedom = [], [], 0.0, 0
  for rows in groups.values():
    if len(set(points.seed[rows])) < len(rows):  # repeats, but not of seeds
      keep += rows
      means += list(log_value[rows])
      continue
    keep.append(rows[0])
    means.append(np.mean(log_value[rows]))
    square += len(rows) * np.var(log_value[rows])
    freedom += len(rows) - 1
  rungs = dataclasses.replace(points.take(keep), value=np.exp(means))
  return rungs, square / freedom if freedom else 0.0, freedom


def _array(values: Iterable[float]) -> np.ndarray:
  return np.asarray(list(values), np.float64)
