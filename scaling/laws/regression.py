"""Laws that are linear in logs, and what two of them are fitted to."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from configs.errors import UserError
from scaling.law import Array, Law, join, namespace, parts, split
from scaling.table import from_columns

NEAR = 0.0025  # above a cell's least loss, as a share of it; Li et al. 2025
LOW_DATA = 0.1  # share of D(N) up to which the transfer law was seen to hold
_ENOUGH = 0.01  # what the loss at D(N) lacks of that of endless data
_LOG_TOKENS = 200.0  # beyond any count of tokens, in any unit
_HALVINGS = 64  # of twice that, to the last bit


class LogLinear(Law):
  """value = k prod_i x_i^a_i, fitted as log value = log k + sum_i a_i log x_i.

  Least squares of the logs, whose optimum is the linear regression. Instances:

  *Transfer*, D_T = k D_F^alpha N^beta: the tokens from scratch that
  pre-training is worth to N parameters finetuned on D_F tokens (Hernandez et
  al. 2021, arXiv:2102.01293, equation 1.1). See `effective_tokens`.

  *Step law*, the best learning rate k N^a D^b and the best batch of k D^b
  tokens (Li et al. 2025, arXiv:2503.04715; N without embeddings). See
  `best_of_sweep`.
  """

  delta = np.inf
  magnitudes = ('k',)

  def __init__(
    self, name: str, value: str, exponents: Mapping[str, str]
  ) -> None:
    """Args: name of the law and its value; the exponent of each input."""
    self.name = name
    self.value = value
    self.inputs = tuple(exponents)
    self.params = ('k', *exponents.values())

  def curve(self, theta_P: Array, x: Mapping[str, Array]) -> Array:
    log_value, *exponents = split(theta_P)
    space = namespace(theta_P)
    for name, exponent in zip(self.inputs, exponents, strict=True):
      log_value = log_value + exponent * space.log(x[name])
    return space.exp(log_value)

  def bounds(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Exponents and the log of the value at the centre of the data, -5 to 5."""
    return np.full(len(self.params), -5.0), np.full(len(self.params), 5.0)

  def candidates(
    self, x: Mapping[str, np.ndarray], y: np.ndarray
  ) -> np.ndarray:
    logs = [np.log(x[name]) for name in self.inputs]
    design = np.column_stack([np.ones_like(y), *logs])
    return np.linalg.lstsq(design, np.log(y), rcond=None)[0][None]

  def natural(self, theta_P: Array, units: Mapping[str, Any]) -> Array:
    log_k, *exponents = parts(theta_P)
    k = units['value'] * namespace(theta_P).exp(log_k)
    return join(k / self._unit(exponents, units), *exponents)

  def scaled(self, params_P: Array, units: Mapping[str, Any]) -> Array:
    k, *exponents = parts(params_P)
    k = k * self._unit(exponents, units) / units['value']
    return join(namespace(params_P).log(k), *exponents)

  def _unit(self, exponents: Sequence[Array], units: Mapping[str, Any]) -> Any:
    unit: Any = 1.0
    for name, exponent in zip(self.inputs, exponents, strict=True):
      unit = unit * units[name] ** exponent
    return unit


class Effective(NamedTuple):
  """Data in terms of training from scratch, arrays of shape [M]."""

  tokens: np.ndarray  # D_E, that reach the loss from scratch
  transferred: np.ndarray  # D_T = D_E - D_F, what pre-training is worth
  low_data: np.ndarray  # whether D_F is small enough for the transfer law


