"""What a model is trained on and judged by: pure functions of a batch.

Logits of all places, [B, L, V] in float32, may be the largest array of a step.
With `chunks` above 1 they are made of one part of each row after the other, and
none outlives its part: its gradient is computed along with its loss, which is
possible as a loss is a plain sum over places. No product is computed twice.
"""

import functools
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from configs.errors import UserError
from model.config import ModelConfig
from model.dropout import RNG
from model.experts import LOSSES
from model.transformer import Transformer, head_parts
from train.config import StepConfig

Batch = Mapping[str, jax.Array]

_TARGET = ('tokens', 'segment_ids', 'positions')
_SOURCE = ('source_tokens', 'source_segment_ids', 'source_positions')
_PLAIN = StepConfig()


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


def token_nats(
  params: Any, batch: Batch, model: Transformer, chunks: int = 1
) -> jax.Array:
  """-log p(target | what its place sees) of every place, float32 [B, L].

  A decoder's place sees the tokens up to it, and its segment's prefix if there
  is one; an encoder's its whole segment; an encoder-decoder's the tokens up to
  it, and the source of its segment.

  Args:
    params: of `model`.
    batch: integers [B, L] and [B, S] of `data.batch.BatchShape`.
    model: gives the logits.
    chunks: parts of each row; divides L.

  Raises:
    UserError: L does not divide by the chunks.
  """
  targets = batch['targets']
  if chunks == 1:
    return _nats(_apply(params, batch, model, None, '__call__')[0], targets)
  hidden_BxLxD, _ = _apply(params, batch, model, None, 'hidden')
  head = _head(params, model)
  nats_CxBxM = jax.lax.map(
    lambda chunk: _nats(_logits(model, head, chunk[0]), chunk[1]),
    (_cut(hidden_BxLxD, chunks), _cut(targets, chunks)),
  )
  return jnp.moveaxis(nats_CxBxM, 0, 2).reshape(targets.shape)


def loss_sums(
  params: Any, batch: Batch, model: Transformer, chunks: int = 1
) -> tuple[jax.Array, jax.Array]:
  """sum_i w_i * nats_i and sum_i w_i over a batch, float32 scalars.

  Args:
    params: of `model`.
    batch: as `token_nats`, and float32 `weights` [B, L].
    model: gives the logits.
    chunks: as `token_nats`.
  """
  nats_BxL = token_nats(params, batch, model, chunks)
  weights_BxL = batch['weights']
  return jnp.sum(nats_BxL * weights_BxL), jnp.sum(weights_BxL)


