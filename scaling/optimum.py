"""The best size for a budget, by a fit and by each of its bootstrap draws."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from configs.errors import UserError
from scaling.fitted import Fit
from scaling.intervals import percentile
from scaling.law import Law
from scaling.laws import known_law
from scaling.noise import shifted

# As fitted by Muennighoff et al. 2023, arXiv:2305.16264: about how many
# repetitions of data, and of the parameters they call for, are worth something.
R_D_STAR = 15.387756
R_N_STAR = 5.309743

# Training FLOPs a token of models of some sizes, an array or a number.
FlopsPerToken = Callable[[Any], Any]

_SEED = 0  # of the noise of planned runs: a plan repeats exactly
_GRID = 256
_HALVINGS = 60
_STEP = 1e-3  # in log x: its square is the relative error of an optimum
_MOST = 1e30  # tokens, or parameters: more are out of reach


def six_n(params: Any) -> Any:
  """6 N training FLOPs a token (Kaplan et al. 2020, section 2.1)."""
  return 6.0 * params


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
  """The loss at any size and number of tokens.

  Rows are the law as it was fitted and then its R draws, S = 1 + R of them.

  Where unique tokens U are bounded and the law knows of none, tokens and
  parameters count as in Muennighoff et al. 2023, arXiv:2305.16264, section 3:
  D' = U + U R_D* (1 - exp(-R_D / R_D*)) with R_D = D / U - 1, and N' likewise
  with R_N* and U_N, the size for which U tokens are the optimum.
  """

  law: Law  # of params and tokens, and maybe of unique tokens
  params: np.ndarray  # [S, P]
  shift: np.ndarray  # [S], noise of one run; none in the first row
  space: str  # of the noise
  unique_tokens: float = np.inf

  def loss(self, params: Any, tokens: Any) -> np.ndarray:
    """Losses without noise, [S, M], of runs [M] or [S, M]."""
    columns = {'params': params, 'tokens': tokens}
    if 'unique_tokens' in self.law.inputs:
      columns['unique_tokens'] = np.minimum(tokens, self.unique_tokens)
    elif np.isfinite(self.unique_tokens):
      columns = {
        'params': _effective(params, self._size_Sx1, R_N_STAR),
        'tokens': _effective(tokens, self.unique_tokens, R_D_STAR),
      }
    return self.law.predict(self.params, columns)

  @functools.cached_property
  def _size_Sx1(self) -> np.ndarray:
    """U_N: along N D = constant the loss changes neither way at U tokens."""
    plain = dataclasses.replace(self, unique_tokens=np.inf)
    tokens = self.unique_tokens

    def rises(log_n_Sx1: np.ndarray) -> np.ndarray:
      up = plain.loss(np.exp(log_n_Sx1 + _STEP), tokens * np.exp(-_STEP))
      down = plain.loss(np.exp(log_n_Sx1 - _STEP), tokens * np.exp(_STEP))
      return up >= down

    low_Sx1 = np.zeros((len(self.params), 1))
    return np.exp(bisect(rises, low_Sx1, np.log(_MOST)))

  def measured(self, params_M: Any, tokens_M: Any) -> np.ndarray:
    """What the runs would measure, [S, M]: losses with noise but in row 0."""
    loss_SxM = self.loss(params_M, tokens_M)
    return shifted(self.space, loss_SxM, self.shift[:, None])

  def fitted(self) -> 'Surface':
    """The first row alone."""
    return dataclasses.replace(
      self, params=self.params[:1], shift=self.shift[:1]
    )


class Optimum(NamedTuple):
  """The least loss of a budget, one row of the surface each."""

  params: np.ndarray  # [S]
  tokens: np.ndarray  # [S]
  found: np.ndarray  # [S]; False: the loss falls up to the end of the search


def surface_of(fit: Fit, unique_tokens: float | None = None) -> Surface:
  """The surface of a fit.

  Args:
    fit: of a law of the loss.
    unique_tokens: how many there are; None is enough for any run.

  Raises:
    UserError: a law of something else than a loss by params and tokens.
  """
  law = known_law(fit.law)
  sized = {*law.inputs} - {'unique_tokens'} == {'params', 'tokens'}
  if law.value != 'loss' or not sized:
    raise UserError(
      f'{law.name} gives a {law.value} by {", ".join(law.inputs)}: '
      'a plan needs a law of the loss by params and tokens'
    )
  rng = np.random.default_rng(_SEED)
  noise_R = fit.noise * rng.standard_normal(len(fit.noise))
  return Surface(
    law,
    np.vstack([fit.params_P, fit.samples]),
    np.concatenate([[0.0], noise_R]),
    fit.space,
    np.inf if unique_tokens is None else unique_tokens,
  )


def optimum(
  surface: Surface, flops: float, flops_per_token: FlopsPerToken = six_n
) -> Optimum:
  """The size and tokens of the least loss that training FLOPs can buy.

  For L = E + A / N^alpha + B / D^beta and 6 N FLOPs a token it is N = G (C /
  6)^(beta / (alpha + beta)) with G = (alpha A / (beta B))^(1 / (alpha + beta))
  (Hoffmann et al. 2022, arXiv:2203.15556, equation 4).

  Args:
    surface: of the loss.
    flops: C, of training.
    flops_per_token: of sizes, rising with them.
  """

  def value(log_n: np.ndarray) -> np.ndarray:
    params = np.exp(log_n)
    return surface.loss(params, flops / flops_per_token(params))

  # From one parameter up to where a single token uses up the budget.
  high = size_of_rate(flops_per_token, np.array([flops]))[0]
  log_n_S, found_S = minimize(value, 0.0, np.log(high))
  params_S = np.exp(log_n_S)
  return Optimum(params_S, flops / flops_per_token(params_S), found_S)


def tokens_for_loss(
  surface: Surface, loss: float, params_M: np.ndarray
) -> np.ndarray:
  """Tokens that sizes need to reach a loss by the first row, [M].

  Infinite where no number of tokens is enough.
  """
  fitted = surface.fitted()
  log_d_M = bisect(
    lambda log_d: fitted.loss(params_M, np.exp(log_d))[0] <= loss,
    np.zeros(len(params_M)),
    np.log(_MOST),
  )
  reached_M = fitted.loss(params_M, np.full(len(params_M), _MOST))[0]
  return np.where(reached_M <= loss, np.exp(log_d_M), np.inf)


def size_of_rate(
  flops_per_token: FlopsPerToken, rate_M: np.ndarray
) -> np.ndarray:
  """The sizes that take some training FLOPs a token, [M]."""
  log_n_M = bisect(
    lambda log_n: flops_per_token(np.exp(log_n)) >= rate_M,
    np.zeros(len(rate_M)),
    # No model takes less than one FLOP a parameter and token.
    np.log(np.maximum(rate_M, 1.0)),
  )
  return np.exp(log_n_M)


def minimize(
  value: Callable[[np.ndarray], np.ndarray], low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
  """Minima of S functions at once: a grid, then halving of its best cell.

  Args:
    value: of [1, K] or [S, K] gives [S, K]. Where it is infinite, its argument
      is taken to be too small.
    low: least argument.
    high: largest.

  Returns:
    argmin, [S], and whether it lies inside the range rather than at its end.
  """
  grid_K = np.linspace(low, high, _GRID)
  best_S = np.argmin(value(grid_K[None, :]), axis=1)

  def rises(x_S: np.ndarray) -> np.ndarray:
    up_S = value(x_S[:, None] + _STEP)[:, 0]
    return np.isfinite(up_S) & (up_S >= value(x_S[:, None] - _STEP)[:, 0])

  x_S = bisect(
    rises,
    grid_K[np.maximum(best_S - 1, 0)],
    grid_K[np.minimum(best_S + 1, _GRID - 1)],
  )
  return x_S, (best_S > 0) & (best_S < _GRID - 1)


def bisect(
  holds: Callable[[np.ndarray], np.ndarray], low: Any, high: Any
) -> np.ndarray:
  """The argument from which on a condition holds, elementwise."""
  for _ in range(_HALVINGS):
    middle = (low + high) / 2
    there = holds(middle)
    low, high = np.where(there, low, middle), np.where(there, middle, high)
  return (low + high) / 2


def interval(draws_R: np.ndarray, level: float) -> list[float] | None:
  """A percentile interval; None without draws."""
  return percentile(draws_R, level).tolist() if len(draws_R) else None


def _effective(amount: Any, unique: Any, decay: float) -> np.ndarray:
  """What repeated tokens, or excess parameters, are worth.

  expm1 keeps the digits of few repetitions.
  """
  repeated = np.maximum(amount / unique - 1, 0.0)
  worth = unique - unique * decay * np.expm1(-repeated / decay)
  return np.minimum(amount, worth)
