"""The law of mixtures of experts."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from scaling.law import Array, Law, join, namespace, parts, split
from scaling.projection import grid

# log10 of E_start, and of how much larger E_max is.
_STARTS = np.linspace(-0.3, 1.2, 16)
_RANGES = np.linspace(0.3, 4.7, 23)


class MixtureOfExperts(Law):
  """log L = a log N + b log E^ + c log N log E^ + d, N that of the dense model.

  Clark et al. 2022, arXiv:2202.01169, equation 1; all logs are to the base 10,
  as in the paper's table 3. E experts count as E^ of them, `saturated`. Fitted
  by least squares of the log of the loss.

  A unit of N is a summand of log N and so changes b and d; experts have no
  unit. a, b, c and d are linear, and of any sign, given E_start and E_max, of
  which the logs of E_start and of E_max / E_start are sought.
  """

  name = 'moe'
  params = ('a', 'b', 'c', 'd', 'E_start', 'E_max')
  inputs = ('params', 'experts')
  delta = np.inf
  magnitudes = ('E_start', 'E_max')

  def units(
    self, columns: Mapping[str, np.ndarray], value: np.ndarray
  ) -> dict[str, float]:
    """Experts are counted."""
    return super().units(columns, value) | {'experts': 1.0}

  def curve(self, theta_P: Array, x: Mapping[str, Array]) -> Array:
    a, b, c, d, log_start, log_range = split(theta_P)
    space = namespace(theta_P)
    log_n = space.log10(x['params'])
    start = 10**log_start
    log_e = space.log10(saturated(x['experts'], start, start * 10**log_range))
    return 10 ** (a * log_n + b * log_e + c * log_n * log_e + d)

  def bounds(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients -3 to 3, E_start .3 to 30, E_max to 10^5 times that."""
    return (
      np.array([-3.0, -3.0, -3.0, -3.0, -0.5, 0.1]),
      np.array([3.0, 3.0, 3.0, 3.0, 1.5, 5.0]),
    )

  def candidates(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> np.ndarray:
    log_start, log_range = grid(_STARTS, _RANGES)
    start = 10 ** log_start[:, None]
    log_e = np.log10(
      saturated(x['experts'], start, start * 10 ** log_range[:, None])
    )
    log_n = np.broadcast_to(np.log10(x['params']), log_e.shape)
    design = np.stack([log_n, log_e, log_n * log_e, np.ones_like(log_e)], -1)
    linear = np.linalg.pinv(design) @ np.log10(y)
    return np.column_stack([linear, log_start, log_range])

  def natural(self, theta_P: Array, units: Mapping[str, Any]) -> Array:
    *linear, log_start, log_range = parts(theta_P)
    start = 10**log_start
    return join(*_moved(linear, units, 1), start, start * 10**log_range)

  def scaled(self, params_P: Array, units: Mapping[str, Any]) -> Array:
    *linear, start, end = parts(params_P)
    log10 = namespace(params_P).log10
    return join(*_moved(linear, units, -1), log10(start), log10(end / start))


def saturated(experts: Array, start: Array, end: Array) -> Array:
  """E^: 1 / E^ = 1 / (E - 1 + 1 / (1 / E_start - 1 / E_max)) + 1 / E_max.

  Clark et al. 2022, arXiv:2202.01169, equation 1: E_start for one expert, E_max
  for endlessly many.
  """
  return 1 / (1 / (experts - 1 + 1 / (1 / start - 1 / end)) + 1 / end)


def _moved(
  linear: list[Array], units: Mapping[str, Any], sign: int
) -> tuple[Array, ...]:
  """a, b, c and d with log N less the log of its unit, or with it again."""
  a, b, c, d = linear
  log10 = namespace(a).log10
  loss, n = (sign * log10(1.0 * units[name]) for name in ('value', 'params'))
  return a, b - c * n, c, d - a * n + loss


MOE = MixtureOfExperts()
