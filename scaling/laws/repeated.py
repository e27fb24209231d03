"""The law of repeated data."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import qmc

from scaling.law import Array, Law, join, namespace, parts, split
from scaling.laws.chinchilla import CHINCHILLA
from scaling.projection import project

_SMALLEST, _LARGEST = 0.1, 1000.0  # R* that is sought
# Where alpha, beta, R_D*, R_N* and A / B are guessed, 2^10 times.
_LOW = np.array([0.1, 0.1, _SMALLEST, _SMALLEST, 0.1])
_HIGH = np.array([1.2, 1.2, _LARGEST, _LARGEST, 10.0])
_GUESSES = 10
_TINY = np.finfo(np.float64).tiny  # keeps the log of no term at all finite
_ENDLESS = 30.0  # log of a repetition after which nothing is left to learn
_VANISHED = 1e-4  # share of the loss below which a term is not there


class Repeated(Law):
  """L = E + A / N'^alpha + B / D'^beta, of what is left of N and D.

  Muennighoff et al. 2023, arXiv:2305.16264, section 3.1 and appendix A. Of D
  tokens U are unique, and R_D = D / U - 1 repetitions of them are worth ever
  less, D' = U + U R_D* (1 - exp(-R_D / R_D*)). Of N parameters those that U
  tokens call for, U_N = min(N, N_opt(U)), count in full and R_N = N / U_N - 1
  times as many likewise less. Within one epoch D' is D. The published objective
  is the sum of Huber(1e-3) of log L_hat - log L.

  R_D* is sought from .1, where all repetitions are worth a tenth of an epoch,
  to 1000, where a hundred are worth nearly a hundred; R_N* likewise. Their logs
  are sought. Data of few epochs leave both open: look at `Fit.flat` and at the
  intervals. Unique tokens are in the unit of tokens.
  """

  name = 'repeated'
  params = (*CHINCHILLA.params, 'R_D_star', 'R_N_star')
  inputs = ('params', 'tokens', 'unique_tokens')
  magnitudes = CHINCHILLA.magnitudes

  def units(
    self, columns: Mapping[str, np.ndarray], value: np.ndarray
  ) -> dict[str, float]:
    """Tokens have one unit, unique or not."""
    units = super().units(columns, value)
    return units | {'unique_tokens': units['tokens']}

  def curve(self, theta_P: Array, x: Mapping[str, Array]) -> Array:
    return sum(_terms(theta_P, x))

  def bounds(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Those of the Chinchilla law, and R_D* and R_N* from .1 to 1000."""
    lower, upper = CHINCHILLA.bounds(x, y)
    return (
      np.append(lower, np.log([_SMALLEST] * 2)),
      np.append(upper, np.log([_LARGEST] * 2)),
    )

  def candidates(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> np.ndarray:
    """E and A by projection: A / B decides N_opt, and given it they are linear.

    The others fill their range evenly (Sobol 1967), not on a grid: where some
    are held, no two guesses of the rest are the same.
    """
    even = qmc.Sobol(len(_LOW), scramble=False).random_base2(_GUESSES)
    guess_GxK = _LOW * (_HIGH / _LOW) ** even
    shape = np.hstack([guess_GxK[:, :2], np.log(guess_GxK[:, 2:4])])
    ratio = guess_GxK[:, 4]
    none, one = np.zeros_like(ratio), np.ones_like(ratio)
    of_b = np.column_stack([none, ratio, one, shape])
    _, n_term, d_term = _terms(of_b, x)
    design = np.stack([np.ones_like(d_term), n_term + d_term], axis=-1)
    E, B = project(design / y[:, None], np.ones_like(y)).T
    return np.column_stack([E, B * ratio, B, shape])

  def natural(self, theta_P: Array, units: Mapping[str, Any]) -> Array:
    *_, log_star_d, log_star_n = parts(theta_P)
    exp = namespace(theta_P).exp
    first = parts(CHINCHILLA.natural(theta_P[..., :5], units))
    return join(*first, exp(log_star_d), exp(log_star_n))

  def scaled(self, params_P: Array, units: Mapping[str, Any]) -> Array:
    *_, star_d, star_n = parts(params_P)
    log = namespace(params_P).log
    first = parts(CHINCHILLA.scaled(params_P[..., :5], units))
    return join(*first, log(star_d), log(star_n))

  def vanished(
    self, theta_P: np.ndarray, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> list[str]:
    terms = zip('EAB', _terms(theta_P, x), strict=True)
    return [name for name, term in terms if np.max(term / y) < _VANISHED]


def log_optimal_params(
  A: Array, B: Array, alpha: Array, beta: Array, log_tokens: Array
) -> Array:
  """The log of N_opt, the parameters for which some tokens are just enough.

  Muennighoff et al. 2023, arXiv:2305.16264, appendix A: the least loss for
  6 N D has alpha A N^-alpha = beta B D^-beta, so that N_opt = G (G D)^(beta /
  alpha) with G = (alpha A / (beta B))^(1 / (alpha + beta)). Each side is a term
  of the loss times its exponent: this holds in any unit.
  """
  log = namespace(A).log
  level = log(alpha * A + _TINY) - log(beta * B + _TINY)
  return (level + beta * log_tokens) / alpha


def _terms(theta_P: Array, x: Mapping[str, Array]) -> tuple[Array, ...]:
  """The three terms of the loss."""
  E, A, B, alpha, beta, log_star_d, log_star_n = split(theta_P)
  space = namespace(theta_P)
  log_d, log_u = _log_seen(x)
  log_fit = log_optimal_params(A, B, alpha, beta, log_u)
  tokens = _log_worth(log_d, log_u, space.exp(log_star_d))
  params = _log_worth(space.log(x['params']), log_fit, space.exp(log_star_n))
  # With A near 0 N_opt is too, and only the term itself is within range.
  n_term = space.exp(space.log(A + _TINY) - alpha * params)
  return E, n_term, B * space.exp(-beta * tokens)


def _log_seen(x: Mapping[str, Array]) -> tuple[Array, Array]:
  """The logs of all tokens, and of those of them that are unique."""
  space = namespace(x['tokens'])
  log_d = space.log(x['tokens'])
  return log_d, space.minimum(log_d, space.log(x['unique_tokens']))


def _log_worth(log_all: Array, log_fresh: Array, star: Array) -> Array:
  """The log of what an amount is worth of which only a part is fresh.

  F + F R* (1 - exp(-R / R*)) with R = X / F - 1; X where it is no more than F.
  """
  space = namespace(star)
  # 1 - exp has no digits left where R* is far above R, and invents an optimum
  # there; expm1 has all of them.
  times = space.expm1(space.clip(log_all - log_fresh, 0.0, _ENDLESS))
  gain = -star * space.expm1(-times / star)
  return space.minimum(log_all, log_fresh) + space.log1p(gain)


REPEATED = Repeated()
