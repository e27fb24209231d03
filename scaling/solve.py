"""Minimises many small problems at once, in float64, within bounds.

The search is BFGS of optimistix, vectorised over problems. Bounds are those of
MINUIT (James and Roos 1975, Comput. Phys. Commun. 10(6)): a parameter is
lower + (upper - lower) (1 + sin u) / 2 and u is free, so that an optimum on a
bound is an ordinary minimum in u.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optimistix

from scaling.law import Law, namespace
from scaling.objective import cost, influence

MAX_STEPS = 2000  # a hundred do in sound fits; flat valleys take many
CHUNK = 8  # problems that wait for each other's end; few waste little
TOLERANCE = 1e-5  # of the gradient, relative to the sum of all pulls
_STEP = 1e-8  # relative change of value and parameters at the end
_LENGTH = 16
_MET = 1e-14  # cost of a point that the law meets to seven digits
_INSIDE = 1e-3  # share of a range that a start keeps from its bounds


class Problems(NamedTuple):
  """R problems of M points. Columns of `x` may have axes beyond [R, M]."""

  x: Mapping[str, np.ndarray]
  y: np.ndarray  # [R, M], values in the law's units
  weight: np.ndarray  # [R, M]
  delta: np.ndarray  # [R]
  quantile: np.ndarray  # [R]


class Held(NamedTuple):
  """Parameters of the paper that problems hold, and the units they are in."""

  mask: np.ndarray  # [R, P], where held
  params: np.ndarray  # [R, P]
  units: Mapping[str, np.ndarray]  # [R]


class Minima(NamedTuple):
  """What was found: one row a problem."""

  theta: np.ndarray  # [R, P]
  objective: np.ndarray  # [R]
  converged: np.ndarray  # [R]; False: do not use the row


def minimize(
  law: Law,
  space: str,
  start_RxP: np.ndarray,
  bounds: tuple[np.ndarray, np.ndarray],
  problems: Problems,
  held: Held | None = None,
) -> Minima:
  """The minimum of the objective nearest to each start.

  Derivatives are JAX's own. A problem has converged when no component of the
  gradient, for a change of u by one, exceeds 1e-5 of the sum of the points'
  pulls; so the end of a fit is the same in any unit.

  Args:
    law: gives the curve. It is compiled once for each object.
    space: of the residuals, 'log' or 'linear'.
    start_RxP: first guesses, one row a problem.
    bounds: smallest and largest parameters, [P] or [R, P].
    problems: the data.
    held: parameters of the paper that are not sought.
  """
  count = len(start_RxP)
  problems = problems._replace(
    x={name: _pad(column, 1.0) for name, column in problems.x.items()},
    y=_pad(problems.y, 1.0),
    weight=_pad(problems.weight, 0.0),
  )
  low, high = (np.broadcast_to(b, np.shape(start_RxP)) for b in bounds)
  data = (start_RxP, low, high, problems, held)
  found = []
  with jax.enable_x64(True):
    for begin in range(0, count, CHUNK):
      # The last chunk repeats its last problem: one shape, compiled once.
      rows = np.minimum(np.arange(begin, begin + CHUNK), count - 1)
      part = jax.tree.map(lambda leaf, rows=rows: np.asarray(leaf)[rows], data)
      chunk = _minimize(law, space, *part)
      found.append(jax.tree.map(np.asarray, chunk))
  theta, value, converged = (
    np.concatenate(rows)[:count] for rows in zip(*found, strict=True)
  )
  return Minima(theta, value, converged)


def residuals(
  law: Law, space: str, theta_P: Any, x: Mapping[str, Any], y: Any
) -> Any:
  """Prediction less value, or the log of one less that of the other."""
  fitted = law.curve(theta_P, x)
  if space == 'linear':
    return fitted - y
  log = namespace(fitted).log
  # The least number keeps the log finite where a step tries no term at all.
  return log(fitted + np.finfo(np.float64).tiny) - log(y)


def jacobian(
  law: Law, space: str, theta_P: np.ndarray, x: Mapping[str, Any], y: Any
) -> np.ndarray:
  """Derivatives of the residuals by theta, [M, P]."""
  with jax.enable_x64(True):
    return np.asarray(
      jax.jacfwd(lambda theta: residuals(law, space, theta, x, y))(
        jnp.asarray(theta_P)
      )
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
@functools.partial(jax.vmap, in_axes=(None, None, 0, 0, 0, 0, 0))
def _minimize(
  law: Law,
  space: str,
  start: jax.Array,
  lower: jax.Array,
  upper: jax.Array,
  data: Problems,
  held: Held | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  width = upper - lower
  # A parameter without a range stays, and its u has no effect.
  share = jnp.where(width > 0, (start - lower) / (width + (width == 0)), 0.5)
  first = jnp.arcsin(2 * jnp.clip(share, _INSIDE, 1 - _INSIDE) - 1)

  def theta_of(u: jax.Array) -> jax.Array:
    theta = lower + width * (1 + jnp.sin(u)) / 2
    if held is None:
      return theta
    params = law.natural(theta, held.units)
    params = jnp.where(held.mask, held.params, params)
    # The others stay as they are sought, and so within their bounds.
    return jnp.where(held.mask, law.scaled(params, held.units), theta)

  def value(u: jax.Array) -> jax.Array:
    off = residuals(law, space, theta_of(u), data.x, data.y)
    return jnp.sum(data.weight * cost(off, data.delta, data.quantile))

  # BFGS begins with steps of the gradient's size, so the value is to be of
  # order one.
  unit = value(first) + jnp.finfo(jnp.float64).tiny
  last = optimistix.minimise(
    lambda u, _: value(u) / unit,
    optimistix.BFGS(rtol=_STEP, atol=_STEP**2),
    first,
    max_steps=MAX_STEPS,
    throw=False,
  ).value
  end, slope = jax.value_and_grad(value)(last)
  theta = theta_of(last)
  off = residuals(law, space, theta, data.x, data.y)
  pulls = jnp.abs(influence(off, data.delta, data.quantile))
  still = jnp.all(jnp.abs(slope) <= TOLERANCE * jnp.sum(data.weight * pulls))
  # Of noise-free data all pulls vanish; a law that meets them is at its end.
  still |= end <= _MET * jnp.sum(data.weight)
  return theta, end, still & jnp.isfinite(end)


def _pad(array_RxM: np.ndarray, fill: float) -> np.ndarray:
  """Lengthens the axis of points to a multiple of 16 with `fill`.

  Each length is compiled anew, which takes seconds; padded points that weigh
  nothing let fits of about the same length share one compilation.
  """
  array_RxM = np.asarray(array_RxM, np.float64)
  missing = -array_RxM.shape[1] % _LENGTH
  widths = [(0, 0)] * array_RxM.ndim
  widths[1] = (0, missing)
  return np.pad(array_RxM, widths, constant_values=fill)
