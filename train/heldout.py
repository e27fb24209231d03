"""Loss on text that was not trained on."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from configs.errors import UserError
from data.tokenizer import Tokenizer
from train.mesh.sharding import put_batch


def padded_token_bytes(tokenizer: Tokenizer, vocab_size: int) -> np.ndarray:
  """Bytes of text of each row of the vocabulary; unused rows stand for none."""
  table = np.zeros(vocab_size, np.float32)
  table[: tokenizer.vocab_size] = tokenizer.token_bytes
  return table


def heldout_loss(
  eval_step: Callable[..., Mapping[str, jax.Array]],
  params: Any,
  batches: Iterable[Mapping[str, np.ndarray]],
  token_bytes_V: np.ndarray,
  mesh: jax.sharding.Mesh,
  batch_size: int,
) -> dict[str, float]:
  """Mean negative log-likelihood of held-out text, three ways.

  `loss` is in nats a token; `bits_per_byte` = nats / ln 2 / bytes of text,
  which does not depend on the tokenizer; `perplexity` = exp(loss). Sums are
  over the weighted targets alone: of masked tokens, of spans that were cut out
  and the marks between them, of what follows a prefix. So losses compare
  between models of one objective only. Where targets stand for no text there
  is no `bits_per_byte`.

  Args:
    eval_step: of a `Program`.
    params: laid out over `mesh`.
    batches: this process's rows of each global batch, padded with weight 0.
    token_bytes_V: bytes of text of each token.
    mesh: of the program.
    batch_size: rows of a global batch.

  Raises:
    UserError: no target has a weight.
  """
  replicated = NamedSharding(mesh, PartitionSpec())
  table_V = jax.device_put(token_bytes_V.astype(np.float32), replicated)
  totals = {'nats': 0.0, 'weight': 0.0, 'bytes': 0.0}
  for batch in batches:
    sums = eval_step(params, put_batch(batch, mesh, batch_size), table_V)
    for name in totals:
      totals[name] += float(sums[name])
  if not totals['weight']:
    raise UserError('held-out text has no token to predict: give more text')
  loss = totals['nats'] / totals['weight']
  found = {'loss': loss}
  if totals['bytes']:
    bits = totals['nats'] / math.log(2)
    found['bits_per_byte'] = bits / totals['bytes']
  return found | {
    'perplexity': math.exp(loss),
    'n_tokens': totals['weight'],
    'n_bytes': totals['bytes'],
  }
