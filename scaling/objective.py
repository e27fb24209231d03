"""How far a law may lie from a point, and what that costs."""

import dataclasses
import math
from typing import Any

from configs.errors import UserError


@dataclasses.dataclass(frozen=True)
class Objective:
  """The sum over points of weight x cost(residual).

  Huber's cost, r^2 / 2 up to `delta` and delta (|r| - delta / 2) beyond it
  (Hoffmann et al. 2022, arXiv:2203.15556, equation 3, with 1e-3); infinity is
  least squares and a tiny one least absolute deviations. A `quantile` q other
  than one half multiplies the cost of a point above the law by 2q and of one
  below it by 2 (1 - q) (Koenker and Bassett 1978): with a tiny delta the law
  then has a share q of the points below it.
  """

  delta: float = math.inf
  quantile: float = 0.5

  def __post_init__(self) -> None:
    if not self.delta > 0:
      raise UserError(f'delta = {self.delta}: expected above 0')
    if not 0 < self.quantile < 1:
      raise UserError(f'quantile = {self.quantile}: expected between 0 and 1')

  def describe(self, space: str) -> str:
    """The objective in words."""
    what = {'log': 'log residuals', 'linear': 'residuals'}[space]
    cost = 'squares / 2' if math.isinf(self.delta) else f'Huber({self.delta:g})'
    if self.quantile != 0.5:
      cost += f', quantile {self.quantile:g},'
    return f'sum of {cost} of {what}'


def cost(residual: Any, delta: Any, quantile: Any) -> Any:
  """The cost of residuals, prediction less value.

  Written without a branch on delta, so that delta = inf has derivatives too.
  """
  space = residual.__array_namespace__()
  pull = space.clip(residual, -delta, delta)
  side = 2 * space.where(residual > 0, 1 - quantile, quantile)
  return side * pull * (residual - pull / 2)


def influence(residual: Any, delta: Any, quantile: Any) -> Any:
  """The derivative of `cost`, psi."""
  space = residual.__array_namespace__()
  side = 2 * space.where(residual > 0, 1 - quantile, quantile)
  return side * space.clip(residual, -delta, delta)
