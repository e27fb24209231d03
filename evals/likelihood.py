"""How likely a model finds texts: log p(continuation | context)."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from configs.errors import UserError
from data.best_fit import best_fit
from data.tokenizer import Tokenizer
from model.transformer import Decoder
from train.mesh.sharding import batch_ways, local_rows, on_mesh, put_batch
from train.pretrained import Pretrained, check_decoder

_BATCH_TOKENS = 4096  # in a batch, padding included
_BATCH_LOGITS = 2**26  # in a batch; 256 MB of float32
_MULTIPLE = 16  # of padded lengths, so that few shapes are compiled


@dataclasses.dataclass(frozen=True)
class Request:
  """A text of which the end is scored.

  Attributes:
    tokens: what a text begins with, the context, the continuation.
    num_scored: of the continuation, which are the last of `tokens`.
  """

  tokens: np.ndarray
  num_scored: int


def log_likelihoods(
  pretrained: Pretrained,
  pairs: Sequence[tuple[str, str]],
  show_progress: bool = True,
) -> np.ndarray:
  """log p(continuation | context) in nats of each pair, float64.

  A prompt begins as a document in training does: with the separator. Where it
  is longer than the length the model was trained at, the oldest tokens of the
  context are left out.

  Args:
    pretrained: the model.
    pairs: of (context, continuation).
    show_progress: a progress bar on stderr.

  Raises:
    UserError: a continuation alone is longer than the trained length, or the
      model is no decoder.
  """
  length = pretrained.config.data.sequence_length
  requests = encode_pairs(pretrained.tokenizer, pairs, length)
  return score(pretrained, requests, show_progress)


def encode_pairs(
  tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], max_length: int
) -> list[Request]:
  """Tokens of each pair, cut on the left so that the model can take them.

  Where context ends and continuation begins follows lm-evaluation-harness:
  blanks at the end of the context are given to the continuation, both are
  encoded as one text, and as many tokens as the context has alone are taken for
  the context. (Encoded apart, the continuation would begin with tokens that
  the tokenizer never makes there.) At least one token is scored.

  Args:
    tokenizer: of the model.
    pairs: of (context, continuation).
    max_length: tokens that the model takes at once. The last token is only
      predicted, never fed in.

  Raises:
    UserError: a continuation is empty or longer than `max_length`.
  """
  contexts = [context.rstrip() for context, _ in pairs]
  # Choices share their context: each is encoded once.
  distinct = list(dict.fromkeys(contexts))
  encoded = tokenizer.encode_batch(distinct)
  context_lengths = dict(zip(distinct, map(len, encoded), strict=True))
  wholes = tokenizer.encode_batch([a + b for a, b in pairs])
  requests = []
  for context, whole, pair in zip(contexts, wholes, pairs, strict=True):
    if not pair[1]:
      raise UserError(f'nothing to score after {pair[0][-40:]!r}')
    scored = max(1, len(whole) - context_lengths[context])
    if scored > max_length:
      raise UserError(
        f'a continuation of {scored} tokens, {pair[1][:40]!r}..., is beyond '
        f'data.sequence_length = {max_length} of the model: leave it out'
      )
    kept = whole[-max_length:]
    tokens = np.concatenate([[tokenizer.start_id], kept])
    requests.append(Request(tokens.astype(np.int32), scored))
  return requests


def score(
  pretrained: Pretrained,
  requests: Sequence[Request],
  show_progress: bool = True,
) -> np.ndarray:
  """Log-likelihood in nats of what each request scores, float64.

  Requests are packed into rows, as documents are in training, and all batches
  have one shape: so little is padding, and one program is compiled.

  Raises:
    UserError: the model is no decoder.
  """
  check_decoder(pretrained)
  mesh = pretrained.mesh
  length, rows = _rows(requests)
  num_scored = _padded(
    max(sum(requests[i].num_scored for i in row) for row in rows)
  )
  vocab_size = pretrained.config.model.vocab_size
  batch_size = _batch_size(len(rows), length, num_scored * vocab_size, mesh)
  local = local_rows(mesh, batch_size)
  scorer = _scorer(pretrained.model, mesh)
  totals = np.zeros(len(requests))
  with tqdm(
    total=len(requests),
    unit=' texts',
    desc='scoring',
    disable=not show_progress,
  ) as bar:
    for start in range(0, len(rows), batch_size):
      chosen = rows[start : start + batch_size]
      batch, owners_BxM = _batch(
        requests, chosen, (batch_size, length, num_scored)
      )
      batch = {key: value[local] for key, value in batch.items()}
      nats_BxM = np.asarray(
        scorer(pretrained.params, put_batch(batch, mesh, batch_size))
      )
      owned = owners_BxM >= 0
      np.add.at(totals, owners_BxM[owned], -nats_BxM[owned].astype(np.float64))
      bar.update(sum(map(len, chosen)))
  return totals


def _rows(requests: Sequence[Request]) -> tuple[int, list[list[int]]]:
  """The length of a row, and the requests that each row holds.

  A row may be longer than the model was trained at: no request in it is.
  """
  lengths = [len(request.tokens) - 1 for request in requests]
  # Half as much again as the longest leaves little empty, and attention, whose
  # cost grows with the row, cheap: the fastest of 1, 1.5, 2 and 3 times.
  length = _padded(3 * max(lengths) // 2)
  return length, best_fit(lengths, length)


def _padded(length: int) -> int:
  return -(-length // _MULTIPLE) * _MULTIPLE


def _batch_size(
  num_rows: int, length: int, logits_per_row: int, mesh: Mesh
) -> int:
  """Rows of a batch: few enough for memory, the last batch almost full."""
  ways = batch_ways(mesh)
  most = min(_BATCH_TOKENS // length, _BATCH_LOGITS // logits_per_row)
  most = max(1, most // ways) * ways
  batches = math.ceil(num_rows / most)
  return math.ceil(num_rows / batches / ways) * ways


def _batch(
  requests: Sequence[Request],
  rows: Sequence[Sequence[int]],
  shape: tuple[int, int, int],
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """Arrays of some rows, and whose each scored place is; -1 where no one's.

  Args:
    requests: of which `rows` holds indices.
    rows: at most B of them.
    shape: (B, L, M): rows, their length, scored places in a row.
  """
  batch_size, length, num_scored = shape
  batch = {
    key: np.zeros((batch_size, length), np.int32)
    for key in ('tokens', 'segment_ids', 'positions')
  } | {
    key: np.zeros((batch_size, num_scored), np.int32)
    for key in ('places', 'targets')
  }
  owners_BxM = np.full((batch_size, num_scored), -1)
  for b, row in enumerate(rows):
    at, scored = 0, 0
    for segment, index in enumerate(row, start=1):
      request = requests[index]
      size, count = len(request.tokens) - 1, request.num_scored
      inside, places = slice(at, at + size), slice(scored, scored + count)
      batch['tokens'][b, inside] = request.tokens[:-1]
      batch['segment_ids'][b, inside] = segment
      batch['positions'][b, inside] = np.arange(size)
      # The token before a target is the one that predicts it.
      batch['places'][b, places] = np.arange(at + size - count, at + size)
      batch['targets'][b, places] = request.tokens[-count:]
      owners_BxM[b, places] = index
      at, scored = at + size, scored + count
  return batch, owners_BxM


@functools.lru_cache(maxsize=16)
def _scorer(model: Decoder, mesh: Mesh) -> Callable[..., jax.Array]:
  """(params, batch) to nats [B, M] of the targets, the same everywhere."""
  compiled = jax.jit(
    functools.partial(_nats, model=model),
    out_shardings=NamedSharding(mesh, PartitionSpec()),
  )
  return on_mesh(compiled, mesh)


def _nats(
  params: Any, batch: Mapping[str, jax.Array], *, model: Decoder
) -> jax.Array:
  """-log p(target) [B, M] at some places of each row.

  The output head is applied at those places alone: to most tokens of a prompt
  it would be wasted.
  """

  def logits(bound: Decoder) -> jax.Array:
    h_BxLxD = bound.hidden(
      batch['tokens'], batch['segment_ids'], batch['positions']
    )
    h_BxMxD = jnp.take_along_axis(h_BxLxD, batch['places'][..., None], axis=1)
    return bound.logits(h_BxMxD)

  logits_BxMxV = model.apply({'params': params}, method=logits)
  return optax.softmax_cross_entropy_with_integer_labels(
    logits_BxMxV, batch['targets']
  )
