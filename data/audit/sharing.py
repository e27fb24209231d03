"""What documents share: repeats within train, and evaluation text in train."""

import itertools
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from data.audit.personal import scrub
from data.audit.texts import Texts
from data.contamination import SHARE, find_contamination
from data.contamination_report import Example, report
from data.duplicates import exact_duplicates, near_duplicates
from data.near_index import THRESHOLD
from data.ngrams import MIN_WORDS, N
from data.shingles import (
  SHINGLE,
  Ragged,
  chunks,
  jaccard,
  shingle_sets,
  words,
)

_EXAMPLES, _EXAMPLES_OF_KIND = 5, 2
_TRIED = 200  # pairs, of which some are linked through other documents only
_BEGINNING = 200  # characters


def repeats(train: Texts) -> dict[str, Any]:
  """Documents that are equal, or nearly so, to an earlier one.

  Args:
    train: of all sources, one after the other.

  Returns:
    JSON-able. 'equal' counts documents equal to an earlier one, 'near' others
    that are in a cluster of near-duplicates with an earlier one.
  """
  began = time.perf_counter()
  exact = exact_duplicates(train)
  middle = time.perf_counter()
  near = near_duplicates(train)
  ended = time.perf_counter()
  place_T = np.arange(len(train))
  is_near_T = (near != place_T) & (exact == place_T)
  pairs = _near_pairs(train, near, is_near_T)
  return {
    'documents': train.num_documents,
    'documents_read': len(train),
    'equal': int(np.sum(exact != place_T)),
    'near': int(np.sum(is_near_T)),
    'threshold': THRESHOLD,
    'shingle': SHINGLE,
    'seconds': {'equal': middle - began, 'near': ended - middle},
    'examples': list(itertools.islice(pairs, _EXAMPLES)),
  }


def contamination(
  train: Texts, evaluations: Mapping[str, Texts]
) -> dict[str, Any]:
  """What each evaluation set has in common with train.

  Args:
    train: of all sources, one after the other.
    evaluations: each set, by its name.

  Returns:
    JSON-able. Each of 'sets' is as in `contamination_report`, but that an
    example has the beginnings of both its texts, and where they are from.
  """
  began = time.perf_counter()
  found, _ = find_contamination(train, evaluations)
  seconds = time.perf_counter() - began
  sets = []
  for name, texts in evaluations.items():
    told = report(name, texts, found[name], n=N, num_examples=_EXAMPLES_OF_KIND)
    examples = [_example(each, texts, train) for each in told.examples]
    sets.append(told.as_json() | {'examples': examples})
  return {
    'documents': train.num_documents,
    'documents_read': len(train),
    'threshold': THRESHOLD,
    'shingle': SHINGLE,
    'n': N,
    'min_words': MIN_WORDS,
    'share': SHARE,
    'seconds': seconds,
    'sets': sets,
  }


def _near_pairs(
  train: Texts, near: np.ndarray, is_near_T: np.ndarray
) -> Iterator[dict[str, Any]]:
  """Of each cluster a pair that is near by itself, if one is soon found."""
  later = np.flatnonzero(is_near_T)
  _, first = np.unique(near[later], return_index=True)
  for index in later[np.sort(first)][:_TRIED].tolist():
    earlier = int(near[index])
    similarity = _jaccard(train[index], train[earlier])
    if similarity >= THRESHOLD:
      yield {
        'jaccard': similarity,
        'text': _beginning(train, index),
        'earlier': _beginning(train, earlier),
      }


def _jaccard(a: str, b: str) -> float:
  only = np.zeros(1, np.int64)
  return float(jaccard(_shingles(a), only, _shingles(b), only)[0])


def _shingles(text: str) -> Ragged:
  return shingle_sets(next(chunks([text])))


def _example(example: Example, texts: Texts, train: Texts) -> dict[str, Any]:
  gram = example.gram
  if gram is not None and gram not in _plain(scrub(texts[example.index])):
    gram = None  # it has something personal
  return {
    'kind': example.kind,
    'jaccard': example.jaccard,
    'share': example.share,
    'gram': gram,
    'text': _beginning(texts, example.index),
    'train': _beginning(train, example.train_index),
  }


def _plain(text: str) -> str:
  return ' '.join(words(text))


def _beginning(texts: Texts, index: int) -> dict[str, Any]:
  """How a text begins, without what is personal, and where it is from."""
  source, place = texts.origin(index)
  text = scrub(texts[index])
  if len(text) > _BEGINNING:
    text = text[:_BEGINNING] + '…'
  return {'source': source, 'index': place, 'beginning': text}
