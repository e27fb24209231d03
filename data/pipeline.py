"""Batches from a corpus, read ahead by Grain's threads or processes."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import grain
import numpy as np
from absl import flags

from configs.errors import UserError
from data import sources
from data.batch import Batch, BatchShape
from data.config import DataConfig
from data.corpus import Corpus
from data.fitting import FitRows, OrderedFitRows, Plan, load_plans
from data.mixture import MixtureConfig, Schedule
from data.packing import OrderedSplitRows, SplitRows
from data.recipe import Recipe
from data.splits import stable_hash
from data.subset import nested_subset
from data.tokens import TokenStore

_READ_AHEAD = grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)
_FOREVER = 2**62  # steps


class TrainRows(Protocol):
  """The endless sequence of rows that training reads, by index."""

  rows_per_epoch: int

  def sequences(self, indices: np.ndarray) -> Batch:
    """The rows at `indices`."""


class MixedRows:
  """Rows of several sources, dealt out by a schedule."""

  def __init__(
    self, parts: Sequence[TrainRows], schedule: Schedule, shape: BatchShape
  ):
    self._parts = parts
    self._schedule = schedule
    self._shape = shape
    self.rows_per_epoch = sum(part.rows_per_epoch for part in parts)

  def sequences(self, indices: np.ndarray) -> Batch:
    """The rows at `indices`, of shape B."""
    sources_B, rows_B = self._schedule.locate(np.asarray(indices))
    batch = self._shape.empty(len(rows_B))
    for source in np.unique(sources_B):
      chosen = sources_B == source
      for key, value in self._parts[source].sequences(rows_B[chosen]).items():
        batch[key][chosen] = value
    return batch


class Batches(Iterator[Batch]):
  """This process's rows of the global batch of each step, from some step on.

  Its state is the number of the next step and nothing else, so that a state
  taken by one number of processes or workers fits any other.
  """

  def __init__(
    self, source: '_GlobalBatches', num_workers: int, first_step: int
  ):
    self._source = source
    self._num_workers = num_workers
    self._iterator: grain.DatasetIterator | None = None
    self.set_state({'next_index': first_step})

  def __next__(self) -> Batch:
    assert self._iterator is not None, 'closed'
    batch = next(self._iterator)
    self._next += 1
    return batch

  def get_state(self) -> dict[str, Any]:
    """JSON-able."""
    return {'next_index': self._next}

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes on from where `get_state` was called."""
    self.close()
    self._next = state['next_index']
    source = dataclasses.replace(self._source, first_step=self._next)
    data = grain.MapDataset.source(source).to_iter_dataset(
      read_options=_READ_AHEAD
    )
    if self._num_workers:
      if not flags.FLAGS.is_parsed():  # as in notebooks; Grain insists
        flags.FLAGS.mark_as_parsed()
      data = data.mp_prefetch(
        grain.MultiprocessingOptions(
          num_workers=self._num_workers, per_worker_buffer_size=4
        )
      )
    self._iterator = iter(data)

  def close(self) -> None:
    """Ends the threads or processes that read ahead."""
    if self._iterator is not None:
      self._iterator.close()
      self._iterator = None


@dataclasses.dataclass(frozen=True)
class _GlobalBatches:
  """Batches by step, from a first one on."""

  rows: TrainRows
  batch_size: int
  own: np.ndarray  # rows of a batch that this process feeds
  first_step: int = 0

  def __len__(self) -> int:
    return _FOREVER

  def __getitem__(self, index: int) -> Batch:
    step = self.first_step + index
    return self.rows.sequences(step * self.batch_size + self.own)

  def __repr__(self) -> str:
    return f'{type(self).__name__}(batch_size={self.batch_size})'


def train_rows(
  corpus: Corpus, config: DataConfig, recipe: Recipe, num_rows: int = 0
) -> TrainRows:
  """All rows of training, by index.

  The global batch of step s is rows [s * B, (s + 1) * B): a pure function of
  the corpus, the config and s.

  Args:
    corpus: whose train splits are read.
    config: its sequence_length, batch_size, packing, mixture, unique_tokens and
      seed decide the order.
    recipe: what a row is made of.
    num_rows: that will be asked for; 0 if that is not known.

  Raises:
    UserError: a source is shorter than one batch (in a mixture: than one row),
      or the caps of a mixture leave less than `num_rows`.
  """
  stores = corpus.stores['train']
  mixed = len(stores) > 1 or config.mixture != MixtureConfig()
  batch_size = 1 if mixed else config.batch_size
  parts = [
    _rows(corpus, store, source, config, recipe, batch_size)
    for source, store in enumerate(stores)
  ]
  if not mixed:
    return parts[0]
  mixture = config.mixture
  if not mixture.weights and not mixture.stages:
    published = sources.published_weights(config.source)
    mixture = dataclasses.replace(mixture, weights=published)
  schedule = Schedule(
    mixture,
    [part.rows_per_epoch for part in parts],
    config.sequence_length,
    [store.num_tokens for store in stores],
    config.seed,
  )
  most = schedule.capacity()
  if most is not None and num_rows > most:
    raise UserError(
      f'data.mixture.max_epochs = {config.mixture.max_epochs}: leaves {most} '
      f'rows, and training reads {num_rows}: raise the caps, or lower '
      'train.num_steps'
    )
  return MixedRows(parts, schedule, recipe.shape)


