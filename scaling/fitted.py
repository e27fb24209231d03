"""A fitted law, and its JSON."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from configs.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
  """A fitted law with all that a forecast with an interval needs.

  `samples` are bootstrap refits, columns ordered as `params`; `noise` beside
  them is the standard deviation of one new run about the law, in the log of the
  value or in the value itself (`space`). For a score it leaves out the sampling
  of items, which depends on the items of the run that is forecast. Both are
  empty where too few points allow no interval.
  """

  law: str
  params: dict[str, float]  # named as in the law's paper
  intervals: dict[str, tuple[float, float]]  # at `level`
  objective: float
  n: int  # points fitted, seeds of one rung averaged
  conventions: dict[str, str]
  warnings: tuple[str, ...]
  level: float
  space: str  # of residuals and noise: 'log' or 'linear'
  converged: bool
  condition: float  # of the scaled Jacobian; above 30: collinear
  at_bounds: tuple[str, ...]  # parameters at the edge of what is sought
  flat: tuple[str, ...]  # parameters that the data leave open on a side
  domain: dict[str, tuple[float, float]]  # smallest and largest fitted input
  samples: np.ndarray  # [R, P]
  noise: np.ndarray  # [R]
  influence: tuple[dict[str, Any], ...] = ()  # what is fitted without each run

  @property
  def params_P(self) -> np.ndarray:
    return np.asarray(list(self.params.values()))

  def to_json(self) -> str:
    """The fit as JSON, exact to the last bit, samples included."""
    tree = dataclasses.asdict(self)
    tree |= {
      'samples': self.samples.tolist(),
      'noise': self.noise.tolist(),
      # JSON has no infinity; a singular Jacobian has no number either.
      'condition': self.condition if math.isfinite(self.condition) else None,
    }
    return json.dumps(tree, allow_nan=False) + '\n'


def fit_from_json(text: str) -> Fit:
  """The fit that `Fit.to_json` wrote.

  Raises:
    UserError: text that is no such JSON.
  """
  try:
    tree: dict[str, Any] = json.loads(text)
    samples, noise = tree.pop('samples'), tree.pop('noise')
    for key in ('intervals', 'domain'):
      tree[key] = {name: (low, high) for name, (low, high) in tree[key].items()}
    tree.setdefault('influence', ())
    for key in ('warnings', 'at_bounds', 'flat', 'influence'):
      tree[key] = tuple(tree[key])
    if tree['condition'] is None:
      tree['condition'] = math.inf
    return Fit(
      **tree,
      samples=np.asarray(samples, np.float64).reshape(
        len(samples), len(tree['params'])
      ),
      noise=np.asarray(noise, np.float64),
    )
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    raise UserError(
      f'no fit ({error!r}): expected what scaling.fit --out writes'
    ) from error


def domain(columns: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
  """Smallest and largest value of each named column."""
  return {
    name: (float(np.min(column)), float(np.max(column)))
    for name, column in columns.items()
  }
