"""Power laws that break: curves along one axis."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from configs.errors import UserError
from scaling.law import Array, Law, join, namespace, parts, split
from scaling.projection import project

_SLOPES = (40, 6, 4)  # tried for each slope, by the number of breaks
_PLACES = (0, 6, 5)  # where a break is tried, by the number of breaks
_WIDTHS = (0.03, 0.15)  # tried, as shares of the span of log x
_VANISHED = 1e-4  # share of the value, or change of slope, that is none


class Broken(Law):
  """y = a + b x^-c0 prod_i (1 + (x / d_i)^(1 / f_i))^(-c_i f_i).

  The broken neural scaling law, Caballero et al. 2022, arXiv:2210.14891,
  equation 1, by least squares of the log as in the paper; without a break it is
  a power law with an offset. In log x the slope of log(y - a) is -c0 at first
  and falls by c_i about d_i, over a width of f_i.

  Sought are the slopes one after another, c0, c0 + c1, ..., the logs of d_i and
  f_i, a, and in place of b the size of y - a at the centre of the data: b is
  the first of the power laws drawn on to x = 1, where nothing was measured.
  """

  delta = np.inf

  def __init__(self, breaks: int, x: str = 'tokens') -> None:
    """A law with that many breaks, 0 to 2, in a column `x`.

    Raises:
      UserError: another number of breaks.
    """
    if breaks not in range(len(_SLOPES)):
      raise UserError(f'breaks = {breaks}: choose from 0 to {len(_SLOPES) - 1}')
    each = [(f'c{i}', f'd{i}', f'f{i}') for i in range(1, breaks + 1)]
    self.breaks = breaks
    self.name = f'broken_{breaks}'
    self.inputs = (x,)
    self.params = ('a', 'b', 'c0', *itertools.chain.from_iterable(each))
    self.magnitudes = ('b', *(d for _, d, _ in each))

  def curve(self, theta_P: Array, x: Mapping[str, Array]) -> Array:
    a, size, slope, *rest = split(theta_P)
    space = namespace(theta_P)
    log_x = space.log(space.asarray(x[self.inputs[0]]))
    fall = -slope * log_x
    for after, log_d, log_f in _triples(rest):
      f = space.exp(log_f)
      bend = _bend(log_x, log_d, f) - _bend(0.0, log_d, f)
      fall = fall - (after - slope) * bend
      slope = after
    return a + size * space.exp(fall)

  def bounds(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """A break has two points on either side; the last slope does not rise.

    A curve may rise for a while, as in double descent, but one that rose at
    the end would be forecast to rise without limit.
    """
    log_x = np.sort(np.log(x[self.inputs[0]]))
    span = log_x[-1] - log_x[0]
    slopes = [-1.0] * self.breaks + [0.0]
    if not self.breaks:
      slopes = [0.01]  # a power of 0 is an offset
    lower, upper = [0.0, 0.0, slopes[0]], [10.0, 10.0, 3.0]
    for slope in slopes[1:]:
      lower += [slope, log_x[1], np.log(0.02 * span)]
      upper += [3.0, log_x[-2], np.log(0.5 * span)]
    return np.array(lower), np.array(upper)

  def candidates(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> np.ndarray:
    """The best shape for each choice of places: minima differ by these."""
    log_x = np.log(x[self.inputs[0]])
    low, span = np.min(log_x), np.ptp(log_x)
    slopes = np.geomspace(0.02, 2.0, _SLOPES[self.breaks])
    places = np.linspace(low, low + span, _PLACES[self.breaks] + 2)[1:-1]
    widths = np.log(np.multiply(_WIDTHS, span))
    return np.array(
      [
        self._best(_shapes(slopes, at, widths), x, y)
        for at in itertools.combinations(places, self.breaks)
      ]
    )

  def _best(
    self, shape_GxQ: np.ndarray, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> np.ndarray:
    """The best of some shapes, with its a and size by projection, [P]."""
    count = len(shape_GxQ)
    unit = np.column_stack([np.zeros(count), np.ones(count), shape_GxQ])
    fall = self.curve(unit, x)
    # Divided by the value, a linear residual is nearly that of the logs.
    design = np.stack([np.ones_like(fall), fall], axis=-1) / y[:, None]
    terms = project(design, np.ones_like(y))
    off_GxM = np.einsum('gmk,gk->gm', design, terms) - 1
    row = np.argmin(np.sum(off_GxM**2, axis=1))
    return np.concatenate([terms[row], shape_GxQ[row]])

  def natural(self, theta_P: Array, units: Mapping[str, Any]) -> Array:
    a, size, slope, *rest = parts(theta_P)
    space = namespace(theta_P)
    value, unit = (units[k] for k in ('value', self.inputs[0]))
    named = [slope]
    log_b = slope * space.log(space.asarray(unit))
    for after, log_d, log_f in _triples(rest):
      f = space.exp(log_f)
      log_b = log_b + (after - slope) * _bend(0.0, log_d, f)
      named += [after - slope, space.exp(log_d) * unit, f]
      slope = after
    return join(a * value, size * value * space.exp(log_b), *named)

  def scaled(self, params_P: Array, units: Mapping[str, Any]) -> Array:
    a, b, slope, *rest = parts(params_P)
    space = namespace(params_P)
    value, unit = (units[k] for k in ('value', self.inputs[0]))
    theta = [slope]
    log_b = slope * space.log(space.asarray(unit))
    for c, d, f in _triples(rest):
      log_d = space.log(d / unit)
      log_b = log_b + c * _bend(0.0, log_d, f)
      slope = slope + c
      theta += [slope, log_d, space.log(f)]
    return join(a / value, b / value * space.exp(-log_b), *theta)

  def vanished(
    self, theta_P: np.ndarray, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> list[str]:
    a, _, first, *rest = theta_P
    shares = {'a': a / y, 'b': 1 - a / self.curve(theta_P, x)}
    slopes = [first, *rest[::3]]
    shares |= {
      f'c{i}': np.abs(c) for i, c in enumerate(np.diff(slopes), start=1)
    }
    return [n for n, share in shares.items() if np.max(share) < _VANISHED]


def _shapes(
  slopes: np.ndarray, places: tuple[float, ...], widths: np.ndarray
) -> np.ndarray:
  """Every choice of slopes and of one width, for breaks at places, [G, Q]."""
  return np.array(
    [
      (
        first,
        *(v for s, p in zip(after, places, strict=True) for v in (s, p, w)),
      )
      for first, *after in itertools.product(slopes, repeat=len(places) + 1)
      for w in widths
    ]
  )


def _bend(log_x: Array, log_d: Array, f: Array) -> Array:
  """log(x / d) well above a break and 0 well below it, at any distance."""
  return f * namespace(f).logaddexp(0.0, (log_x - log_d) / f)


def _triples(rest: list[Array]) -> list[tuple[Array, Array, Array]]:
  """Three parameters a break."""
  return list(zip(rest[::3], rest[1::3], rest[2::3], strict=True))


BROKEN = tuple(Broken(breaks) for breaks in range(len(_SLOPES)))