def training_sums(
  params: Any,
  batch: Batch,
  model: Transformer,
  key: jax.Array | None,
  config: StepConfig = _PLAIN,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  """What training descends: nats with dropout, and what is added to them.

  sum_i w_i * (nats_i + z_loss * log(sum_v exp(logit_iv))^2), whose second term
  keeps logits from drifting (Chowdhery et al. 2022, PaLM, section 5), and the
  losses of routers.

  Args:
    params: of `model`.
    batch: as `loss_sums`.
    model: gives the logits.
    key: of dropout; None drops nothing.
    config: its `z_loss` and `loss_chunks`.

  Returns:
    A sum over the batch like `loss_sums`, and the two of `loss_sums`.

  Raises:
    UserError: L does not divide by the chunks.
  """
  targets, weights = batch['targets'], batch['weights']
  chunks = config.loss_chunks
  if chunks == 1:
    logits_BxLxV, sown = _apply(params, batch, model, key, '__call__')
    descended, nats = _sums(logits_BxLxV, targets, weights, config.z_loss)
  else:
    hidden_BxLxD, sown = _apply(params, batch, model, key, 'hidden')
    descended, nats = _chunked_sums(
      model,
      config.z_loss,
      _head(params, model),
      _cut(hidden_BxLxD, chunks),
      _cut(targets, chunks),
      _cut(weights, chunks),
    )
  weight = jnp.sum(weights)
  routers = router_loss(sown.get(LOSSES, {}), model.config)
  return descended + weight * routers, (nats, weight)


def router_loss(sown: Any, config: ModelConfig) -> jax.Array:
  """The weighted sum of what routers have sown, the mean over each stack."""
  found = jax.tree_util.tree_flatten_with_path(sown)[0]
  total = jnp.float32(0)
  for path, value in found:
    names = {getattr(key, 'key', None) for key in path}
    weight = config.router_balance if 'balance' in names else config.router_z
    total += weight * jnp.mean(value)
  return total


def _apply(
  params: Any,
  batch: Batch,
  model: Transformer,
  key: jax.Array | None,
  method: str,
) -> tuple[jax.Array, Any]:
  """What a method gives of a batch, and what the layers have sown."""
  found: tuple[jax.Array, Any] = model.apply(
    {'params': params},
    *inputs(model, batch),
    rngs=None if key is None else {RNG: key},
    mutable=[LOSSES],
    method=method,
  )
  return found


def _nats(logits_BxLxV: jax.Array, targets_BxL: jax.Array) -> jax.Array:
  """-log p of each target, float32 [B, L]."""
  return optax.softmax_cross_entropy_with_integer_labels(
    logits_BxLxV, targets_BxL
  )


def _sums(
  logits_BxLxV: jax.Array,
  targets_BxL: jax.Array,
  weights_BxL: jax.Array,
  z_loss: float,
) -> tuple[jax.Array, jax.Array]:
  """Weighted sums of what is descended, and of nats alone."""
  nats = jnp.sum(_nats(logits_BxLxV, targets_BxL) * weights_BxL)
  if not z_loss:
    return nats, nats
  log_z_BxL = jax.nn.logsumexp(logits_BxLxV, axis=-1)
  return nats + z_loss * jnp.sum(jnp.square(log_z_BxL) * weights_BxL), nats


def _cut(x_BxL: jax.Array, chunks: int) -> jax.Array:
  """[B, L, ...] to [C, B, L / C, ...].

  Strided, so that devices that divide a row keep a part of every chunk.
  """
  batch, length, *rest = x_BxL.shape
  if length % chunks:
    raise UserError(
      f'train.loss_chunks = {chunks}: must divide the {length} places of a row'
    )
  parts = x_BxL.reshape(batch, length // chunks, chunks, *rest)
  return jnp.moveaxis(parts, 2, 0)


def _head(params: Any, model: Transformer) -> Any:
  """The parameters that logits are made with."""
  return {name: params[name] for name in head_parts(model.config)}


def _logits(model: Transformer, head: Any, hidden_BxMxD: jax.Array) -> Any:
  return model.apply({'params': head}, hidden_BxMxD, method='logits')


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _chunked_sums(
  model: Transformer,
  z_loss: float,
  head: Any,
  hidden_CxBxMxD: jax.Array,
  targets_CxBxM: jax.Array,
  weights_CxBxM: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """`_sums` over chunks; of the two, only the first has a gradient."""

  def add(total: Any, chunk: Any) -> tuple[Any, None]:
    hidden_BxMxD, targets_BxM, weights_BxM = chunk
    logits_BxMxV = _logits(model, head, hidden_BxMxD)
    own = _sums(logits_BxMxV, targets_BxM, weights_BxM, z_loss)
    return jax.tree.map(jnp.add, total, own), None

  start = jnp.float32(0), jnp.float32(0)
  chunks = hidden_CxBxMxD, targets_CxBxM, weights_CxBxM
  return jax.lax.scan(add, start, chunks)[0]


def _sums_and_gradients(
  model: Transformer,
  z_loss: float,
  head: Any,
  hidden_CxBxMxD: jax.Array,
  targets_CxBxM: jax.Array,
  weights_CxBxM: jax.Array,
) -> tuple[tuple[jax.Array, jax.Array], tuple[Any, jax.Array]]:
  """`_chunked_sums`, and its gradients by `head` and by the states."""

  def sums(
    head: Any,
    hidden_BxMxD: jax.Array,
    targets_BxM: jax.Array,
    weights_BxM: jax.Array,
  ) -> tuple[jax.Array, jax.Array]:
    logits_BxMxV = _logits(model, head, hidden_BxMxD)
    return _sums(logits_BxMxV, targets_BxM, weights_BxM, z_loss)

  def add(total: Any, chunk: Any) -> tuple[Any, jax.Array]:
    (descended, nats), (head_gradient, hidden_gradient) = jax.value_and_grad(
      sums, argnums=(0, 1), has_aux=True
    )(head, *chunk)
    own = descended, nats, head_gradient
    return jax.tree.map(jnp.add, total, own), hidden_gradient

  start = jnp.float32(0), jnp.float32(0), jax.tree.map(jnp.zeros_like, head)
  chunks = hidden_CxBxMxD, targets_CxBxM, weights_CxBxM
  (descended, nats, head_gradient), hidden_gradient = jax.lax.scan(
    add, start, chunks
  )
  return (descended, nats), (head_gradient, hidden_gradient)


def _scaled(
  model: Transformer,
  z_loss: float,
  gradients: tuple[Any, jax.Array],
  cotangents: tuple[jax.Array, jax.Array],
) -> tuple[Any, ...]:
  scale, _ = cotangents
  head, hidden = jax.tree.map(
    lambda gradient: (scale * gradient).astype(gradient.dtype), gradients
  )
  return head, hidden, None, None


_chunked_sums.defvjp(_sums_and_gradients, _scaled)
