"""The Chinchilla law, fitted by approach 3 of its paper.

  L(N, D) = E + A / N^alpha + B / D^beta

Hoffmann et al. 2022, arXiv:2203.15556, section 3.3: the sum over runs of
Huber_delta(log L_hat - log L). Its exact optimum is found by variable
projection (Golub and Pereyra 1973): on a grid of the two exponents, E, A and B
follow by non-negative least squares; the best few start Newton's method in all
five. N, D and L are divided by their geometric means first, so their units
change nothing. The paper seeks log E, log A and log B; the terms themselves
have the same optimum, and one that vanishes is then a bound to be met rather
than a limit at minus infinity.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scaling import newton
from scaling.law import Estimate, Refits
from scaling.points import Points

NAME = 'chinchilla'
PARAMS: tuple[str, ...] = ('E', 'A', 'B', 'alpha', 'beta')
DELTA = 1e-3  # the paper's

# Each term over the loss, at the centre of the data; the exponents.
_LOWER = np.array([0.0, 0.0, 0.0, 0.01, 0.01])
_UPPER = np.array([10.0, 10.0, 10.0, 3.0, 3.0])
_GRID = np.geomspace(0.03, 2.0, 16)
_STARTS = 6
_SMOOTH = 0.01  # a Huber delta that any start can descend from
_VANISHED = 1e-4  # share of the loss below which a term is not there


def predict(
  params_P: np.ndarray, params: np.ndarray, tokens: np.ndarray
) -> np.ndarray:
  """L(N, D); leading axes of `params_P` come first in the result."""
  E, A, B, alpha, beta = np.moveaxis(np.asarray(params_P)[..., None], -2, 0)
  return E + A * np.asarray(params) ** -alpha + B * np.asarray(tokens) ** -beta


def estimate(points: Points, delta: float = DELTA) -> Estimate:
  """The global optimum of the objective over E, A, B >= 0.

  Exponents are sought between 0.01 and 3.
  """
  frame = _frame(points)
  # Nearly least absolute deviations are reached in decades: each optimum is a
  # start for the next, whose objective is nearly flat between its kinks.
  path = [delta]
  while path[0] * 10 < _SMOOTH:
    path.insert(0, path[0] * 10)
  start = _starts(*_centred_logs(points, frame), path[0])
  for step in path:
    data = _data(points, frame, step)
    tiled = _Data(*(np.repeat(leaf, len(start), axis=0) for leaf in data))
    found = newton.minimize(_objective, start, _LOWER, _UPPER, tiled)
    start = found.x
  best = int(np.argmin(found.objective))
  return Estimate(
    _natural(found.x[best], frame),
    float(found.objective[best]),
    bool(found.converged[best]),
  )


def refit(
  points: Points,
  estimate: Estimate,
  delta: float,
  value_RxM: np.ndarray,
  weight_RxM: np.ndarray,
) -> Refits:
  """The optimum nearest to `estimate` for each row of values and weights.

  Args:
    points: M runs, whose params and tokens all rows share.
    estimate: the optimum on `points` themselves.
    delta: Huber's.
    value_RxM: losses.
    weight_RxM: how often each run counts.
  """
  frame = _frame(points)
  shared = _data(points, frame, delta)
  count = len(value_RxM)
  data = _Data(
    np.tile(shared.n, (count, 1)),
    np.tile(shared.d, (count, 1)),
    newton.pad(np.log(value_RxM) - frame.value, 0.0),
    newton.pad(np.asarray(weight_RxM, np.float64), 0.0),
    np.full(count, delta),
  )
  start = np.tile(_centred(estimate.params, frame), (count, 1))
  found = newton.minimize(_objective, start, _LOWER, _UPPER, data)
  return Refits(_natural(found.x, frame), found.objective, found.converged)


def bounds_met(params_P: np.ndarray, points: Points) -> list[str]:
  """Which terms vanish and which exponents end at the edge of the search."""
  E, A, B, alpha, beta = params_P
  terms = {
    'E': E / points.value,
    'A': A * points.params**-alpha / points.value,
    'B': B * points.tokens**-beta / points.value,
  }
  met = [
    f'{name} -> 0: the data do not need this term'
    for name, share in terms.items()
    if np.max(share) < _VANISHED
  ]
  return met + [
    f'{name} = {value:.3g} is at the edge of what is sought'
    for name, value in (('alpha', alpha), ('beta', beta))
    if not _LOWER[3] * 1.001 < value < _UPPER[3] * 0.999
  ]


class _Frame(NamedTuple):
  """The centre of the data, in logs."""

  params: float
  tokens: float
  value: float


class _Data(NamedTuple):
  """Centred logs of params, tokens and losses; weights; Huber's delta."""

  n: np.ndarray
  d: np.ndarray
  y: np.ndarray
  weight: np.ndarray
  delta: np.ndarray


