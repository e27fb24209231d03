"""Laws from a training budget straight to a task's score.

Krajewski et al. 2025, arXiv:2512.08894: the log of the accuracy follows a power
law, -log Q(C) = A C^-alpha at a fixed ratio of tokens to parameters, and
-log Q(N, D) = A N^-alpha + B D^-beta across them. Q is the accuracy normalised
for chance b, (score - b) / (1 - b).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from scaling.law import Array, Law, join, namespace, parts, power, split
from scaling.projection import grid, project

_RATES = np.geomspace(0.02, 1.5, 12)
_FLOORS = np.array([0.0, 0.25, 0.5])
_LEAST = 1e-3  # a normalised score whose log is still a number


class Direct(Law):
  """score = b + (1 - b) exp(-sum_i A_i x_i^-e_i) over its inputs.

  Krajewski et al. 2025, arXiv:2512.08894, equations 1 and 2. Fitted by the
  squares of the score itself, weighted by the items it was measured on: near
  chance the log of a score is mostly noise.
  """

  value = 'score'
  space = 'linear'
  items = True
  delta = np.inf

  def __init__(self, name: str, terms: Mapping[str, tuple[str, str]]) -> None:
    """Args: name of the law; coefficient and exponent of each input."""
    self.name = name
    self.inputs = tuple(terms)
    self.magnitudes = tuple(coefficient for coefficient, _ in terms.values())
    exponents = tuple(exponent for _, exponent in terms.values())
    self.params = (*self.magnitudes, *exponents, 'b')

  def curve(self, theta_P: Array, x: Mapping[str, Array]) -> Array:
    *terms, b = split(theta_P)
    half = len(terms) // 2
    total = sum(
      term * power(x[name], -exponent)
      for name, term, exponent in zip(
        self.inputs, terms[:half], terms[half:], strict=True
      )
    )
    return b + (1 - b) * namespace(b).exp(-total)

  def bounds(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Terms up to twenty at the centre of the data, exponents .01 to 3."""
    count = len(self.inputs)
    return (
      np.array([0.0] * count + [0.01] * count + [0.0]),
      np.array([20.0] * count + [3.0] * count + [0.999]),
    )

  def candidates(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> np.ndarray:
    *rates, b = grid(*[_RATES] * len(self.inputs), _FLOORS)
    share = (y - b[:, None]) / (1 - b[:, None])
    target = -np.log(np.clip(share, _LEAST, 1 - _LEAST))
    columns = [
      np.exp(-rate[:, None] * np.log(x[name]))
      for name, rate in zip(self.inputs, rates, strict=True)
    ]
    terms = project(np.stack(columns, axis=-1), target)
    return np.column_stack([terms, *rates, b])

  def natural(self, theta_P: Array, units: Mapping[str, Any]) -> Array:
    *terms, b = parts(theta_P)
    half = len(terms) // 2
    moved = [
      term * units[name] ** exponent
      for name, term, exponent in zip(
        self.inputs, terms[:half], terms[half:], strict=True
      )
    ]
    return join(*moved, *terms[half:], b)

  def scaled(self, params_P: Array, units: Mapping[str, Any]) -> Array:
    return self.natural(params_P, {k: 1 / unit for k, unit in units.items()})


DIRECT = Direct('direct', {'params': ('A', 'alpha'), 'tokens': ('B', 'beta')})
DIRECT_COMPUTE = Direct('direct_compute', {'flops': ('A', 'alpha')})
