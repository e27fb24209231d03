"""Loss on held-out text, with its standard error."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from data.batch import Batch
from evals.scores import Score, exponential, ratio
from model.transformer import Transformer
from train.heldout import padded_token_bytes
from train.losses import check_inputs, token_nats
from train.mesh.sharding import on_mesh, put_batch
from train.pretrained import Pretrained

_KEPT = ('tokens', 'targets', 'segment_ids', 'weights')


def evaluate(
  pretrained: Pretrained,
  batches: Iterable[Batch],
  batch_size: int,
  whole: bool = False,
) -> dict[str, Score]:
  """`loss` (nats a token), `bits_per_byte` and `perplexity` = exp(loss).

  The values are those of `train.heldout.heldout_loss`. The tokens of a document
  are not independent, so the standard errors are those of ratios over
  documents, nats by tokens and bits by bytes, and n is the number of documents
  with a weighted target. A target belongs to the document of its place: a
  separator to the one that it ends.

  Args:
    pretrained: the model, of any of the three shapes of a transformer.
    batches: of held-out text, this process's rows.
    batch_size: rows over all processes.
    whole: the batches are one stream from its start, each row going on where
      the one before ended, and a document is what follows a separator. If not,
      what a row holds of a segment counts as one.

  Raises:
    UserError: fewer than two documents, or a model that gives no logits of such
      batches' targets.
  """
  token_bytes_V = padded_token_bytes(
    pretrained.tokenizer, pretrained.config.model.vocab_size
  )
  measure = _measure(
    pretrained.model, pretrained.mesh, pretrained.config.train.loss_chunks
  )
  by_document = [np.zeros((1, 3))]
  for batch in batches:
    check_inputs(pretrained.config.model, batch)
    found = measure(
      pretrained.params, put_batch(batch, pretrained.mesh, batch_size)
    )
    rows = {key: np.asarray(value) for key, value in found.items()}
    # Padding can look like a separator, whose id may be 0.
    real = rows['weights'] > 0
    if whole:
      separator = pretrained.tokenizer.separator_id
      starts_T = rows['tokens'][real] == separator
    else:
      starts_T = _segment_starts(rows['segment_ids'], real)
    weight_T = rows['weights'][real]
    bytes_T = token_bytes_V[rows['targets'][real]]
    columns = rows['nats'][real] * weight_T, weight_T, bytes_T * weight_T
    sums = _sums_by_document(starts_T, columns)
    by_document[-1][-1] += sums[0]
    if len(sums) > 1:
      by_document.append(sums[1:])
  nats, tokens, num_bytes = np.concatenate(by_document)[1:].T
  loss = ratio(nats, tokens)
  scores = {'loss': loss}
  if num_bytes.any():
    scores['bits_per_byte'] = ratio(nats / math.log(2), num_bytes)
  return scores | {'perplexity': exponential(loss)}


def _segment_starts(
  segment_ids_BxL: np.ndarray, real_BxL: np.ndarray
) -> np.ndarray:
  """Which of the T real places are the first ones of a segment of a row."""
  row_T, _ = np.nonzero(real_BxL)
  segment_T = segment_ids_BxL[real_BxL]
  return (np.diff(row_T, prepend=-1) != 0) | (
    np.diff(segment_T, prepend=-1) != 0
  )


def _sums_by_document(
  starts_T: np.ndarray, columns: Iterable[np.ndarray]
) -> np.ndarray:
  """Column sums of each document; the first is what goes on from before."""
  document_T = np.cumsum(starts_T)
  return np.stack(
    [
      np.bincount(document_T, column_T.astype(np.float64), minlength=1)
      for column_T in columns
    ],
    axis=-1,
  )


@functools.lru_cache(maxsize=16)
def _measure(
  model: Transformer, mesh: Mesh, chunks: int
) -> Callable[..., dict[str, jax.Array]]:
  """(params, batch) to all rows of a batch with `nats`, the same everywhere."""
  compiled = jax.jit(
    functools.partial(_with_nats, model=model, chunks=chunks),
    out_shardings=NamedSharding(mesh, PartitionSpec()),
  )
  return on_mesh(compiled, mesh)


def _with_nats(
  params: Any,
  batch: Mapping[str, jax.Array],
  *,
  model: Transformer,
  chunks: int,
) -> dict[str, jax.Array]:
  """What is needed of a batch, and -log p(target) as `nats`, all [B, L]."""
  kept = {key: batch[key] for key in _KEPT}
  # Rows may be of another length than those of the training.
  chunks = math.gcd(chunks, batch['targets'].shape[1])
  return {**kept, 'nats': token_nats(params, batch, model, chunks)}
