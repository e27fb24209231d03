"""The documents of a config: sources, filtered and then changed."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from configs import tree
from data import cache, filters, interventions, sources
from data.config import DataConfig
from data.interventions import InterventionConfig
from data.rows import Row
from data.splits import SPLITS

_VERSION = 1  # of what filters and interventions do
_KEPT = 'kept.npz'

Splits = Mapping[str, Sequence[Row]]


def filter_documents(config: DataConfig) -> list[dict[str, Any]]:
  """Decides which documents stay, once; returns what each filter did."""

  def build(partial: Path) -> dict[str, Any]:
    kept, reports = filters.run(config.filters, _raw(config))
    arrays: dict[str, Any] = {
      _name(source, split): kept[source][split]
      for source in range(len(kept))
      for split in SPLITS
    }
    np.savez(partial / _KEPT, **arrays)
    return {'filters': [report.as_json() for report in reports]}

  return cache.build_once(_folder(config), build)['filters']


def open_documents(config: DataConfig) -> list[Splits]:
  """The documents of each source, by split."""
  return [splits for splits, _ in _changed(config)]


def describe_interventions(config: DataConfig) -> list[dict[str, Any]]:
  """What was changed in the train split; empty if nothing."""
  return [record for _, record in _changed(config) if record['digest']]


def identity(config: DataConfig) -> str:
  """Digest of all that decides which documents there are, and their text."""
  return tree.digest(
    [
      _VERSION,
      _folder(config).name,
      dataclasses.asdict(config.interventions),
    ]
  )


def _changed(config: DataConfig) -> list[tuple[Splits, dict[str, Any]]]:
  filter_documents(config)
  return _open(config, _folder(config))


@functools.lru_cache(maxsize=2)
def _open(
  config: DataConfig, folder: Path
) -> list[tuple[Splits, dict[str, Any]]]:
  """Of each source its documents, and what was changed in them.

  Opened once in a process, as changes may have to read all documents; the name
  of `folder` follows from what the sources hold.
  """
  found: list[tuple[Splits, dict[str, Any]]] = []
  with np.load(folder / _KEPT) as kept:
    for source, raw in enumerate(_raw(config)):
      splits = {
        split: filters.keep(
          config.filters, raw[split], kept[_name(source, split)]
        )
        for split in SPLITS
      }
      # What is changed on purpose is changed in one place: the first source.
      change = InterventionConfig() if source else config.interventions
      train, record = interventions.apply(change, splits['train'])
      found.append(({**splits, 'train': train}, record))
  return found


def _folder(config: DataConfig) -> Path:
  """Where the decision of filters is kept."""
  identities = [
    sources.identity(spec, config.cache_dir)
    for spec in sources.parse(config.source)
  ]
  key = tree.digest([_VERSION, identities, dataclasses.asdict(config.filters)])
  return cache.root(config.cache_dir) / 'filters' / key


def _raw(config: DataConfig) -> list[Splits]:
  return [
    sources.open_splits(spec, config.cache_dir)
    for spec in sources.parse(config.source)
  ]


def _name(source: int, split: str) -> str:
  return f'{source}-{split}'
