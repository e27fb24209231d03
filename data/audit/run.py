"""An audit of one source: one pass over its documents, in flat memory."""

import collections
import dataclasses
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, Protocol, Self

import tqdm

from configs.errors import UserError
from data.audit import extras
from data.audit.documents import Documents, Field, cut
from data.audit.fields import Fields, fields_of
from data.audit.languages import Languages
from data.audit.lengths import Lengths
from data.audit.licences import licences
from data.audit.personal import Personal
from data.audit.quality import Quality
from data.audit.representation import Representation
from data.audit.texts import spread
from data.audit.toxicity import Toxicity
from data.rows import Row

AUDITED = 'train'  # the split that all sections but 'splits' tell of
# A chunk is cut when it has so much of either, whatever the number of workers:
# the results are added up chunk after chunk, so they are the same too.
_CHUNK_CHARACTERS = 1_000_000
_CHUNK_DOCUMENTS = 512
_AHEAD = 2  # chunks that wait for each worker
_LEAST_SECONDS = 1e-3


class Section(Protocol):
  """One part of an audit: it counts chunks, and counts of chunks add up."""

  def count(self, documents: Documents) -> None:
    """Adds a chunk of documents."""

  def add(self, other: Self) -> None:
    """Adds what another has counted of other documents."""

  def tree(self) -> dict[str, Any]:
    """What was found, JSON-able."""


SECTIONS: dict[str, Callable[[], Section]] = {
  'fields': Fields,
  'lengths': Lengths,
  'quality': Quality,
  'languages': Languages,
  'personal': Personal,
  'representation': Representation,
  'toxicity': Toxicity,
}


@dataclasses.dataclass(frozen=True)
class _Chunk:
  places: tuple[int, ...]
  texts: tuple[str, ...]
  fields: tuple[dict[str, Field], ...]


@dataclasses.dataclass
class _Counted:
  """What is known of some documents, and the seconds of a core that it took."""

  sections: dict[str, Any]
  seconds: dict[str, float]
  documents: int = 0
  bytes: int = 0
  words: int = 0

  def add(self, other: '_Counted') -> None:
    for name, section in other.sections.items():
      self.sections[name].add(section)
    for name, seconds in other.seconds.items():
      self.seconds[name] += seconds
    self.documents += other.documents
    self.bytes += other.bytes
    self.words += other.words


def audit(
  splits: Mapping[str, Sequence[Row]],
  source: Mapping[str, Any],
  sample: int = 0,
  num_workers: int = 1,
) -> dict[str, Any]:
  """Tells what is in the text of one source.

  Args:
    splits: the rows of each split; 'train' is audited, of the others only the
      size is told.
    source: what is known of the source beside its text, JSON-able.
    sample: read so many documents of each split, evenly spread; 0 for all.
    num_workers: processes that count; 1 counts in this one. The result is the
      same but for the times.

  Returns:
    JSON-able: 'source', 'sample', 'splits' and 'audited' tell what was read;
    then comes each of `SECTIONS`, and 'licences'. Every section has the
    'seconds' of a core that it took and its 'megabytes_per_second', and
    'speed' those of the whole by the clock.

  Raises:
    UserError: no document to train on, a negative sample, or a package that is
      missing.
  """
  if AUDITED not in splits:
    raise UserError(f'no {AUDITED} split to audit among {", ".join(splits)}')
  if not len(splits[AUDITED]):
    raise UserError(f'the {AUDITED} split has no document to audit')
  if sample < 0:
    raise UserError(f'sample = {sample}: expected 0, for all, or more')
  extras.check()
  began = time.monotonic()
  places = {name: spread(len(rows), sample) for name, rows in splits.items()}
  total = _empty()
  chunks = _chunks(splits[AUDITED], places[AUDITED])
  for counted in _each(chunks, num_workers):
    total.add(counted)
  sizes = {
    name: _size(rows, places[name])
    if name != AUDITED
    else {'bytes': total.bytes, 'words': total.words}
    for name, rows in splits.items()
  }
  return {
    'source': dict(source),
    'sample': sample,
    'audited': AUDITED,
    'splits': {
      name: {
        'documents': len(rows),
        'documents_read': len(places[name]),
        **sizes[name],
      }
      for name, rows in splits.items()
    },
    **_trees(total, source),
    'speed': {
      'num_workers': num_workers,
      **_speed(time.monotonic() - began, total.bytes),
    },
  }


def _trees(total: _Counted, source: Mapping[str, Any]) -> dict[str, Any]:
  trees = {
    name: {**section.tree(), **_speed(total.seconds[name], total.bytes)}
    for name, section in total.sections.items()
  }
  began = time.process_time()
  fields = total.sections['fields'].shares()
  found = licences(source, fields, total.documents, total.bytes)
  seconds = time.process_time() - began
  return trees | {'licences': {**found, **_speed(seconds, total.bytes)}}


def _speed(seconds: float, size: int) -> dict[str, float | None]:
  """Too short a time tells no rate."""
  rate = round(size / 1e6 / seconds, 2) if seconds >= _LEAST_SECONDS else None
  return {'seconds': round(seconds, 3), 'megabytes_per_second': rate}


def _size(rows: Sequence[Row], places: Sequence[int]) -> dict[str, int]:
  size = words = 0
  for place in places:
    text = rows[place]['text']
    size += len(text.encode())
    words += len(text.split())
  return {'bytes': size, 'words': words}


def _chunks(rows: Sequence[Row], places: Sequence[int]) -> Iterator[_Chunk]:
  read: list[tuple[int, str, dict[str, Field]]] = []
  characters = 0
  for place in tqdm.tqdm(places, desc=f'auditing {AUDITED}', unit=' documents'):
    row = rows[place]
    read.append((place, row['text'], fields_of(row)))
    characters += len(row['text'])
    if characters >= _CHUNK_CHARACTERS or len(read) >= _CHUNK_DOCUMENTS:
      yield _Chunk(*zip(*read, strict=True))
      read, characters = [], 0
  if read:
    yield _Chunk(*zip(*read, strict=True))


def _each(chunks: Iterable[_Chunk], num_workers: int) -> Iterator[_Counted]:
  """What each chunk holds, in their order."""
  if num_workers < 2:
    yield from map(_count, chunks)
    return
  # A forked process would share locks with threads that it does not have.
  context = multiprocessing.get_context('spawn')
  with ProcessPoolExecutor(num_workers, mp_context=context) as pool:
    waiting: collections.deque[Future[_Counted]] = collections.deque()
    for chunk in chunks:
      waiting.append(pool.submit(_count, chunk))
      if len(waiting) > _AHEAD * num_workers:
        yield waiting.popleft().result()
    while waiting:
      yield waiting.popleft().result()


def _empty() -> _Counted:
  sections = {name: make() for name, make in SECTIONS.items()}
  return _Counted(sections, dict.fromkeys(SECTIONS, 0.0))


def _count(chunk: _Chunk) -> _Counted:
  counted = _empty()
  began = time.process_time()
  documents = cut(chunk.texts, chunk.fields, chunk.places)
  counted.seconds['quality'] += time.process_time() - began
  for name, section in counted.sections.items():
    began = time.process_time()
    section.count(documents)
    counted.seconds[name] += time.process_time() - began
  counted.documents = len(chunk.texts)
  counted.bytes = int(documents.bytes_P.sum())
  counted.words = len(documents.word_W)
  return counted
