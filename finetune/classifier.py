"""A classifier as its users want it: loaded, and applied to texts."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from configs.errors import UserError
from configs.tree import to_dataclass
from data.tokenizer import Tokenizer, tokenizer_from_json
from finetune.module import Classifier, abstract_params
from train import checkpoint
from train.checkpoint import Meta
from train.config import CheckpointConfig, RunConfig
from train.mesh.config import MeshConfig
from train.mesh.placement import DEFAULT, Placement
from train.mesh.sharding import (
  batch_ways,
  local_rows,
  make_mesh,
  on_mesh,
  put_batch,
)
from train.run_checkpoints import RunCheckpoints
from train.step import TrainState

_BATCH_TOKENS = 4096  # of a batch that is only read
_TOKEN_CHARACTERS = 8  # far more than a token has in running text


@dataclasses.dataclass(frozen=True)
class TextClassifier:
  """A trained classifier.

  Attributes:
    model: the module that `params` belong to.
    params: laid out over `mesh`.
    mesh: of `train.mesh.rules.MESH_AXES`.
    tokenizer: the one it was trained with.
    classes: names, in the order of the scores.
    max_length: tokens of a text, the separator included.
    placement: of `params` over the mesh.
  """

  model: Classifier
  params: Any
  mesh: Mesh
  tokenizer: Tokenizer
  classes: tuple[str, ...]
  max_length: int
  placement: Placement = DEFAULT


def encode(
  tokenizer: Tokenizer, texts: Sequence[str], max_length: int
) -> dict[str, np.ndarray]:
  """`tokens` and `segment_ids` [N, max_length] of texts, cut or padded.

  Only the beginning of a text is looked at, `_TOKEN_CHARACTERS` for each token:
  one of blanks or rulers alone may so get fewer tokens than there is room for.
  """
  beginnings = [text[: max_length * _TOKEN_CHARACTERS] for text in texts]
  tokens_NxL = np.zeros((len(texts), max_length), np.int32)
  segment_ids_NxL = np.zeros_like(tokens_NxL)
  tokens_NxL[:, 0] = tokenizer.start_id
  for row, found in enumerate(tokenizer.encode_batch(beginnings)):
    kept = found[: max_length - 1]
    tokens_NxL[row, 1 : 1 + len(kept)] = kept
    segment_ids_NxL[row, : 1 + len(kept)] = 1
  return {'tokens': tokens_NxL, 'segment_ids': segment_ids_NxL}


def scores(
  classifier: TextClassifier, encoded: Mapping[str, np.ndarray]
) -> np.ndarray:
  """Scores [N, C] of the classes of texts as `encode` gives them."""
  return _mapped('__call__', classifier, encoded)


def features(
  classifier: TextClassifier, encoded: Mapping[str, np.ndarray]
) -> np.ndarray:
  """Features [N, D] of texts as `encode` gives them."""
  return _mapped('features', classifier, encoded)


def predict(classifier: TextClassifier, texts: Sequence[str]) -> list[str]:
  """The likeliest class of each text."""
  encoded = encode(classifier.tokenizer, texts, classifier.max_length)
  best_N = np.argmax(scores(classifier, encoded), axis=-1)
  return [classifier.classes[i] for i in best_N]


def load(
  path: pathlib.Path | str,
  mesh_config: MeshConfig | None = None,
  devices: Sequence[jax.Device] | None = None,
) -> TextClassifier:
  """Loads what `finetune.run` has saved.

  Args:
    path: its workdir, or the checkpoint folder there.
    mesh_config: layout over the devices; by default the parameters are
      replicated and batches are divided.
    devices: to use; all by default.

  Raises:
    UserError: there is no checkpoint, or it is none of a classifier.
  """
  folder = checkpoint.find(path)
  meta = checkpoint.load_meta(folder)
  if 'classes' not in meta.config:
    raise UserError(f'{folder} is no classifier: give a folder of finetune.run')
  mesh_config = mesh_config or MeshConfig(data=-1, fsdp=1, tensor=1)
  mesh, placement = make_mesh(mesh_config, devices), mesh_config.placement
  pretrained = to_dataclass(RunConfig, meta.config['pretrained'])
  classes = tuple(meta.config['classes'])
  model = Classifier(pretrained.model, len(classes))
  abstract = abstract_params(model, mesh, placement)
  return TextClassifier(
    model=model,
    params=checkpoint.load_params(folder, abstract),
    mesh=mesh,
    tokenizer=tokenizer_from_json(meta.tokenizer),
    classes=classes,
    max_length=meta.config['finetune']['max_length'],
    placement=placement,
  )


def save(classifier: TextClassifier, meta: Meta, workdir: pathlib.Path) -> None:
  """Saves the parameters for `load`; returns when they are on disk.

  Nothing resumes from here: moments of the optimizer are not kept.

  Args:
    classifier: whose parameters.
    meta: with a config of `finetune`, `pretrained` and `classes`.
    workdir: a folder without checkpoints.
  """
  keep = CheckpointConfig(
    every_steps=1, keep_last=1, keep_steps=(), branch_from=''
  )
  state = TrainState(jnp.int32(meta.step), classifier.params, {})
  with RunCheckpoints(workdir, keep) as checkpoints:
    checkpoints.save(state, meta)


def _mapped(
  method: str, classifier: TextClassifier, encoded: Mapping[str, np.ndarray]
) -> np.ndarray:
  """Applies a method of the model to texts, batch by batch."""
  mesh = classifier.mesh
  num_texts, length = encoded['tokens'].shape
  ways = batch_ways(mesh)
  batch_size = max(1, _BATCH_TOKENS // length // ways) * ways
  apply = _applied(method, classifier.model, mesh)
  found = [
    np.asarray(apply(classifier.params, put_batch(batch, mesh, batch_size)))
    for batch in _batches(encoded, batch_size, local_rows(mesh, batch_size))
  ]
  return np.concatenate(found)[:num_texts]


def _batches(
  encoded: Mapping[str, np.ndarray], batch_size: int, rows: slice
) -> Iterator[dict[str, np.ndarray]]:
  """This process's rows of each batch; the last is filled up with padding."""
  num_texts = len(encoded['tokens'])
  for start in range(0, num_texts, batch_size):
    missing = max(0, start + batch_size - num_texts)
    yield {
      key: np.pad(value[start : start + batch_size], ((0, missing), (0, 0)))[
        rows
      ]
      for key, value in encoded.items()
    }


@functools.lru_cache(maxsize=16)
def _applied(
  method: str, model: Classifier, mesh: Mesh
) -> Callable[..., jax.Array]:
  """(params, batch) to a method's result, the same everywhere."""
  compiled = jax.jit(
    lambda params, batch: model.apply(
      {'params': params}, batch['tokens'], batch['segment_ids'], method=method
    ),
    out_shardings=NamedSharding(mesh, PartitionSpec()),
  )
  return on_mesh(compiled, mesh)
