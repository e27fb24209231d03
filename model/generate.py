"""Texts that go on: a prompt is read once, then token follows token."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from model import cache as caches
from model.cache import Cache
from model.sampling import Sampling, draw
from model.transformer import Decoder, EncoderDecoder

Writer = Decoder | EncoderDecoder


class Prompts(NamedTuple):
  """Beginnings of B texts.

  A prompt is at the end of its row, so that all rows go on in the same place.

  Attributes:
    tokens_BxL: padding, then a prompt; of an encoder-decoder, how the target
      begins.
    segment_ids_BxL: 0 for padding, 1 for the prompt.
    source_tokens_BxS: of an encoder-decoder, what it reads, then padding.
    source_segment_ids_BxS: 1 for the source, 0 for padding.
  """

  tokens_BxL: jax.Array
  segment_ids_BxL: jax.Array
  source_tokens_BxS: jax.Array | None = None
  source_segment_ids_BxS: jax.Array | None = None


class Generation(NamedTuple):
  """B texts under way.

  Attributes:
    cache: of all tokens but the last.
    tokens_BxT: what was written so far, then zeros.
    written: scalar, the tokens written.
    done_B: true where the last token is the one that ends a text; it is then
      repeated.
    keys_B: random keys; a token's own has its number folded in.
  """

  cache: Cache
  tokens_BxT: jax.Array
  written: jax.Array
  done_B: jax.Array
  keys_B: jax.Array


class Choice(NamedTuple):
  """How tokens are chosen.

  Attributes:
    sampling: how one is drawn.
    stop_id: the token that ends a text.
    num_ids: tokens from here on have no text, and are not chosen.
  """

  sampling: Sampling
  stop_id: jax.Array | int
  num_ids: jax.Array | int


def read(
  params: Any, prompts: Prompts, *, model: Writer, room: int, prefix: bool
) -> tuple[jax.Array, Cache]:
  """Reads prompts: logits [B, V] of the first new token, and the cache.

  Args:
    params: of `model`.
    prompts: see there.
    model: a decoder or an encoder-decoder.
    room: tokens that can be written.
    prefix: tokens of a prompt see each other, later ones too (a prefix-LM).
  """
  segments = prompts.segment_ids_BxL
  positions = _positions(segments)

  def call(bound: Writer) -> tuple[jax.Array, Cache]:
    source, own = None, prompts.source_segment_ids_BxS
    if isinstance(bound, EncoderDecoder):
      assert prompts.source_tokens_BxS is not None and own is not None
      source = bound.encode(prompts.source_tokens_BxS, own, _positions(own))
    states, new = bound.extend(
      prompts.tokens_BxL,
      segments,
      positions,
      prefix_BxL=segments > 0 if prefix else None,
      source_BxSxD=source,
      source_segment_ids_BxS=own,
    )
    cache = caches.begin(new, segments, positions, room, own)
    return bound.logits(states[:, -1:])[:, 0], cache

  found: Any = model.apply({'params': params}, method=call)
  return found


def follow(
  params: Any,
  cache: Cache,
  tokens_B: jax.Array,
  at: jax.Array,
  *,
  model: Writer,
) -> tuple[jax.Array, Cache]:
  """Logits [B, V] after one more token in each row, and the cache with it.

  Args:
    params: of `model`.
    cache: of all tokens before.
    tokens_B: what stands in the place `at`.
    at: a scalar.
    model: as in `read`.
  """
  tokens = tokens_B[:, None]
  segments = jnp.ones_like(tokens)
  positions = jnp.max(cache.positions_BxS, axis=1, keepdims=True) + 1

  def call(bound: Writer) -> tuple[jax.Array, caches.Memory]:
    states, new = bound.extend(tokens, segments, positions, cache)
    return bound.logits(states)[:, 0], new

  found: Any = model.apply({'params': params}, method=call)
  logits, new = found
  return logits, caches.added(cache, new, segments, positions, at)


def start(
  params: Any,
  prompts: Prompts,
  keys_B: jax.Array,
  choice: Choice,
  *,
  model: Writer,
  room: int,
  prefix: bool = False,
) -> Generation:
  """Reads prompts and writes the first token of each.

  Args:
    params: of `model`.
    prompts: see there.
    keys_B: random keys.
    choice: how tokens are chosen.
    model: as in `read`.
    room: tokens that can be written, T.
    prefix: as in `read`.
  """
  logits, cache = read(params, prompts, model=model, room=room, prefix=prefix)
  rows = len(keys_B)
  fresh = Generation(
    cache,
    jnp.zeros((rows, room), jnp.int32),
    jnp.int32(0),
    jnp.zeros(rows, bool),
    keys_B,
  )
  return _with_token(fresh, logits, choice)


def go_on(
  params: Any,
  generation: Generation,
  choice: Choice,
  until: jax.Array | int,
  *,
  model: Writer,
) -> Generation:
  """Writes on until there are `until` tokens, or all texts are done."""
  room = generation.tokens_BxT.shape[1]
  first = generation.cache.segment_ids_BxS.shape[1] - room
  until = jnp.minimum(until, room)

  def unfinished(now: Generation) -> jax.Array:
    return (now.written < until) & ~jnp.all(now.done_B)

  def write(now: Generation) -> Generation:
    last_B = jax.lax.dynamic_index_in_dim(
      now.tokens_BxT, now.written - 1, axis=1, keepdims=False
    )
    logits, cache = follow(
      params, now.cache, last_B, first + now.written - 1, model=model
    )
    return _with_token(now._replace(cache=cache), logits, choice)

  return jax.lax.while_loop(unfinished, write, generation)


def only_known(logits_BxV: jax.Array, num_ids: jax.Array | int) -> jax.Array:
  """Logits without those of tokens that have no text."""
  known = jnp.arange(logits_BxV.shape[-1]) < num_ids
  return jnp.where(known, logits_BxV, -jnp.inf)


def _with_token(
  now: Generation, logits_BxV: jax.Array, choice: Choice
) -> Generation:
  keys_B = jax.vmap(jax.random.fold_in, (0, None))(now.keys_B, now.written)
  logits = only_known(logits_BxV, choice.num_ids)
  tokens_B = draw(logits, choice.sampling, keys_B)
  tokens_B = jnp.where(now.done_B, choice.stop_id, tokens_B).astype(jnp.int32)
  return now._replace(
    tokens_BxT=jax.lax.dynamic_update_index_in_dim(
      now.tokens_BxT, tokens_B, now.written, axis=1
    ),
    written=now.written + 1,
    done_B=now.done_B | (tokens_B == choice.stop_id),
  )


def _positions(segment_ids_BxL: jax.Array) -> jax.Array:
  """0, 1, ... over the tokens of a row, wherever its padding is."""
  return jnp.maximum(jnp.cumsum(segment_ids_BxL, axis=1) - 1, 0)
