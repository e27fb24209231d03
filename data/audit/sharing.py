"""What documents share: repeats within train, and evaluation text in train."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tqdm

from data import contamination_report
from data.contamination import SHARE, find_contamination
from data.duplicates import exact_duplicates, near_duplicates
from data.near_index import THRESHOLD
from data.ngrams import N
from data.rows import Row

_EXAMPLES, _EXAMPLE_LENGTH = 5, 200


def repeats(train: Sequence[Row]) -> dict[str, Any]:
  """Documents that are equal, or nearly so, to an earlier one.

  Near-duplicates have a Jaccard similarity of at least 0.8, of word 5-grams.

  Args:
    train: of all sources, one after the other.
  """
  began = time.perf_counter()
  exact = exact_duplicates(texts(train, 'equal documents'))
  middle = time.perf_counter()
  near = near_duplicates(texts(train, 'near-duplicates'))
  ended = time.perf_counter()
  places = np.arange(len(near))
  found = np.flatnonzero((near != places) & (exact == places))
  return {
    'documents': len(train),
    'equal to an earlier one': int(np.sum(exact != np.arange(len(exact)))),
    'near to an earlier one': int(np.sum(near != places)),
    'threshold': THRESHOLD,
    'seconds': {'exact': middle - began, 'near': ended - middle},
    'examples': [
      {'document': _cut(train[int(i)]), 'near to': _cut(train[int(near[i])])}
      for i in found[:_EXAMPLES]
    ],
  }


def contamination(
  train: Sequence[Row], evaluations: Mapping[str, Sequence[Row]]
) -> dict[str, Any]:
  """What each evaluation set has in common with train.

  Args:
    train: of all sources, one after the other.
    evaluations: documents of each set, by its name.
  """
  began = time.perf_counter()
  sets = {name: list(texts(rows, name)) for name, rows in evaluations.items()}
  found, _ = find_contamination(texts(train, 'contamination'), sets)
  seconds = time.perf_counter() - began
  return {
    'jaccard': THRESHOLD,
    'ngrams': N,
    'share of a document': SHARE,
    'seconds': seconds,
    'sets': [
      contamination_report.report(name, sets[name], found[name], n=N).as_json()
      for name in sets
    ],
  }


def texts(rows: Sequence[Row], why: str) -> Iterator[str]:
  """The texts of some documents, with a bar."""
  for index in tqdm.trange(len(rows), desc=why, unit=' documents'):
    yield rows[index]['text']


def _cut(row: Row) -> str:
  return row['text'][:_EXAMPLE_LENGTH]
