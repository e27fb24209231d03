"""The power laws of Kaplan, with and without an irreducible loss."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from scaling.law import Array, Law, join, namespace, parts, power, split
from scaling.projection import grid, project

_EXPONENTS = np.geomspace(0.02, 2.0, 64)
_COARSE = np.geomspace(0.03, 1.5, 16)
_OFFSETS = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 0.95])  # of the least loss
_TINY = np.finfo(np.float64).tiny  # keeps the log of no term at all finite
_VANISHED = 1e-4  # share of the loss below which a term is not there


class KaplanPower(Law):
  """L(X) = (X_c / X)^alpha_X of one input X, and E + (X_c / X)^alpha_X.

  Kaplan et al. 2020, arXiv:2001.08361, equations 1.1 to 1.3: N counts no
  embeddings, and C is that of the best N. With the offset E it is equation 1.1
  of Henighan et al. 2020, arXiv:2010.14701.

  X_c is where the term is one, far beyond any data: 1e14 parameters at
  alpha_N = .076. Sought is the term at the centre of the data instead.
  """

  def __init__(self, name: str, x: str, letter: str, *, offset: bool) -> None:
    """Args: name of the law; the input's column and letter; whether E is."""
    self.name = name
    self.inputs = (x,)
    self.magnitudes = (f'{letter}_c',)
    self.params = (*['E'] * offset, f'{letter}_c', f'alpha_{letter}')

  def curve(self, theta_P: Array, x: Mapping[str, Array]) -> Array:
    *offset, term, alpha = split(theta_P)
    return sum(offset) + term * power(x[self.inputs[0]], -alpha)

  def bounds(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Terms up to ten times the loss at the centre, the exponent .01 to 3."""
    terms = len(self.params) - 1
    return np.array([0.0] * terms + [0.01]), np.array([10.0] * terms + [3.0])

  def candidates(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> np.ndarray:
    log_x = np.log(x[self.inputs[0]])
    if len(self.params) == 2:  # a line in the logs
      slope, level = np.polyfit(log_x, np.log(y), 1)
      return np.array([[np.exp(level), -slope]])
    powers = np.exp(-_EXPONENTS[:, None] * log_x)
    design = np.stack([np.ones_like(powers), powers], axis=-1) / y[:, None]
    return np.column_stack([project(design, np.ones_like(y)), _EXPONENTS])

  def natural(self, theta_P: Array, units: Mapping[str, Any]) -> Array:
    *offset, term, alpha = parts(theta_P)
    loss, unit = units['value'], units[self.inputs[0]]
    constant = unit * (term * loss) ** (1 / alpha)
    return join(*(E * loss for E in offset), constant, alpha)

  def scaled(self, params_P: Array, units: Mapping[str, Any]) -> Array:
    *offset, constant, alpha = parts(params_P)
    loss, unit = units['value'], units[self.inputs[0]]
    term = (constant / unit) ** alpha / loss
    return join(*(E / loss for E in offset), term, alpha)

  def vanished(
    self, theta_P: np.ndarray, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> list[str]:
    return _idle(self, self.params[:-1], theta_P, x, y)


class Kaplan(Law):
  """L(N, D) = E + ((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D.

  Kaplan et al. 2020, arXiv:2001.08361, equation 1.5, without E. With E its
  parameters are called E, A, B, alpha and beta here, as those of other laws
  with an offset: L = E + ((A / N)^(alpha / beta) + B / D)^beta.

  It is the norm of order 1 / alpha_D of the two laws (N_c / N)^alpha_N and
  (D_c / D)^alpha_D, of which the larger nearly is the loss; sought is the value
  of each at the centre of the data.
  """

  inputs = ('params', 'tokens')

  def __init__(self, name: str, params: tuple[str, ...]) -> None:
    """Args: name; constants and exponents of N and D, after E if it is."""
    self.name = name
    self.params = params
    self.magnitudes = params[-4:-2]

  def curve(self, theta_P: Array, x: Mapping[str, Array]) -> Array:
    *offset, n_term, d_term, alpha, beta = split(theta_P)
    space = namespace(theta_P)
    # Powers of 1 / beta are out of range where their logs are not.
    log_n = space.log(n_term + _TINY) - alpha * space.log(x['params'])
    log_d = space.log(d_term + _TINY) - beta * space.log(x['tokens'])
    norm = space.exp(beta * space.logaddexp(log_n / beta, log_d / beta))
    return sum(offset) + norm

  def bounds(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Terms up to ten times the loss at the centre, exponents .01 to 3."""
    terms = len(self.params) - 2
    return (
      np.array([0.0] * terms + [0.01, 0.01]),
      np.array([10.0] * terms + [3.0, 3.0]),
    )

  def candidates(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> np.ndarray:
    """(L - E)^(1 / beta) is linear in powers of the terms, by projection."""
    offsets = _OFFSETS * np.min(y) if len(self.params) == 5 else np.zeros(1)
    E, alpha, beta = grid(offsets, _COARSE, _COARSE)
    log_n, log_d = np.log(x['params']), np.log(x['tokens'])
    rest = y - E[:, None]
    logs = np.stack(
      [-(alpha / beta)[:, None] * log_n, np.broadcast_to(-log_d, rest.shape)],
      axis=-1,
    )
    logs -= np.log(rest)[..., None] / beta[:, None, None]
    # Each column is divided by its largest entry, whose log alone is in range.
    largest = np.max(logs, axis=1, keepdims=True)
    # A residual of L relative to it is one of L - E times (L - E) / L.
    design = np.exp(logs - largest) * (rest / y)[..., None]
    solved = project(design, rest / y)
    log_terms = (np.log(solved + _TINY) - largest[:, 0]) * beta[:, None]
    # Beyond e^3 they are clipped to the bounds anyway.
    terms = np.exp(np.minimum(log_terms, 3.0))
    theta = np.column_stack([E, terms, alpha, beta])[:, -len(self.params) :]
    # The best of each alpha_D: where a term is nearly idle there are many local
    # optima, and those of alike guesses are the same.
    off_GxM = np.log(self.curve(theta, x) / y)
    theta = theta[np.argsort(np.sum(off_GxM**2, axis=1))]
    _, best = np.unique(theta[:, -1], return_index=True)
    return theta[best]

  def natural(self, theta_P: Array, units: Mapping[str, Any]) -> Array:
    *offset, n_term, d_term, alpha, beta = parts(theta_P)
    loss, n, d = (units[k] for k in ('value', 'params', 'tokens'))
    return join(
      *(E * loss for E in offset),
      n * (n_term * loss) ** (1 / alpha),
      d * (d_term * loss) ** (1 / beta),
      alpha,
      beta,
    )

  def scaled(self, params_P: Array, units: Mapping[str, Any]) -> Array:
    *offset, n_constant, d_constant, alpha, beta = parts(params_P)
    loss, n, d = (units[k] for k in ('value', 'params', 'tokens'))
    return join(
      *(E / loss for E in offset),
      (n_constant / n) ** alpha / loss,
      (d_constant / d) ** beta / loss,
      alpha,
      beta,
    )

  def vanished(
    self, theta_P: np.ndarray, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> list[str]:
    return _idle(self, self.params[:-2], theta_P, x, y)


def _idle(
  law: Law,
  terms: tuple[str, ...],
  theta_P: np.ndarray,
  x: Mapping[str, np.ndarray],
  y: np.ndarray,
) -> list[str]:
  """The first parameters, those of terms that the curve can do without.

  In a norm a term may be idle long before it is small.
  """
  less_KxP = np.where(np.eye(len(terms), len(theta_P)) > 0, 0.0, theta_P)
  share_KxM = (law.curve(theta_P, x) - law.curve(less_KxP, x)) / y
  idle_K = np.max(share_KxM, axis=1) < _VANISHED
  return [name for name, idle in zip(terms, idle_K, strict=True) if idle]


KAPLAN_PARAMS = KaplanPower('kaplan_params', 'params', 'N', offset=False)
KAPLAN_TOKENS = KaplanPower('kaplan_tokens', 'tokens', 'D', offset=False)
KAPLAN_COMPUTE = KaplanPower('kaplan_compute', 'flops', 'C', offset=False)
KAPLAN_PARAMS_OFFSET = KaplanPower(
  'kaplan_params_offset', 'params', 'N', offset=True
)
KAPLAN_TOKENS_OFFSET = KaplanPower(
  'kaplan_tokens_offset', 'tokens', 'D', offset=True
)
KAPLAN_COMPUTE_OFFSET = KaplanPower(
  'kaplan_compute_offset', 'flops', 'C', offset=True
)
KAPLAN = Kaplan('kaplan', ('N_c', 'D_c', 'alpha_N', 'alpha_D'))
KAPLAN_OFFSET = Kaplan('kaplan_offset', ('E', 'A', 'B', 'alpha', 'beta'))
