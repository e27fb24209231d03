"""Fewer unique documents, for studies of repeated data."""

import numpy as np

from configs.errors import UserError
from data.splits import stable_hash


def nested_subset(
  lengths: np.ndarray, num_tokens: int, seed: int
) -> np.ndarray:
  """The documents that a budget of U unique tokens is spent on.

  All documents are put into one order drawn from the seed; the subset is the
  shortest prefix of it that holds at least U tokens. So the subset for a
  smaller U is a part of that for a larger one, and runs on fewer unique tokens
  differ by how much they saw, not by what (repeated data: Muennighoff et al.
  2023, arXiv:2305.16264). A document's place in the order depends on the
  seed and its number alone: more documents behind it change no two of them.

  Args:
    lengths: tokens of each document, of shape P.
    num_tokens: U; 0 is all documents.
    seed: of the order.

  Returns:
    Indices of documents, ascending, int64.

  Raises:
    UserError: U is negative, or more than the tokens there are.
  """
  if num_tokens < 0:
    raise UserError(
      f'data.unique_tokens = {num_tokens}: at least 0, which is all'
    )
  if num_tokens == 0:
    return np.arange(len(lengths), dtype=np.int64)
  sequence = np.random.SeedSequence((seed, stable_hash('subset')))
  bits_P = np.random.PCG64(sequence).random_raw(len(lengths))
  order_P = np.argsort(bits_P, kind='stable')
  ends_P = np.cumsum(lengths[order_P], dtype=np.int64)
  there_are = int(ends_P[-1]) if len(ends_P) else 0
  if num_tokens > there_are:
    raise UserError(
      f'data.unique_tokens = {num_tokens}: the text has {there_are} tokens; '
      'ask for no more, or 0 for all'
    )
  count = int(np.searchsorted(ends_P, num_tokens)) + 1
  return np.sort(order_P[:count]).astype(np.int64)