def effective_tokens(
  scratch: Law,
  scratch_params_P: np.ndarray,
  *,
  params: np.ndarray,
  finetune_tokens: np.ndarray,
  loss: np.ndarray,
) -> Effective:
  """The effective data of finetuned models: a law from scratch inverted.

  Hernandez et al. 2021, arXiv:2102.01293, section 2: D_E is how many tokens the
  same model, trained from scratch on finetuning data, would need for the loss.
  The law of transfer holds where D_F is at most a tenth of D(N), the data from
  which the model learns nearly all: there its loss is within 1% of that of
  endless data. Other rows are marked, not dropped.

  Args:
    scratch: a law of the loss in params and tokens, or in tokens alone, whose
      loss has a limit in tokens.
    scratch_params_P: of that law, fitted to runs from scratch.
    params: N of each finetuned model, [M].
    finetune_tokens: D_F, [M], in the unit of the law's tokens.
    loss: on the finetuning data, [M].

  Raises:
    UserError: a loss that no amount of data reaches from scratch.
  """
  params, finetune_tokens, loss = (
    np.asarray(column, np.float64) for column in (params, finetune_tokens, loss)
  )

  def loss_at(log_tokens: np.ndarray) -> np.ndarray:
    columns = {'params': params, 'tokens': np.exp(log_tokens)}
    return scratch.predict(scratch_params_P, columns)

  least = loss_at(np.full_like(loss, _LOG_TOKENS))
  for row in np.flatnonzero(loss <= least).tolist():
    raise UserError(
      f'row {row + 1}: loss = {loss[row]:.4g}: from scratch {scratch.name} '
      f'stays above {least[row]:.4g} with any number of tokens'
    )

  def tokens_at(target: np.ndarray) -> np.ndarray:
    low, high = (np.full_like(loss, e) for e in (-_LOG_TOKENS, _LOG_TOKENS))
    for _ in range(_HALVINGS):
      middle = (low + high) / 2
      above = loss_at(middle) > target
      low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.exp((low + high) / 2)

  tokens = tokens_at(loss)
  limit = LOW_DATA * tokens_at(least / (1 - _ENOUGH))
  return Effective(tokens, tokens - finetune_tokens, finetune_tokens <= limit)


def near_optimal(
  params: np.ndarray, tokens: np.ndarray, loss: np.ndarray
) -> np.ndarray:
  """Whether a run is within 0.25% of the least loss of its cell, [M].

  A cell is all runs of one (params, tokens); so near its optimum losses differ
  by less than runs do, and Li et al. 2025, arXiv:2503.04715, count all of them
  as optimal.
  """
  near = np.zeros(len(loss), bool)
  for n, d in {*zip(params, tokens, strict=True)}:
    cell = (params == n) & (tokens == d)
    near |= cell & (loss <= (1 + NEAR) * np.min(loss[cell]))
  return near


def best_of_sweep(columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """The best learning rate and batch of each cell of a sweep.

  The optimum is the geometric mean of all runs within 0.25% of the least loss
  of their (params, tokens): the single best run is chosen by noise. An optimum
  at the edge of what was swept is none, and is not detected.

  Args:
    columns: params, tokens, learning_rate, batch_tokens and loss, a run a row.

  Returns:
    The same columns, a cell a row in the order of params and tokens, and
    `runs`, over how many the mean was taken; `loss` is the least.

  Raises:
    UserError: a column missing, or numbers that are not above 0.
  """
  names = ('params', 'tokens', 'learning_rate', 'batch_tokens')
  points = from_columns(columns, names)
  near = near_optimal(points['params'], points['tokens'], points.value)
  kept = points.take(near)
  cells, which = np.unique(
    np.column_stack([kept['params'], kept['tokens']]),
    axis=0,
    return_inverse=True,
  )
  runs = np.bincount(which)
  means = {
    name: np.exp(np.bincount(which, np.log(kept[name])) / runs)
    for name in ('learning_rate', 'batch_tokens')
  }
  least = np.full(len(cells), np.inf)
  np.minimum.at(least, which, kept.value)
  n, d = cells.T
  return {'params': n, 'tokens': d, **means, 'loss': least, 'runs': runs}


TRANSFER = LogLinear(
  'transfer',
  'transferred_tokens',
  {'finetune_tokens': 'alpha', 'params': 'beta'},
)
STEP_LEARNING_RATE = LogLinear(
  'step_learning_rate', 'learning_rate', {'params': 'a', 'tokens': 'b'}
)
STEP_BATCH = LogLinear('step_batch', 'batch_tokens', {'tokens': 'b'})
