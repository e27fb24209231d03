"""What a checkpoint is made of.

Three items: `params`, what is used of a model; `optimizer`, its state, the
step, and under `raw` the parameters that are trained where those used are an
average of them; and `meta`, bytes of JSON with the config, the tokenizer, the
state of the data iterator and the data's digest, beside the integrity manifest.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from train.step import TrainState
from train.storage.integrity import CorruptError, Manifest, sha256, sums

STACKED = 'layers'  # key of what has an axis of layers


@dataclasses.dataclass(frozen=True)
class Meta:
  """What a checkpoint says of itself.

  Attributes:
    config: the run's config as a plain tree.
    tokenizer: its own JSON text.
    corpus: digest and description of the text trained on.
    data_state: of the training batches' iterator.
    step: number of updates made.
    seconds: of training up to here, over all interruptions.
    metrics: of an evaluation at this step, by name.
    clock: state of a `train.accounting.Clock`; empty in older checkpoints.
    spikes: state of a `train.spikes.SpikeDetector`, where there is one.
  """

  config: dict[str, Any]
  tokenizer: str
  corpus: dict[str, Any]
  data_state: dict[str, Any]
  step: int
  seconds: float
  metrics: dict[str, float] = dataclasses.field(default_factory=dict)
  clock: dict[str, Any] = dataclasses.field(default_factory=dict)
  spikes: dict[str, Any] = dataclasses.field(default_factory=dict)


def items(state: TrainState, averaged: Any = None) -> dict[str, Any]:
  """What a checkpoint is made of beside `meta`.

  Args:
    state: of training.
    averaged: parameters to use of it; None, or those of `state` themselves,
      where there is no average.
  """
  optimizer = {'step': state.step, 'state': state.optimizer_state}
  if averaged is None or averaged is state.params:
    return {'params': state.params, 'optimizer': optimizer}
  return {'params': averaged, 'optimizer': {**optimizer, 'raw': state.params}}


def sealed(
  tree: Mapping[str, Any], meta: Meta
) -> tuple[dict[str, Any], Manifest]:
  """The items with `meta` and their manifest."""
  arrays = {
    f'{item}.{path}': leaf
    for item, arrays in tree.items()
    for path, leaf in leaves(arrays).items()
  }
  text = json.dumps(dataclasses.asdict(meta)).encode()
  manifest = Manifest(meta.step, sha256(text), sums(arrays))
  # Orbax stores bytes like any other array.
  stored = {
    'json': np.frombuffer(text, np.uint8),
    'manifest': np.frombuffer(manifest.to_bytes(), np.uint8),
  }
  return {**tree, 'meta': stored}, manifest


def unsealed(content: Mapping[str, Any]) -> tuple[Meta, Manifest | None]:
  """Reads `meta`, as it was stored; older checkpoints have no manifest.

  Raises:
    CorruptError: it is not what was saved.
  """
  text = np.asarray(content['json']).tobytes()
  if 'manifest' not in content:
    return Meta(**json.loads(text)), None
  manifest = Manifest.from_bytes(np.asarray(content['manifest']).tobytes())
  if sha256(text) != manifest.meta:
    raise CorruptError('the meta data are not what was saved')
  return Meta(**json.loads(text)), manifest


def difference(
  there: Mapping[str, Any], here: Mapping[str, Any], item: str
) -> str:
  """Tells the first array that is not the same in both; '' when all are."""

  def layout(arrays: Mapping[str, Any], path: str) -> Any:
    array = arrays.get(path)
    if array is None:
      return None
    return tuple(array.shape), np.dtype(array.dtype)

  wrong = sorted(
    path
    for path in there.keys() | here.keys()
    if layout(there, path) != layout(here, path)
  )
  if not wrong:
    return ''
  path = wrong[0]
  old, new = layout(there, path), layout(here, path)
  # Of two that differ in their type alone, the type is told.
  part = int(bool(old and new and old[0] == new[0]))
  told = [str(one[part]) if one else 'missing' for one in (old, new)]
  return f'{item}.{path} is {told[0]} there and {told[1]} in the config' + (
    f', and {len(wrong) - 1} more differ' if wrong[1:] else ''
  )


def leaves(tree: Any) -> dict[str, Any]:
  """By path, keys joined by '.', which is what Orbax calls them."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator='.'): leaf
    for path, leaf in leaves
  }
