"""What a model is trained on and judged by: pure functions of a batch."""

from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from configs.errors import UserError
from model.config import ModelConfig
from model.dropout import RNG
from model.experts import LOSSES
from model.transformer import Transformer

Batch = Mapping[str, jax.Array]

_TARGET = ('tokens', 'segment_ids', 'positions')
_SOURCE = ('source_tokens', 'source_segment_ids', 'source_positions')


def inputs(model: Transformer, batch: Batch) -> tuple[jax.Array, ...]:
  """What a model is called with, of the arrays of `data.batch.BatchShape`.

  It is all in which the three shapes of a transformer differ here.
  """
  names: tuple[str, ...] = _TARGET
  architecture = model.config.architecture
  if architecture == 'encoder_decoder':
    names = _SOURCE + _TARGET
  elif architecture == 'decoder' and 'prefix' in batch:
    names = (*_TARGET, 'prefix')
  return tuple(batch[name] for name in names)


def check_head(config: ModelConfig) -> None:
  """Raises UserError where a model gives no logits of tokens."""
  if config.architecture == 'encoder' and not config.mlm_head:
    raise UserError(
      'model.mlm_head = False: this is the head by which model.architecture = '
      "'encoder' scores masked tokens; set it to True"
    )
  if config.num_classes:
    raise UserError(
      f'model.num_classes = {config.num_classes}: such a model scores classes '
      'rather than tokens; set it to 0'
    )


def check_inputs(config: ModelConfig, names: Collection[str]) -> None:
  """Raises UserError where a model gives no logits of the targets of a batch.

  Args:
    config: of the model.
    names: of the arrays of the batch.
  """
  check_head(config)
  kind = f'model.architecture = {config.architecture!r}'
  reads_source = config.architecture == 'encoder_decoder'
  if reads_source != ('source_tokens' in names):
    raise UserError(
      f'{kind}: it reads {"a" if reads_source else "no"} source, and batches '
      f'have {"none" if reads_source else "one"}; change it or '
      'data.objective.kind'
    )
  if 'prefix' in names and config.architecture != 'decoder':
    raise UserError(
      f'{kind}: batches have a prefix, which only a decoder reads; change it '
      'or data.objective.kind'
    )


def token_nats(params: Any, batch: Batch, model: Transformer) -> jax.Array:
  """-log p(target | what its place sees) of every place, float32 [B, L].

  A decoder's place sees the tokens up to it, and its segment's prefix if there
  is one; an encoder's its whole segment; an encoder-decoder's the tokens up to
  it, and the source of its segment.

  Args:
    params: of `model`.
    batch: integers [B, L] and [B, S] of `data.batch.BatchShape`.
    model: gives the logits.
  """
  return _forward(params, batch, model)[0]


def loss_sums(
  params: Any, batch: Batch, model: Transformer
) -> tuple[jax.Array, jax.Array]:
  """sum_i w_i * nats_i and sum_i w_i over a batch, float32 scalars.

  Args:
    params: of `model`.
    batch: as `token_nats`, and float32 `weights` [B, L].
    model: gives the logits.
  """
  return _weighted(token_nats(params, batch, model), batch)


def training_sums(
  params: Any, batch: Batch, model: Transformer, key: jax.Array | None
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  """What training descends: nats with dropout, and the losses of routers.

  Args:
    params: of `model`.
    batch: as `loss_sums`.
    model: gives the logits.
    key: of dropout; None drops nothing.

  Returns:
    A sum over the batch like `loss_sums`, and the two of `loss_sums`.
  """
  nats_BxL, sown = _forward(params, batch, model, key)
  nats, weight = _weighted(nats_BxL, batch)
  routers = router_loss(sown.get(LOSSES, {}), model.config)
  return nats + weight * routers, (nats, weight)


def _forward(
  params: Any, batch: Batch, model: Transformer, key: jax.Array | None = None
) -> tuple[jax.Array, Any]:
  """-log p of each target, float32 [B, L], and what the layers have sown."""
  logits_BxLxV, sown = model.apply(
    {'params': params},
    *inputs(model, batch),
    rngs=None if key is None else {RNG: key},
    mutable=[LOSSES],
  )
  nats_BxL = optax.softmax_cross_entropy_with_integer_labels(
    logits_BxLxV, batch['targets']
  )
  return nats_BxL, sown


def _weighted(nats_BxL: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
  weights = batch['weights']
  return jnp.sum(nats_BxL * weights), jnp.sum(weights)


def router_loss(sown: Any, config: ModelConfig) -> jax.Array:
  """The weighted sum of what routers have sown, the mean over each stack."""
  found = jax.tree_util.tree_flatten_with_path(sown)[0]
  total = jnp.float32(0)
  for path, value in found:
    names = {getattr(key, 'key', None) for key in path}
    weight = config.router_balance if 'balance' in names else config.router_z
    total += weight * jnp.mean(value)
  return total
