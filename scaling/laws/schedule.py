"""The loss along a run, from its schedule of learning rates."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from configs.errors import UserError
from scaling import trust
from scaling.estimate import Problem, estimate
from scaling.fitted import Fit, domain
from scaling.law import Array, Law, join, namespace, parts, power, split
from scaling.objective import Objective
from scaling.points import Points
from scaling.projection import grid, project

_PIECES = 128  # of a schedule in a fit; the loss is then off by some 1e-4
_SHARED = 32  # pieces by whose multiples fits share one compilation
_KEPT = 16  # first guesses, of those on a grid
_ROUNDING = 1e-12  # of the highest rate: a smaller change is none
_CHUNK = 32  # points that are evaluated exactly at a time, to save memory


class Curve(NamedTuple):
  """One training run: its schedule, and its loss at some of the steps."""

  rate_T: np.ndarray  # learning rate of every step; the first is step 0
  step_M: np.ndarray  # where the loss was measured
  loss_M: np.ndarray


class MultiPower(Law):
  """L(t) = L0 + A S1^-alpha + B sum_k (eta_k - eta_k-1) G(eta_k^-gamma S_k).

  The multi-power law, Luo et al. 2025, arXiv:2503.12811, with G(x) = 1 - (1 +
  C x)^-beta, S1 the sum of the rates up to step t and S_k that from step k to
  t. The sum runs over every change up to t, the rises of the warm-up too. The
  objective is Huber(1e-3) of log residuals, as in the paper.

  Its inputs come from `pieces`: `rate_sum` is S1 [M]; `change`, `rate` and
  `since` are eta_k - eta_k-1, eta_k and S_k, [M, K], for each of K pieces of
  the schedule. Rates are in units of the highest, sums in those of their
  geometric mean, and log C is sought.
  """

  name = 'multi_power'
  params = ('L0', 'A', 'B', 'C', 'alpha', 'beta', 'gamma')
  inputs = ('rate_sum', 'change', 'rate', 'since')
  magnitudes = ('A', 'B', 'C')

  def units(
    self, columns: Mapping[str, np.ndarray], value: np.ndarray
  ) -> dict[str, float]:
    """Changes have signs, and pieces to come are 0: no geometric mean."""
    rate = float(np.max(columns['rate']))
    total, loss = (
      float(np.exp(np.mean(np.log(c)))) for c in (columns['rate_sum'], value)
    )
    return {
      'rate_sum': total,
      'change': rate,
      'rate': rate,
      'since': total,
      'value': loss,
    }

  def curve(self, theta_P: Array, x: Mapping[str, Array]) -> Array:
    L0, A, B, log_C, alpha, beta, gamma = split(theta_P)
    annealed = _annealed(log_C, beta, gamma, x)
    return L0 + A * power(x['rate_sum'], -alpha) + B * annealed

  def bounds(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Terms up to ten times the loss, C over nine decades, exponents to 3."""
    return (
      np.array([0.0, 0.0, 0.0, np.log(1e-3), 0.01, 0.01, 0.0]),
      np.array([1.0, 10.0, 10.0, np.log(1e6), 3.0, 3.0, 3.0]),
    )

  def candidates(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> np.ndarray:
    """L0, A and B by projection on a grid of the others; the best few."""
    log_C, beta, gamma = grid(
      np.log([3.0, 30.0, 300.0, 3000.0]),
      np.array([0.2, 0.5, 1.2]),
      np.array([0.0, 0.4, 0.8]),
    )
    annealed_JxM = _annealed(log_C[:, None], beta[:, None], gamma[:, None], x)
    alpha, which = grid(np.geomspace(0.1, 1.5, 10), np.arange(len(log_C)))
    which = which.astype(int)
    falls = power(x['rate_sum'], -alpha[:, None])
    design = np.stack(
      [np.ones_like(falls), falls, annealed_JxM[which]], axis=-1
    )
    design /= y[:, None]
    terms = project(design, np.ones_like(y))
    off_GxM = np.einsum('gmk,gk->gm', design, terms) - 1
    best = np.argsort(np.sum(off_GxM**2, axis=1))[:_KEPT]
    shape = np.column_stack([log_C[which], alpha, beta[which], gamma[which]])
    return np.column_stack([terms, shape])[best]

  def natural(self, theta_P: Array, units: Mapping[str, Any]) -> Array:
    L0, A, B, log_C, alpha, beta, gamma = parts(theta_P)
    loss, total, rate = (units[k] for k in ('value', 'rate_sum', 'rate'))
    C = namespace(theta_P).exp(log_C) * rate**gamma / total
    return join(
      L0 * loss, A * loss * total**alpha, B * loss / rate, C, alpha, beta, gamma
    )

  def scaled(self, params_P: Array, units: Mapping[str, Any]) -> Array:
    L0, A, B, C, alpha, beta, gamma = parts(params_P)
    loss, total, rate = (units[k] for k in ('value', 'rate_sum', 'rate'))
    log_C = namespace(params_P).log(C * total / rate**gamma)
    return join(
      L0 / loss,
      A / loss / total**alpha,
      B / loss * rate,
      log_C,
      alpha,
      beta,
      gamma,
    )


def fit_schedule(curves: Sequence[Curve]) -> Fit:
  """Fits the multi-power law to runs of one model under several schedules.

  Rate changes are grouped into pieces; `schedule_loss` predicts without.
  There are no intervals: losses along a run are not independent, and resampling
  them as if they were would give far too narrow ones.

  Raises:
    UserError: a step outside its schedule or before any rate above 0, lengths
      that differ, a rate below 0, a loss that is not above 0, or fewer losses
      than parameters.
  """
  for row, curve in enumerate(curves, start=1):
    _check(f'curve {row}', curve)
  law = MULTI_POWER
  count = sum(len(curve.loss_M) for curve in curves)
  if count < len(law.params):
    raise UserError(
      f'{count} losses for the {len(law.params)} parameters of {law.name}'
    )
  points = _points(curves)
  problem = Problem(
    law, points, Objective(law.delta), law.space, np.ones(len(points)), {}
  )
  found = estimate(problem)
  edges = trust.at_bounds(problem, found)
  said = [*edges.values()]
  if not found.converged:
    said.append('the fit did not converge: its parameters are not an optimum')
  return Fit(
    law=law.name,
    params=dict(zip(law.params, found.params.tolist(), strict=True)),
    intervals={},
    objective=found.objective,
    n=len(points),
    conventions={
      'value': 'loss',
      'objective': problem.objective.describe(law.space),
      'bootstrap': 'none: losses along a run are not independent',
    },
    warnings=tuple(said),
    level=0.9,
    space=law.space,
    converged=found.converged,
    condition=trust.condition(problem, found),
    at_bounds=tuple(edges),
    flat=(),
    domain=domain({'rate_sum': points['rate_sum']}),
    samples=np.empty((0, len(law.params))),
    noise=np.empty(0),
  )


def schedule_loss(
  params_P: np.ndarray, rate_T: np.ndarray, step_M: np.ndarray
) -> np.ndarray:
  """The loss at steps of a schedule, by the sum over all of its changes, [M].

  Args:
    params_P: of the multi-power law, as `Fit.params_P`.
    rate_T: learning rate of every step; the first is step 0.
    step_M: where the loss is wanted.

  Raises:
    UserError: a step outside the schedule or before any rate above 0, or a rate
      below 0.
  """
  _check('schedule', Curve(rate_T, step_M, np.ones(len(step_M))))
  every_T = np.arange(len(rate_T))
  chunks = np.split(step_M, range(_CHUNK, len(step_M), _CHUNK))
  return np.concatenate(
    [
      MULTI_POWER.predict(params_P, pieces(rate_T, steps, every_T))
      for steps in chunks
    ]
  )


def pieces(
  rate_T: np.ndarray, step_M: np.ndarray, edge_K: np.ndarray
) -> dict[str, np.ndarray]:
  """The inputs of the law from a schedule, of K - 1 pieces.

  A piece holds the changes at the steps k with edge_i < k <= edge_i+1. It
  stands for one change, their sum, at the rate and the place that are theirs on
  average, weighted by their size; at a step within it, for those up to there.

  Args:
    rate_T: learning rate of every step.
    step_M: where the law is wanted.
    edge_K: rising steps from 0 to T - 1; with all steps the law is exact.
  """
  rate_T, step_M = np.asarray(rate_T, np.float64), np.asarray(step_M, int)
  total_T = np.cumsum(rate_T)
  change_T = np.diff(rate_T, prepend=rate_T[0])
  moments = np.stack(
    [change_T, change_T * rate_T, change_T * (total_T - rate_T)]
  )
  until_MxK = np.minimum(edge_K, step_M[:, None])
  change, rate, before = np.diff(
    np.cumsum(moments, axis=1)[:, until_MxK], axis=-1
  )
  highest = np.max(rate_T)
  there = np.abs(change) > _ROUNDING * highest
  size = np.where(there, change, 1.0)
  now_M = total_T[step_M]
  return {
    'rate_sum': now_M,
    'change': np.where(there, change, 0.0),
    # A rate of 0 has no negative power: the least one stands for it.
    'rate': np.where(
      there, np.maximum(rate / size, _ROUNDING * highest), highest
    ),
    'since': np.where(there, np.maximum(now_M[:, None] - before / size, 0), 0),
  }


def piece_edges(rate_T: np.ndarray, count: int) -> np.ndarray:
  """Edges of pieces whose changes have one sign and are about of one size.

  Args:
    rate_T: learning rate of every step.
    count: into how many pieces all changes are divided; where the rate turns,
      stops or starts there is one more edge.
  """
  change_T = np.diff(rate_T, prepend=rate_T[0])
  change_T = np.where(
    np.abs(change_T) > _ROUNDING * np.max(rate_T), change_T, 0.0
  )
  path_T = np.cumsum(np.abs(change_T))
  share_T = np.ceil(path_T / max(path_T[-1], 1e-300) * count)
  new = (np.diff(share_T) > 0) | (np.diff(np.sign(change_T)) != 0)
  return np.unique([0, *np.flatnonzero(new), len(rate_T) - 1])


def _annealed(
  log_C: Array, beta: Array, gamma: Array, x: Mapping[str, Array]
) -> Array:
  """The sum over changes of each one's size and the share that is felt, [M]."""
  space = namespace(beta)
  log_C, beta, gamma = (p[..., None] for p in (log_C, beta, gamma))
  felt = space.exp(log_C) * power(x['rate'], -gamma) * x['since']
  share = -space.expm1(-beta * space.log1p(felt))
  return space.sum(x['change'] * share, axis=-1)


def _points(curves: Sequence[Curve]) -> Points:
  """All losses, each with the pieces of its own schedule."""
  edges = [piece_edges(curve.rate_T, _PIECES) for curve in curves]
  width = 1 + -(-max(len(e) for e in edges) // _SHARED) * _SHARED
  columns = [
    pieces(
      curve.rate_T,
      curve.step_M,
      np.pad(edge, (0, width - len(edge)), mode='edge'),
    )
    for curve, edge in zip(curves, edges, strict=True)
  ]
  loss = np.concatenate([curve.loss_M for curve in curves]).astype(np.float64)
  zero = np.zeros(len(loss))
  return Points(
    {
      name: np.concatenate([column[name] for column in columns])
      for name in MULTI_POWER.inputs
    },
    loss,
    stderr=zero,
    seed=zero,
    size=('',) * len(loss),
    conventions={'value': 'loss'},
  )


def _check(name: str, curve: Curve) -> None:
  rate_T, step_M, loss_M = (np.asarray(array) for array in curve)
  if not 0 < len(step_M) == len(loss_M):
    raise UserError(f'{name}: {len(step_M)} steps and {len(loss_M)} losses')
  if not np.all(np.isfinite(rate_T) & (rate_T >= 0)):
    raise UserError(f'{name}: expected rates that are finite and not below 0')
  first, last = np.min(step_M), np.max(step_M)
  if np.any(step_M % 1) or first < 0 or last >= len(rate_T):
    raise UserError(
      f'{name}: steps {first} to {last}: expected whole numbers from 0 to '
      f'{len(rate_T) - 1}, the last of the schedule'
    )
  if not np.any(rate_T[: int(first) + 1]):
    raise UserError(f'{name}: a loss at step {first}, before any rate above 0')
  if not np.all(np.isfinite(loss_M) & (loss_M > 0)):
    raise UserError(f'{name}: expected losses that are finite and above 0')


MULTI_POWER = MultiPower()
