"""Beam search: the likeliest whole texts rather than the likeliest tokens."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from model import cache as caches
from model.cache import Cache
from model.generate import Prompts, Writer, follow, only_known, read

_NEVER = -jnp.inf  # the score of no text


class Ranking(NamedTuple):
  """What is searched for.

  Attributes:
    length_penalty: a text of n tokens has the score (sum of log p) / n^penalty;
      above 0 it makes up for length (Wu et al. 2016, arXiv:1609.08144, has
      another form of it).
    stop_id: the token that ends a text; it counts as one.
    num_ids: tokens from here on have no text, and are not chosen.
    max_tokens: at most so many tokens a text; whatever then leads is taken.
  """

  length_penalty: jax.Array | float
  stop_id: jax.Array | int
  num_ids: jax.Array | int
  max_tokens: jax.Array | int


class Beams(NamedTuple):
  """W unfinished and W finished texts for each of B prompts, best first.

  Attributes:
    cache: of the unfinished ones, B x W rows.
    tokens_BxWxT: of the unfinished ones.
    sums_BxW: their log-likelihoods.
    done_tokens_BxWxT: of the finished ones; the token that ends one is in it.
    scores_BxW: theirs, see `Ranking`; -inf for places still free.
    open_B: the leading unfinished text, if it ended now, would still be one of
      the best. Where length is made up for, it could become one later: that is
      not waited for (nor is it in transformers, by default).
    written: scalar, tokens of the unfinished ones.
  """

  cache: Cache
  tokens_BxWxT: jax.Array
  sums_BxW: jax.Array
  done_tokens_BxWxT: jax.Array
  scores_BxW: jax.Array
  open_B: jax.Array
  written: jax.Array


def start(
  params: Any,
  prompts: Prompts,
  ranking: Ranking,
  *,
  model: Writer,
  num_beams: int,
  room: int,
  prefix: bool = False,
) -> Beams:
  """Reads prompts and ranks first tokens.

  Args:
    params: of `model`.
    prompts: see there.
    ranking: what is searched for.
    model: a decoder or an encoder-decoder.
    num_beams: W.
    room: tokens that can be written, T.
    prefix: tokens of a prompt see each other, later ones too (a prefix-LM).
  """
  logits, cache = read(params, prompts, model=model, room=room, prefix=prefix)
  shape = len(logits), num_beams
  # All beams are still the same text: only the first one counts.
  sums = jnp.full(shape, _NEVER).at[:, 0].set(0.0)
  blank = jnp.zeros((*shape, room), jnp.int32)
  fresh = Beams(
    caches.repeated(cache, num_beams),
    blank,
    sums,
    blank,
    jnp.full(shape, _NEVER),
    # Rows that only fill a batch up are not searched for.
    jnp.any(prompts.segment_ids_BxL > 0, axis=1),
    jnp.int32(0),
  )
  return _ranked(fresh, jnp.repeat(logits, num_beams, axis=0), ranking)


def go_on(
  params: Any,
  beams: Beams,
  ranking: Ranking,
  *,
  model: Writer,
) -> Beams:
  """Searches on until there are `max_tokens`, or no row is open."""
  room = beams.tokens_BxWxT.shape[-1]
  first = beams.cache.segment_ids_BxS.shape[1] - room
  until = jnp.minimum(ranking.max_tokens, room)

  def unfinished(now: Beams) -> jax.Array:
    return (now.written < until) & jnp.any(now.open_B)

  def write(now: Beams) -> Beams:
    last = jax.lax.dynamic_index_in_dim(
      now.tokens_BxWxT, now.written - 1, axis=2, keepdims=False
    )
    logits, cache = follow(
      params, now.cache, last.ravel(), first + now.written - 1, model=model
    )
    return _ranked(now._replace(cache=cache), logits, ranking)

  return jax.lax.while_loop(unfinished, write, beams)


def _ranked(now: Beams, logits: jax.Array, ranking: Ranking) -> Beams:
  """One more token: of all continuations of all beams, the best are kept.

  Twice as many as there are beams are looked at, for up to half of them may
  end. An ended one is finished if it is among the best W; where W are
  finished, a better one takes the place of the worst.

  Args:
    now: beams of `written` tokens.
    logits: [B x W, V] of what follows.
    ranking: what is searched for.
  """
  batch, width, _ = now.tokens_BxWxT.shape
  logits = only_known(logits, ranking.num_ids)
  nats = jax.nn.log_softmax(logits).reshape(batch, width, -1)
  sums = (now.sums_BxW[..., None] + nats).reshape(batch, -1)
  sums, chosen = jax.lax.top_k(sums, 2 * width)
  parent, token = jnp.divmod(chosen, nats.shape[-1])
  tokens = jnp.take_along_axis(now.tokens_BxWxT, parent[..., None], axis=1)
  tokens = jax.lax.dynamic_update_index_in_dim(
    tokens, token.astype(jnp.int32), now.written, axis=2
  )
  written = now.written + 1
  ends = (token == ranking.stop_id) | (written >= ranking.max_tokens)

  finished = ends & (jnp.arange(2 * width) < width) & now.open_B[:, None]
  length = written.astype(jnp.float32) ** ranking.length_penalty
  scores = jnp.where(finished, sums / length, _NEVER)
  scores, best = jax.lax.top_k(
    jnp.concatenate([now.scores_BxW, scores], axis=1), width
  )
  done = jnp.concatenate([now.done_tokens_BxWxT, tokens], axis=1)
  done = jnp.take_along_axis(done, best[..., None], axis=1)

  sums, alive = jax.lax.top_k(jnp.where(ends, _NEVER, sums), width)
  parent = jnp.take_along_axis(parent, alive, axis=1)
  # Whether the leader, if it ended now, would beat the worst finished one.
  leader = sums[:, 0] / length
  return Beams(
    caches.reordered(now.cache, parent),
    jnp.take_along_axis(tokens, alive[..., None], axis=1),
    sums,
    done,
    scores,
    now.open_B & (leader > scores[:, -1]),
    written,
  )
