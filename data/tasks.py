"""Labelled examples from held-out documents; prompts and scores are elsewhere.

Both tasks are made from the documents of a split (`Corpus.documents`),
by pure functions: the same documents and seed give the same examples.
"""

import collections
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from data.python_text import PACKAGES
from data.splits import stable_hash

_MIN_TOPIC_BYTES = 60  # less says little of anything
_MASK = 'lib'
# what a library is called, or imported as, beside its own name
_ALIASES = (
  'google',
  'jaxlib',
  'jnp',
  'jsp',
  'lax',
  'mpl',
  'nn',
  'nnx',
  'np',
  'npt',
  'ocp',
  'plt',
  'pyplot',
  'python',
  'sp',
  'tensorflow',
  'tf',
  'tfds',
)


@dataclasses.dataclass(frozen=True)
class Choice:
  """A multiple-choice item: which of `choices` goes on after `context`."""

  context: str
  choices: tuple[str, ...]
  answer: int  # index of the true one


@dataclasses.dataclass(frozen=True)
class Labelled:
  """A text and the name of its class."""

  text: str
  label: str


def continuation_choices(
  documents: Sequence[Mapping[str, Any]],
  seed: int,
  limit: int = 0,
  num_choices: int = 4,
  context_bytes: int = 96,
  continuation_bytes: int = 64,
) -> list[Choice]:
  """Which continuation is the true one? Chance is 1 / num_choices.

  Every document is cut, at spaces, into consecutive pairs of a context and its
  continuation. The wrong choices are continuations from other documents; their
  lengths in bytes are the next closest ones there are, and no two choices of an
  item are equal. The answer stands at each place equally often (within one).

  Args:
    documents: held out; `text` is used.
    seed: of which items are taken, of the wrong choices and of their order.
    limit: items at most; 0 = all there are.
    num_choices: continuations to choose from.
    context_bytes: of a context, at least; up to a word more.
    continuation_bytes: of a continuation, at least; up to a word more.
  """
  pieces = [
    (number, context, continuation)
    for number, document in enumerate(documents)
    for context, continuation in _pieces(
      document['text'], context_bytes, continuation_bytes
    )
  ]
  pieces.sort(key=lambda piece: _draw(seed, *piece))
  by_length = sorted(
    range(len(pieces)), key=lambda i: len(pieces[i][2].encode())
  )
  rank = {piece: r for r, piece in enumerate(by_length)}
  items: list[Choice] = []
  for i, (_, context, truth) in enumerate(pieces[: limit or None]):
    wrong = _distractors(pieces, by_length, rank[i], num_choices - 1)
    if len(wrong) == num_choices - 1:
      answer = len(items) % num_choices
      choices = (*wrong[:answer], truth, *wrong[answer:])
      items.append(Choice(context, choices, answer))
  return items


def library_topics(
  documents: Sequence[Mapping[str, Any]],
  labels: Sequence[str],
  seed: int,
  limit: int = 0,
) -> list[Labelled]:
  """Which library is a docstring from?

  Names of all libraries of the corpus, and what they are imported as, are
  masked, so that to find `numpy` in the text is no way to solve it. Classes are
  as frequent as in the documents: report the share of the largest one with any
  accuracy. Texts under 60 bytes are left out.

  Args:
    documents: with `text` and `library`.
    labels: the libraries to tell apart, as from `largest_libraries`.
    seed: of the order.
    limit: examples at most; 0 = all there are.
  """
  examples = [
    Labelled(mask_libraries(document['text']), document['library'])
    for document in documents
    if document['library'] in labels
    and len(document['text'].encode()) >= _MIN_TOPIC_BYTES
  ]
  examples.sort(key=lambda e: _draw(seed, e.label, e.text))
  return examples[: limit or None]


def largest_libraries(
  documents: Sequence[Mapping[str, Any]], count: int = 8
) -> tuple[str, ...]:
  """The libraries with the most documents, sorted by name."""
  counts = collections.Counter(d['library'] for d in documents)
  largest = sorted(counts, key=lambda library: (-counts[library], library))
  return tuple(sorted(largest[:count]))


def mask_libraries(text: str) -> str:
  """Puts 'lib' for every name of a library, also within an identifier."""
  return _LIBRARIES.sub(_MASK, text)


_NAMES = '|'.join(re.escape(name) for name in PACKAGES)
_LIBRARIES = re.compile(
  rf'{_NAMES}|(?<![a-z0-9])(?:{"|".join(_ALIASES)})(?![a-z0-9])', re.IGNORECASE
)


def _pieces(
  text: str, context_bytes: int, continuation_bytes: int
) -> Iterator[tuple[str, str]]:
  """Consecutive (context, continuation), each of whole words."""
  words = re.finditer(r'\s*\S+', text)
  while True:
    context = _take(words, context_bytes)
    continuation = _take(words, continuation_bytes)
    if not continuation:
      return
    yield context, continuation


def _take(words: Iterator[re.Match[str]], num_bytes: int) -> str:
  """Words of at least `num_bytes` together; '' if there are too few."""
  taken = ''
  for word in words:
    taken += word.group()
    if len(taken.encode()) >= num_bytes:
      return taken
  return ''


def _distractors(
  pieces: Sequence[tuple[int, str, str]],
  by_length: Sequence[int],
  rank: int,
  count: int,
) -> list[str]:
  """Continuations of other documents, from the closest length outwards."""
  document, _, truth = pieces[by_length[rank]]
  found: list[str] = []
  for distance in range(1, len(by_length)):
    for place in (rank - distance, rank + distance):
      if 0 <= place < len(by_length):
        other, _, continuation = pieces[by_length[place]]
        if other != document and continuation not in (truth, *found):
          found.append(continuation)
      if len(found) == count:
        return found
  return found


def _draw(seed: int, *content: object) -> int:
  """A number that is random for each content and seed, and never changes."""
  return stable_hash(repr((seed, *content)))
