"""Loss on held-out text, with its standard error."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from data.pipeline import Batch
from evals.scores import Score, exponential, ratio
from model.transformer import Decoder
from train.heldout import padded_token_bytes
from train.pretrained import Pretrained
from train.sharding import on_mesh, put_batch
from train.step import token_nats


def evaluate(
  pretrained: Pretrained,
  batches: Iterable[Batch],
  batch_size: int,
  whole: bool = True,
) -> dict[str, Score]:
  """`loss` (nats a token), `bits_per_byte` and `perplexity` = exp(loss).

  The values are those of `train.heldout.heldout_loss`. The tokens of a document
  are not independent, so the standard errors are those of ratios over
  documents, nats by tokens and bits by bytes, and n is the number of documents.
  A target belongs to the document of the token that predicts it.

  Args:
    pretrained: the model.
    batches: of `data.pipeline.eval_batches`, this process's rows.
    batch_size: rows over all processes.
    whole: each row goes on where the one before ended. If not, what a row holds
      of a document counts as one.

  Raises:
    UserError: fewer than two documents.
  """
  token_bytes_V = padded_token_bytes(
    pretrained.tokenizer, pretrained.config.model.vocab_size
  )
  measure = _measure(pretrained.model, pretrained.mesh)
  by_document = [np.zeros((1, 3))]
  for batch in batches:
    found = measure(
      pretrained.params, put_batch(batch, pretrained.mesh, batch_size)
    )
    rows = {key: np.asarray(value) for key, value in found.items()}
    real = rows['weights'] > 0
    # Padding can look like a separator, whose id may be 0.
    starts = (rows['tokens'] == pretrained.tokenizer.separator_id) & real
    starts[:, 0] |= real[:, 0] & (not whole)
    columns = rows['nats'], rows['weights'], token_bytes_V[rows['targets']]
    sums = _sums_by_document(starts[real], [c[real] for c in columns])
    by_document[-1][-1] += sums[0]
    if len(sums) > 1:
      by_document.append(sums[1:])
  nats, tokens, num_bytes = np.concatenate(by_document)[1:].T
  loss = ratio(nats, tokens)
  return {
    'loss': loss,
    'bits_per_byte': ratio(nats / math.log(2), num_bytes),
    'perplexity': exponential(loss),
  }


def _sums_by_document(
  starts_T: np.ndarray, columns: Iterable[np.ndarray]
) -> np.ndarray:
  """Column sums of each document; the first is what goes on from before."""
  document_T = np.cumsum(starts_T)
  return np.stack(
    [
      np.bincount(document_T, column_T.astype(np.float64))
      for column_T in columns
    ],
    axis=-1,
  )


@functools.lru_cache(maxsize=16)
def _measure(model: Decoder, mesh: Mesh) -> Callable[..., dict[str, jax.Array]]:
  """(params, batch) to all rows of a batch with `nats`, the same everywhere."""
  compiled = jax.jit(
    functools.partial(_with_nats, model=model),
    out_shardings=NamedSharding(mesh, PartitionSpec()),
  )
  return on_mesh(compiled, mesh)


def _with_nats(
  params: Any, batch: Mapping[str, jax.Array], *, model: Decoder
) -> dict[str, jax.Array]:
  """What is needed of a batch, and -log p(target) as `nats`, all [B, L]."""
  kept = {key: batch[key] for key in ('tokens', 'targets', 'weights')}
  return {**kept, 'nats': token_nats(params, batch, model)}