def _frame(points: Points) -> _Frame:
  return _Frame(
    *(
      float(np.mean(np.log(column)))
      for column in (points.params, points.tokens, points.value)
    )
  )


def _centred_logs(
  points: Points, frame: _Frame
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Logs of params, tokens and losses about the centre."""
  return (
    np.log(points.params) - frame.params,
    np.log(points.tokens) - frame.tokens,
    np.log(points.value) - frame.value,
  )


def _data(points: Points, frame: _Frame, delta: float) -> _Data:
  """The points as one problem: a leading axis of one, padded."""
  n, d, y = (
    newton.pad(column, 0.0)[None] for column in _centred_logs(points, frame)
  )
  weight = newton.pad(np.ones(len(points)), 0.0)[None]
  return _Data(n, d, y, weight, np.full(1, delta))


def _natural(x_P: np.ndarray, frame: _Frame) -> np.ndarray:
  """Terms at the centre and exponents -> (E, A, B, alpha, beta)."""
  E, A, B, alpha, beta = np.moveaxis(x_P, -1, 0)
  terms = np.stack(
    [E, A * np.exp(alpha * frame.params), B * np.exp(beta * frame.tokens)]
  )
  return np.stack([*terms * np.exp(frame.value), alpha, beta], axis=-1)


def _centred(params_P: np.ndarray, frame: _Frame) -> np.ndarray:
  """Undoes `_natural`."""
  E, A, B, alpha, beta = params_P
  terms = np.array(
    [E, A * np.exp(-alpha * frame.params), B * np.exp(-beta * frame.tokens)]
  )
  return np.array([*terms * np.exp(-frame.value), alpha, beta])


def _objective(x_P: jax.Array, data: _Data) -> tuple[jax.Array, jax.Array]:
  """The weighted sum of Huber losses, and a scale for its gradient."""
  E, A, B, alpha, beta = x_P
  terms = E + A * jnp.exp(-alpha * data.n) + B * jnp.exp(-beta * data.d)
  # The tiny constant keeps the log finite where a step tries no term at all.
  residual = jnp.log(terms + jnp.finfo(float).tiny) - data.y
  # Written without a branch, so that delta = inf has derivatives too.
  pull = jnp.clip(residual, -data.delta, data.delta)
  value = jnp.sum(data.weight * pull * (residual - pull / 2))
  # The small constant lets noise-free data, whose pulls all vanish, converge.
  scale = jnp.sum(data.weight * (jnp.abs(pull) + 1e-9))
  return value, jax.lax.stop_gradient(scale)


def _starts(
  n_M: np.ndarray, d_M: np.ndarray, y_M: np.ndarray, delta: float
) -> np.ndarray:
  """The best local minima of the projected objective on the grid, KxP."""
  alpha_G, beta_G = map(np.ravel, np.meshgrid(_GRID, _GRID, indexing='ij'))
  columns_GxMx3 = np.stack(
    [
      np.ones((len(alpha_G), len(n_M))),
      np.exp(-alpha_G[:, None] * n_M),
      np.exp(-beta_G[:, None] * d_M),
    ],
    axis=-1,
  )
  # Dividing by the loss makes a linear residual nearly that of the logs.
  scaled = columns_GxMx3 / np.exp(y_M)[:, None]
  terms_Gx3 = _non_negative(scaled)
  fitted_GxM = np.einsum('gmt,gt->gm', columns_GxMx3, terms_Gx3)
  residual = np.log(fitted_GxM) - y_M
  pull = np.clip(residual, -delta, delta)
  value_G = np.sum(pull * (residual - pull / 2), axis=1)
  best = np.argsort(value_G)[:_STARTS]
  return np.column_stack([terms_Gx3[best], alpha_G[best], beta_G[best]])


def _non_negative(columns_GxMx3: np.ndarray) -> np.ndarray:
  """argmin over t >= 0 of |columns @ t - 1|, exactly, by trying each support.

  With three columns there are seven supports; among the solutions that are
  non-negative, the least residual is the optimum.
  """
  gram = np.einsum('gmi,gmj->gij', columns_GxMx3, columns_GxMx3)
  target = np.sum(columns_GxMx3, axis=1)
  best = np.zeros_like(target)
  least = np.zeros(len(target))
  for support in itertools.product([0.0, 1.0], repeat=3):
    keep = np.array(support)
    # Columns outside the support become unit vectors with a zero target.
    system = gram * np.outer(keep, keep) + np.diag(1 - keep)
    solved = np.linalg.solve(system, (target * keep)[..., None])[..., 0]
    gain = np.sum(solved * target, axis=1)  # |1|^2 less the squared residual
    better = np.all(solved >= 0, axis=1) & (gain > least)
    best[better], least[better] = solved[better], gain[better]
  return best
