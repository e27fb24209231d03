"""Laws from a loss to a task's score or error."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from scaling.law import Array, Law, join, namespace, parts, split
from scaling.points import Points
from scaling.projection import grid, project


class Sigmoid(Law):
  """score(x) = a / (1 + exp(-k (x - x0))) + b, of a loss x.

  Step two of the task ladder, Bhagia et al. 2024, arXiv:2412.04403, section
  3.2. k < 0, as scores rise while losses fall; b is the floor, the score of
  chance where `fixed` gives it, and a + b the ceiling, at most 1.
  """

  name = 'sigmoid'
  params = ('a', 'k', 'x0', 'b')
  inputs = ('loss',)
  value = 'score'
  space = 'linear'
  items = True
  delta = np.inf

  def curve(self, theta_P: Array, x: Mapping[str, Array]) -> Array:
    share, k, x0, b = split(theta_P)
    # tanh cannot overflow, however far the loss.
    rise = (1 + namespace(k).tanh(k * (x['loss'] - x0) / 2)) / 2
    return share * (1 - b) * rise + b

  def bounds(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """a as a share of 1 - b; k and x0 in terms of the span of the losses."""
    span, middle = np.ptp(x['loss']), np.mean(x['loss'])
    return (
      np.array([1e-3, -50.0 / span, middle - 10 * span, 0.0]),
      np.array([1.0, -0.05 / span, middle + 10 * span, 0.999]),
    )

  def candidates(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> np.ndarray:
    """Ceilings seen and unseen, slopes, and midpoints out of reach."""
    span, middle = np.ptp(x['loss']), np.mean(x['loss'])
    share, k, x0, b = grid(
      np.array([0.3, 0.5, 0.75, 0.98]),
      -np.array([1.0, 2.0, 4.0, 8.0, 16.0]) / span,
      middle + np.linspace(-1.5, 0.5, 9) * span,
      np.array([0.02, 0.25, 0.5]),
    )
    return np.column_stack([share, k, x0, b])

  def natural(self, theta_P: Array, units: Mapping[str, Any]) -> Array:
    share, k, x0, b = parts(theta_P)
    return join(share * (1 - b), k / units['loss'], x0 * units['loss'], b)

  def scaled(self, params_P: Array, units: Mapping[str, Any]) -> Array:
    a, k, x0, b = parts(params_P)
    return join(a / (1 - b), k * units['loss'], x0 / units['loss'], b)

  def remarks(
    self,
    params: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    points: Points,
  ) -> list[str]:
    a, x0, b = (params[name] for name in ('a', 'x0', 'b'))
    said = []
    low, high = intervals.get('a', (a, a))
    if np.min(points['loss']) > x0:
      said.append(
        'the scores cover only the start of the sigmoid: its ceiling a + b is '
        'not measured'
      )
    elif high - low > 0.5 * a:
      said.append(
        f'the ceiling is open: a = {a:.3g}, interval {low:.3g} to {high:.3g}'
      )
    if np.all(np.abs(points.value - b) < 2 * points.stderr):
      said.append('no score differs from chance: nothing can be forecast')
    return said


class ExponentialError(Law):
  """error(L) = eps - k exp(-gamma L).

  Gadre et al. 2024, arXiv:2403.08540, equation 5: the error of a task, or its
  mean over tasks, from the loss; eps is the error of a model that learned
  nothing. The paper fits it by least squares.
  """

  name = 'exponential_error'
  params = ('k', 'gamma', 'eps')
  inputs = ('loss',)
  value = 'error'
  space = 'linear'
  items = True
  delta = np.inf
  magnitudes = ('k',)

  def curve(self, theta_P: Array, x: Mapping[str, Array]) -> Array:
    # The first parameter is the fall at the centre of the data, k e^-gamma.
    fall, gamma, eps = split(theta_P)
    return eps - fall * namespace(gamma).exp(-gamma * (x['loss'] - 1))

  def bounds(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Falls up to one and rates in terms of the span of the losses."""
    span = np.ptp(x['loss'])
    return np.array([0.0, 0.02 / span, 0.0]), np.array([1.0, 30.0 / span, 1.0])

  def candidates(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> np.ndarray:
    gamma = np.geomspace(0.03, 20.0, 64) / np.ptp(x['loss'])
    fall = -np.exp(-gamma[:, None] * (x['loss'] - 1))
    terms = project(np.stack([fall, np.ones_like(fall)], axis=-1), y)
    return np.column_stack([terms[:, 0], gamma, terms[:, 1]])

  def natural(self, theta_P: Array, units: Mapping[str, Any]) -> Array:
    fall, gamma, eps = parts(theta_P)
    k = fall * namespace(gamma).exp(gamma)
    return join(k, gamma / units['loss'], eps)

  def scaled(self, params_P: Array, units: Mapping[str, Any]) -> Array:
    k, gamma, eps = parts(params_P)
    gamma = gamma * units['loss']
    return join(k * namespace(gamma).exp(-gamma), gamma, eps)


SIGMOID = Sigmoid()
EXPONENTIAL_ERROR = ExponentialError()
