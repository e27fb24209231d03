"""Generation laid out over a mesh and compiled, one program a shape."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from model import beam
from model import fill as filling
from model import generate as generation
from model.beam import Ranking
from model.generate import Choice, Prompts
from model.transformer import Encoder
from train.mesh.sharding import local_rows, on_mesh, put_batch


def put(rows: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
  """A batch, divided over the mesh."""
  size = len(rows['tokens'])
  local = local_rows(mesh, size)
  return put_batch({k: v[local] for k, v in rows.items()}, mesh, size)


def _prompts(batch: Mapping[str, jax.Array]) -> Prompts:
  return Prompts(
    batch['tokens'],
    batch['segment_ids'],
    batch.get('source_tokens'),
    batch.get('source_segment_ids'),
  )


@functools.lru_cache(maxsize=16)
def sampler(
  model: Any, mesh: Mesh, room: int, prefix: bool
) -> tuple[Callable[..., Any], Callable[..., Any]]:
  """`start` and `go_on` of `model.generate`, compiled.

  Each also returns the tokens and which rows are done, the same everywhere.
  """

  def start(
    params: Any, batch: Mapping[str, jax.Array], key: jax.Array, choice: Choice
  ) -> Any:
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(
      key, batch['numbers'][:, 0]
    )
    now = generation.start(
      params,
      _prompts(batch),
      keys_B,
      choice,
      model=model,
      room=room,
      prefix=prefix,
    )
    return now, now.tokens_BxT, now.done_B

  def go_on(
    params: Any, now: Any, done_B: jax.Array, choice: Choice, until: int
  ) -> Any:
    now = now._replace(done_B=done_B)
    now = generation.go_on(params, now, choice, until, model=model)
    return now, now.tokens_BxT, now.done_B

  same = NamedSharding(mesh, PartitionSpec())
  shardings = None, same, same
  started = jax.jit(start, out_shardings=shardings)
  gone_on = jax.jit(go_on, out_shardings=shardings, donate_argnames='now')
  return on_mesh(started, mesh), on_mesh(gone_on, mesh)


@functools.lru_cache(maxsize=16)
def searcher(
  model: Any, mesh: Mesh, room: int, num_beams: int, prefix: bool
) -> Callable[..., jax.Array]:
  """(params, batch, ranking) to the best text of each prompt, [B, T]."""

  def search(
    params: Any, batch: Mapping[str, jax.Array], ranking: Ranking
  ) -> jax.Array:
    found = beam.start(
      params,
      _prompts(batch),
      ranking,
      model=model,
      num_beams=num_beams,
      room=room,
      prefix=prefix,
    )
    found = beam.go_on(params, found, ranking, model=model)
    return found.done_tokens_BxWxT[:, 0]

  same = NamedSharding(mesh, PartitionSpec())
  return on_mesh(jax.jit(search, out_shardings=same), mesh)


@functools.lru_cache(maxsize=16)
def filler(model: Encoder, mesh: Mesh) -> Callable[..., jax.Array]:
  """(params, batch, mask's id, number of ids) to filled tokens [B, L]."""

  def call(
    params: Any, batch: Mapping[str, jax.Array], mask_id: int, num_ids: int
  ) -> jax.Array:
    return filling.fill(
      params,
      batch['tokens'],
      batch['segment_ids'],
      mask_id,
      num_ids,
      model=model,
    )

  same = NamedSharding(mesh, PartitionSpec())
  return on_mesh(jax.jit(call, out_shardings=same), mesh)
