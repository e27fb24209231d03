"""What every law of one curve shares: its form, and how it changes units."""

import abc
from collections.abc import Mapping
from typing import Any

import numpy as np

from scaling.points import Points

# A NumPy array, or a JAX array under a transformation.
Array = Any
HUBER = 1e-3  # the published delta of laws of loss, on log residuals


class Law(abc.ABC):
  """A parametric curve through points, value = f(inputs).

  A law is fitted in units of the data: each input and the value are divided by
  a typical size, `units`. So nobody's choice of units matters, and parameters
  that are sought, theta, are of order one. `natural` turns them into those of
  the law's paper, in the units of the user.

  Attributes:
    name: of the law.
    params: names as in the paper, in the order of every array of them.
    inputs: names of the columns it is a function of.
    value: what it is a law of.
    space: 'log' takes residuals of the log of the value, 'linear' of itself.
    items: whether the value is a score whose standard error, from the items it
      was measured on, is its weight.
    delta: Huber's, of the objective that is the law's by default.
    magnitudes: parameters that even good fits know by their order only.
  """

  name: str
  params: tuple[str, ...]
  inputs: tuple[str, ...]
  value: str = 'loss'
  space: str = 'log'
  items: bool = False
  delta: float = HUBER
  magnitudes: tuple[str, ...] = ()

  @abc.abstractmethod
  def curve(self, theta_P: Array, x: Mapping[str, Array]) -> Array:
    """The value at scaled inputs [M]; leading axes of `theta_P` are kept.

    Written for NumPy and JAX alike.
    """

  @abc.abstractmethod
  def bounds(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and largest theta that is sought."""

  @abc.abstractmethod
  def candidates(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> np.ndarray:
    """First guesses of theta from scaled inputs and values, [G, P]."""

  @abc.abstractmethod
  def natural(self, theta_P: Array, units: Mapping[str, Any]) -> Array:
    """The paper's parameters; leading axes are kept."""

  @abc.abstractmethod
  def scaled(self, params_P: Array, units: Mapping[str, Any]) -> Array:
    """Undoes `natural`."""

  def vanished(
    self, theta_P: np.ndarray, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> list[str]:
    """Parameters that belong to a term which is not there."""
    del theta_P, x, y
    return []

  def remarks(
    self,
    params: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    points: Points,
  ) -> list[str]:
    """What the law's own users should know of a fit, as lines of text."""
    del params, intervals, points
    return []

  def units(
    self, columns: Mapping[str, np.ndarray], value: np.ndarray
  ) -> dict[str, float]:
    """A typical size of every input and of the value: geometric means.

    A score is a share already.
    """
    sized = {name: columns[name] for name in self.inputs}
    sized |= {'value': np.ones(1) if self.items else value}
    return {
      name: float(np.exp(np.mean(np.log(column))))
      for name, column in sized.items()
    }

  def predict(
    self, params_P: np.ndarray, columns: Mapping[str, Any]
  ) -> np.ndarray:
    """The value at inputs in the user's units.

    Args:
      params_P: of the paper; leading axes come first in the result.
      columns: every input of the law, each of shape [M].
    """
    x = {
      name: np.atleast_1d(np.asarray(columns[name], np.float64))
      for name in self.inputs
    }
    units = dict.fromkeys([*self.inputs, 'value'], 1.0)
    theta_P = self.scaled(np.asarray(params_P, np.float64), units)
    return np.asarray(self.curve(theta_P, x))


def parts(theta_P: Array) -> Array:
  """The parameters one by one: the last axis comes first."""
  return namespace(theta_P).moveaxis(theta_P, -1, 0)


def split(theta_P: Array) -> Array:
  """As `parts`, each with an axis for points behind it."""
  return parts(theta_P[..., None, :])


def join(*each: Any) -> Array:
  """Undoes `parts`."""
  space = namespace(each[-1])
  return space.stack(space.broadcast_arrays(*each), axis=-1)


def namespace(array: Array) -> Any:
  """numpy or jax.numpy, whichever made the array."""
  return array.__array_namespace__()


def power(x: Array, exponent: Array) -> Array:
  """x^exponent of positive x: the log of data is taken once in a fit."""
  space = namespace(exponent)
  return space.exp(exponent * space.log(x))
