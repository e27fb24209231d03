"""Minimises many small smooth problems at once, in float64, within bounds."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MAX_STEPS = 2000  # ten do in sound fits; flat valleys with kinks take many
_LENGTH = 16
CHUNK = 8  # problems that wait for each other's end; few waste little
TOLERANCE = 1e-7  # of the gradient, relative to the objective's own scale

# (parameters_P, one problem's data) -> (objective, scale of its gradient)
Objective = Callable[..., tuple[jax.Array, jax.Array]]


class Minima(NamedTuple):
  """What was found: one row a problem."""

  x: np.ndarray  # [R, P]
  objective: np.ndarray  # [R]
  converged: np.ndarray  # [R]; False: do not use the row


class _State(NamedTuple):
  """The best point so far with its derivatives, and the point to try next."""

  x: jax.Array
  value: jax.Array
  gradient: jax.Array
  hessian: jax.Array
  scale: jax.Array
  trial: jax.Array
  damping: jax.Array
  converged: jax.Array
  steps: jax.Array


def pad(array_xM: np.ndarray, fill: float) -> np.ndarray:
  """Lengthens the last axis to a multiple of 16 with `fill`.

  Each length is compiled anew, which takes seconds; padded data that weigh
  nothing let fits of about the same length share one compilation.
  """
  missing = -array_xM.shape[-1] % _LENGTH
  widths = [(0, 0)] * (array_xM.ndim - 1) + [(0, missing)]
  return np.pad(array_xM, widths, constant_values=fill)


def minimize(
  objective: Objective,
  start_RxP: np.ndarray,
  lower_P: np.ndarray,
  upper_P: np.ndarray,
  data: Any,
) -> Minima:
  """Damped Newton steps on every problem until each gradient vanishes.

  Derivatives are JAX's own. Negative curvature is turned around (the
  saddle-free step of Dauphin et al., arXiv:1406.2572) and a parameter that its
  bound holds back is left out of the step (Bertsekas 1982, SIAM J. Control
  Optim. 20(2)). A problem has converged when every free component of the
  gradient is below 1e-7 of the scale that `objective` returns beside its value;
  that scale makes the end of a fit the same in any unit.

  Args:
    objective: a pure function of one problem's parameters and data. It is
      compiled once: pass the same function object every time.
    start_RxP: first guesses, one row a problem.
    lower_P: smallest parameters.
    upper_P: largest parameters.
    data: a tree of arrays whose leading axis counts the problems.
  """
  start_RxP = np.clip(start_RxP, lower_P, upper_P)
  count = len(start_RxP)
  found = []
  with jax.enable_x64(True):
    for begin in range(0, count, CHUNK):
      # The last chunk repeats its last problem: one shape, compiled once.
      rows = np.minimum(np.arange(begin, begin + CHUNK), count - 1)
      part = jax.tree.map(lambda leaf, rows=rows: np.asarray(leaf)[rows], data)
      chunk = _minimize(objective, start_RxP[rows], lower_P, upper_P, part)
      found.append(jax.tree.map(np.asarray, chunk))
  x, value, converged = (
    np.concatenate(parts)[:count] for parts in zip(*found, strict=True)
  )
  return Minima(x, value, converged)


@functools.partial(jax.jit, static_argnums=0)
def _minimize(
  objective: Objective,
  start_RxP: jax.Array,
  lower_P: jax.Array,
  upper_P: jax.Array,
  data: Any,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  count, width = start_RxP.shape
  zero_R = jnp.zeros(count)
  start = _State(
    x=start_RxP,
    value=jnp.full(count, jnp.inf),
    gradient=jnp.zeros((count, width)),
    hessian=jnp.zeros((count, width, width)),
    scale=zero_R,
    trial=start_RxP,
    damping=jnp.full(count, 5e-3),
    converged=zero_R > 0,
    steps=zero_R,
  )
  step = jax.vmap(functools.partial(_step, objective, lower_P, upper_P))
  end = jax.lax.while_loop(
    lambda state: jnp.any(~state.converged & (state.steps < MAX_STEPS)),
    lambda state: step(state, data),
    start,
  )
  return end.x, end.value, end.converged


def _step(
  objective: Objective,
  lower: jax.Array,
  upper: jax.Array,
  state: _State,
  data: Any,
) -> _State:
  """Keeps the trial point if it is no worse, and finds the next to try."""
  (value, scale), gradient = jax.value_and_grad(objective, has_aux=True)(
    state.trial, data
  )
  hessian, _ = jax.hessian(objective, has_aux=True)(state.trial, data)
  # Near the end a good step changes the value by rounding alone.
  better = value <= state.value * (1 + 1e-14)
  damping = jnp.where(better, state.damping / 5, state.damping * 4)
  tried = state._replace(
    x=state.trial, value=value, gradient=gradient, hessian=hessian, scale=scale
  )
  best = jax.tree.map(
    lambda new, old: jnp.where(better & ~state.converged, new, old),
    tried,
    state,
  )
  trial, largest = _next(best, lower, upper, damping)
  converged = jnp.isfinite(best.value) & (largest <= TOLERANCE * best.scale)
  return best._replace(
    trial=trial,
    damping=jnp.clip(damping, 1e-15, 1e12),
    converged=converged,
    steps=state.steps + 1,
  )


def _next(
  best: _State, lower: jax.Array, upper: jax.Array, damping: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The next point to try, and the largest component of the free gradient."""
  held = (best.x <= lower) & (best.gradient > 0)
  held |= (best.x >= upper) & (best.gradient < 0)
  gradient = jnp.where(held, 0.0, best.gradient)
  # Marquardt's scaling: a unit diagonal, so that damping treats all alike.
  unit = jnp.sqrt(jnp.abs(jnp.diagonal(best.hessian))) + 1e-12 * best.scale
  unit += jnp.finfo(float).tiny
  scaled = best.hessian / unit[:, None] / unit[None, :]
  free = ~held[:, None] & ~held[None, :]
  curvature, axes = jnp.linalg.eigh(jnp.where(free, scaled, 0.0))
  curvature = jnp.abs(curvature) + damping
  move = -axes @ ((axes.T @ (gradient / unit)) / curvature) / unit
  trial = jnp.clip(best.x + jnp.where(held, 0.0, move), lower, upper)
  return trial, jnp.max(jnp.abs(gradient))