def train_batches(
  rows: TrainRows,
  config: DataConfig,
  own: slice = slice(None),
  first_step: int = 0,
) -> Batches:
  """An endless iterator over steps.

  Args:
    rows: of `train_rows`.
    config: its batch_size (rows over all processes) and num_workers are used.
    own: of the global batch, those rows that this process feeds.
    first_step: what to begin with; 0 is the start of the first epoch.
  """
  source = _GlobalBatches(
    rows, config.batch_size, np.arange(config.batch_size)[own]
  )
  return Batches(source, config.num_workers, first_step)


def eval_batches(
  corpus: Corpus,
  split: str,
  config: DataConfig,
  recipe: Recipe,
  batch_size: int,
  num_sequences: int = 0,
  own: slice = slice(None),
) -> Iterator[Batch]:
  """One pass over a split: causal, every token of a document is a target once.

  Rows are as in training, but in the order of the sources and documents. All
  batches are of one shape: the last is filled up with rows of weight 0.

  Args:
    corpus: that holds the split.
    split: 'train', 'validation' or 'test'.
    config: its packing is used.
    recipe: what a row is made of.
    batch_size: rows over all processes.
    num_sequences: this many rows, evenly spread over the split; 0 = all.
    own: of each batch, those rows that this process feeds.
  """
  parts = [
    _ordered(corpus, store, split, source, config, recipe)
    for source, store in enumerate(corpus.stores[split])
  ]
  ends = np.cumsum([len(part) for part in parts])
  total = int(ends[-1])
  count = min(num_sequences or total, total)
  chosen = np.arange(count) * total // count
  padding = np.full(-count % batch_size, total)
  for indices_B in np.concatenate([chosen, padding]).reshape(-1, batch_size):
    indices_B = indices_B[own]
    batch = recipe.shape.empty(len(indices_B))
    for part, end in zip(parts, ends, strict=True):
      (inside,) = np.nonzero((indices_B < end) & (indices_B >= end - len(part)))
      if len(inside):
        found = part.sequences(indices_B[inside] - (end - len(part)))
        for key, value in found.items():
          batch[key][inside] = value
    yield batch


def _rows(
  corpus: Corpus,
  store: TokenStore,
  source: int,
  config: DataConfig,
  recipe: Recipe,
  batch_size: int,
) -> TrainRows:
  seed = _seed_of(config.seed, source)
  documents_K = None
  if config.unique_tokens:
    documents_K = _subset(store, config.unique_tokens, config.seed)
  if config.packing == 'split':
    return SplitRows(store, recipe, batch_size, seed, documents_K)
  name = ['train', source, config.unique_tokens, config.seed]
  plans = _plans(corpus, store, name, seed, config, recipe, documents_K)
  return FitRows(
    store, recipe, batch_size, seed, plans, config.objective.static
  )


def _ordered(
  corpus: Corpus,
  store: TokenStore,
  split: str,
  source: int,
  config: DataConfig,
  recipe: Recipe,
) -> OrderedSplitRows | OrderedFitRows:
  """Rows for evaluation: the same whatever seed a run has."""
  seed = _seed_of(0, source)
  if config.packing == 'split':
    return OrderedSplitRows(store, recipe, seed)
  plans = _plans(corpus, store, [split, source], seed, config, recipe)
  return OrderedFitRows(store, recipe, plans, seed)


def _plans(
  corpus: Corpus,
  store: TokenStore,
  name: Sequence[Any],
  seed: int,
  config: DataConfig,
  recipe: Recipe,
  documents_K: Sequence[np.ndarray] | None = None,
) -> Sequence[Plan]:
  return load_plans(
    store,
    recipe,
    seed,
    [*name, dataclasses.asdict(config.objective)],
    corpus.folder / 'plans',
    documents_K,
  )


def _seed_of(seed: int, source: int) -> int:
  """Of a source: what is drawn for its rows is no other source's."""
  return stable_hash(f'{seed} {source}') if source else seed


def _subset(store: TokenStore, num_tokens: int, seed: int) -> list[np.ndarray]:
  """Of each shard, the documents of a nested subset (`data.subset`)."""
  shards = range(len(store.folders))
  lengths = np.concatenate([store.shard(shard).lengths for shard in shards])
  chosen = nested_subset(lengths, num_tokens, seed)
  ends = np.cumsum(store.num_documents_K)
  starts = ends - np.array(store.num_documents_K)
  return [
    chosen[(chosen >= start) & (chosen < end)] - start
    for start, end in zip(starts, ends, strict=True)
  ]
