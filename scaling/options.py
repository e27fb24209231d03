"""Runs beside the compute optimum: smaller, at equal loss, of repeated data."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from scaling.optimum import (
  FlopsPerToken,
  Surface,
  interval,
  minimize,
  optimum,
  six_n,
  size_of_rate,
  tokens_for_loss,
)

SMALLER = (1, 2, 4, 8, 16)  # how many times smaller than the optimum
EPOCHS = (1, 2, 4, 8, 16, 32, 64)
MOST_TRAINING = 10.0  # times the budget, for the optimum's loss at another size

Row = dict[str, Any]  # a run as plain data


@dataclasses.dataclass(frozen=True)
class Terms:
  """What all options of a plan have in common."""

  flops: float  # of training
  level: float  # of intervals
  inference_tokens: float | None = None  # over the life of the model
  flops_per_token: FlopsPerToken = six_n

  def inference(self, params: Any) -> Any:
    """FLOPs of a token that is generated: of training without its backward.

    2 N of 6 N (Sardana et al. 2023, arXiv:2401.00448, section 2).
    """
    return self.flops_per_token(params) / 3

  def total(self, params: Any, tokens: Any) -> Any:
    """FLOPs of training and of all inference."""
    served = self.inference_tokens or 0.0
    return (
      self.flops_per_token(params) * tokens + self.inference(params) * served
    )


def rows(
  surface: Surface,
  params_M: np.ndarray,
  tokens_M: np.ndarray,
  terms: Terms,
) -> list[Row]:
  """Runs with their forecast and FLOPs.

  The interval is one of what a single such run would measure, its noise
  included; None where the fit allows none.
  """
  measured_SxM = surface.measured(params_M, tokens_M)
  found = []
  for params, tokens, loss_S in zip(
    params_M, tokens_M, measured_SxM.T, strict=True
  ):
    row: Row = {
      'params': float(params),
      'tokens': float(tokens),
      'tokens_per_param': float(tokens / params),
      'loss': float(loss_S[0]),
      'loss_interval': interval(loss_S[1:], terms.level),
      'training_flops': float(terms.flops_per_token(params) * tokens),
    }
    if terms.inference_tokens is not None:
      row['total_flops'] = float(terms.total(params, tokens))
    found.append(row)
  return found


def same_budget(surface: Surface, best: float, terms: Terms) -> list[Row]:
  """The optimum and smaller sizes, all of the training budget spent.

  Args:
    surface: of the loss.
    best: the optimum's params.
    terms: of the plan.
  """
  params_M = best / np.array(SMALLER)
  tokens_M = terms.flops / terms.flops_per_token(params_M)
  return rows(surface, params_M, tokens_M, terms)


def same_loss(surface: Surface, best: float, terms: Terms) -> list[Row]:
  """Smaller sizes that are trained until they reach the optimum's loss.

  Sizes that cannot reach it in ten times the budget are left out. Each row
  tells the share of training FLOPs that it takes on top, and from how many
  tokens of inference on that pays. Arguments as `same_budget`.
  """
  loss = _loss_of(surface, best, terms)
  params_M = best / np.array(SMALLER[1:])
  tokens_M = tokens_for_loss(surface, loss, params_M)
  training_M = terms.flops_per_token(params_M) * tokens_M
  reached_M = training_M <= MOST_TRAINING * terms.flops
  found = rows(surface, params_M[reached_M], tokens_M[reached_M], terms)
  for row in found:
    more = row['training_flops'] - terms.flops
    saved = terms.inference(best) - terms.inference(row['params'])
    row['training_overhead'] = more / terms.flops
    row['pays_from_inference_tokens'] = float(more / saved)
  return found


def least_total(surface: Surface, best: float, terms: Terms) -> Row:
  """The size of the optimum's loss that costs least with its inference.

  argmin of 6 N D + 2 N T at L(N, D) = the optimum's loss, for T tokens of
  inference: Sardana et al. 2023, arXiv:2401.00448, section 2. `saved` is the
  share of the optimum's total.
  """
  loss = _loss_of(surface, best, terms)

  def value(log_n: np.ndarray) -> np.ndarray:
    params = np.exp(log_n)
    tokens_M = tokens_for_loss(surface, loss, params[0])
    return terms.total(params, tokens_M[None, :])

  # Inference only ever makes the best size smaller.
  log_n, _ = minimize(value, np.log(best / 1e4), np.log(best) + 0.1)
  params_M = np.exp(log_n)
  (row,) = rows(
    surface, params_M, tokens_for_loss(surface, loss, params_M), terms
  )
  whole = terms.total(best, terms.flops / terms.flops_per_token(best))
  return row | {'saved': float(1 - row['total_flops'] / whole)}


def repeated(surface: Surface, terms: Terms) -> tuple[Row | None, list[Row]]:
  """The best run of the budget on a bounded number of unique tokens.

  Args:
    surface: with its unique tokens.
    terms: of the plan.

  Returns:
    The best, None where the search finds none; and one run for each number of
    epochs that the budget has room for, all of it spent.
  """
  unique = surface.unique_tokens
  tokens_M = unique * np.array(EPOCHS)
  tokens_M = tokens_M[terms.flops_per_token(1.0) * tokens_M <= terms.flops]
  params_M = size_of_rate(terms.flops_per_token, terms.flops / tokens_M)
  menu = _with_epochs(rows(surface, params_M, tokens_M, terms), unique)
  found = optimum(surface.fitted(), terms.flops, terms.flops_per_token)
  if not found.found[0]:
    return None, menu
  best = rows(surface, found.params, found.tokens, terms)
  return _with_epochs(best, unique)[0], menu


def _loss_of(surface: Surface, best: float, terms: Terms) -> float:
  """The optimum's loss."""
  (row,) = rows(
    surface.fitted(),
    np.array([best]),
    terms.flops / terms.flops_per_token(np.array([best])),
    terms,
  )
  return row['loss']


def _with_epochs(found: Sequence[Row], unique: float) -> list[Row]:
  return [row | {'epochs': row['tokens'] / unique} for row in found]
