"""Does the loss fall with scale everywhere on a ladder?

Where it does not, rungs still lie in the start-up transient of training, and no
law holds for them.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from scaling.points import Points


def violations(rungs: Points) -> list[str]:
  """Pairs of neighbouring rungs whose loss does not fall, as text.

  Loss must fall with params at each token budget and with tokens at each size.

  Args:
    rungs: seeds averaged; budgets count as equal within 1%, as runs of whole
      batches differ by a few tokens.
  """
  sizes = _labels(rungs['params'], rungs.size)
  budgets = _labels(rungs['tokens'], ('',) * len(rungs))
  return _rising(
    rungs['params'], rungs.value, budgets, sizes, 'with size at {} tokens'
  ) + _rising(
    rungs['tokens'], rungs.value, sizes, budgets, 'with tokens at size {}'
  )


def _labels(column: np.ndarray, names: Sequence[str]) -> list[str]:
  """One text for all values within 1% of each other."""
  order = np.argsort(column, kind='stable')
  labels = [''] * len(column)
  first = order[0]
  for row in order:
    if column[row] > 1.01 * column[first]:
      first = row
    labels[row] = names[first] or f'{column[first]:.3g}'
  return labels


def _rising(
  along: np.ndarray,
  value: np.ndarray,
  groups: Sequence[str],
  labels: Sequence[str],
  where: str,
) -> list[str]:
  said = []
  for group in dict.fromkeys(groups):
    rows = [row for row, label in enumerate(groups) if label == group]
    rows.sort(key=lambda row: along[row])
    said += [
      f'loss does not fall {where.format(group)}: {value[low]:.4f} at '
      f'{labels[low]}, {value[high]:.4f} at {labels[high]}'
      for low, high in itertools.pairwise(rows)
      if value[high] >= value[low] and labels[low] != labels[high]
    ]
  return said
