"""The Chinchilla law and those that share its sum of powers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from scaling.law import Array, Law, join, parts, power, split
from scaling.projection import grid, project

_EXPONENTS = np.geomspace(0.03, 2.0, 16)
_VANISHED = 1e-4  # share of the loss below which a term is not there


class Chinchilla(Law):
  """L(N, D) = E + A / N^alpha + B / D^beta.

  Hoffmann et al. 2022, arXiv:2203.15556, section 3.3, approach 3. The published
  objective is the sum of Huber(1e-3) of log L_hat - log L. The paper seeks
  log E, log A and log B; the terms themselves have the same optimum, and one
  that vanishes is then a bound to be met, not a limit at minus infinity.
  """

  name = 'chinchilla'
  params = ('E', 'A', 'B', 'alpha', 'beta')
  inputs = ('params', 'tokens')
  magnitudes = ('A', 'B')

  def curve(self, theta_P: Array, x: Mapping[str, Array]) -> Array:
    E, A, B, alpha, beta = split(theta_P)
    return E + A * power(x['params'], -alpha) + B * power(x['tokens'], -beta)

  def bounds(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Terms up to ten times the loss at the centre, exponents .01 to 3."""
    return (
      np.array([0.0, 0.0, 0.0, 0.01, 0.01]),
      np.array([10.0, 10.0, 10.0, 3.0, 3.0]),
    )

  def candidates(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> np.ndarray:
    alpha, beta = grid(_EXPONENTS, _EXPONENTS)
    terms = sum_of_powers([x['params'], x['tokens']], [alpha, beta], y)
    return np.column_stack([terms, alpha, beta])

  def natural(self, theta_P: Array, units: Mapping[str, Any]) -> Array:
    E, A, B, alpha, beta = parts(theta_P)
    loss, n, d = (units[k] for k in ('value', 'params', 'tokens'))
    return join(E * loss, A * loss * n**alpha, B * loss * d**beta, alpha, beta)

  def scaled(self, params_P: Array, units: Mapping[str, Any]) -> Array:
    return self.natural(params_P, {k: 1 / unit for k, unit in units.items()})

  def vanished(
    self, theta_P: np.ndarray, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> list[str]:
    E, A, B, alpha, beta = theta_P
    terms = {
      'E': E / y,
      'A': A * x['params'] ** -alpha / y,
      'B': B * x['tokens'] ** -beta / y,
    }
    return [n for n, share in terms.items() if np.max(share) < _VANISHED]


class OverTraining(Law):
  """L(N, D) = E + a N^-k + b D^-k.

  Gadre et al. 2024, arXiv:2403.08540, equation 4, there in M = D / N as
  E + a N^-k + b (M N)^-k: both terms share an exponent, so that the optimal M
  is the same at every scale. The paper fits it by least squares of the loss.
  """

  name = 'over_training'
  params = ('E', 'a', 'b', 'k')
  inputs = ('params', 'tokens')
  magnitudes = ('a', 'b')

  def curve(self, theta_P: Array, x: Mapping[str, Array]) -> Array:
    E, a, b, k = split(theta_P)
    return E + a * power(x['params'], -k) + b * power(x['tokens'], -k)

  def bounds(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Terms up to ten times the loss at the centre, the exponent .01 to 3."""
    return np.array([0.0, 0.0, 0.0, 0.01]), np.array([10.0, 10.0, 10.0, 3.0])

  def candidates(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> np.ndarray:
    k = np.geomspace(0.03, 2.0, 64)
    terms = sum_of_powers([x['params'], x['tokens']], [k, k], y)
    return np.column_stack([terms, k])

  def natural(self, theta_P: Array, units: Mapping[str, Any]) -> Array:
    E, a, b, k = parts(theta_P)
    loss, n, d = (units[name] for name in ('value', 'params', 'tokens'))
    return join(E * loss, a * loss * n**k, b * loss * d**k, k)

  def scaled(self, params_P: Array, units: Mapping[str, Any]) -> Array:
    return self.natural(params_P, {k: 1 / unit for k, unit in units.items()})

  def vanished(
    self, theta_P: np.ndarray, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> list[str]:
    E, a, b, k = theta_P
    return CHINCHILLA.vanished(np.array([E, a, b, k, k]), x, y)


def sum_of_powers(
  columns: list[np.ndarray], exponents: list[np.ndarray], y: np.ndarray
) -> np.ndarray:
  """The best non-negative terms of E + sum_i t_i x_i^-e_i on a grid, [G, K].

  Dividing by the loss makes a linear residual nearly that of the logs.
  """
  powers = [
    np.exp(-e[:, None] * np.log(x))
    for x, e in zip(columns, exponents, strict=True)
  ]
  design = np.stack([np.ones_like(powers[0]), *powers], axis=-1)
  return project(design / y[:, None], np.ones_like(y))


CHINCHILLA = Chinchilla()
OVER_TRAINING = OverTraining()
