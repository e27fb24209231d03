"""Tokenized documents on disk: shards of array_record, read by place.

A document is a separator and then its tokens. A shard holds consecutive
documents, in records of at most `_RECORD` tokens of one document: a few words
of a long book are read without the book.
"""

import collections
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python import array_record_module

from data.tokenizer import Tokenizer

_TOKENS = 'tokens.array_record'
_LENGTHS = 'lengths.npy'
_RECORD = 4096  # tokens
# Any record is read alone, and ids of tokens are packed too tightly for
# compression to be worth its time.
_WRITER = 'group_size:1,uncompressed'
_READER = 'readahead_buffer_size:0'
_CHUNK_DOCUMENTS, _CHUNK_BYTES = 4096, 2**22  # encoded together, at most
_OPEN_SHARDS = 16  # of each store


class Shard:
  """Consecutive documents.

  Attributes:
    lengths: int32, tokens of each document, the separator included.
  """

  def __init__(self, folder: Path, dtype: str):
    self._dtype = np.dtype(dtype)
    self.lengths = np.load(folder / _LENGTHS)
    counts = -(-self.lengths // _RECORD)
    # where the records of each document begin
    self._records = (np.cumsum(counts) - counts).astype(np.int32)
    self._reader = array_record_module.ArrayRecordReader(
      str(folder / _TOKENS), _READER
    )

  def read(
    self, documents_P: np.ndarray, starts_P: np.ndarray, stops_P: np.ndarray
  ) -> np.ndarray:
    """Tokens [start, stop) of each document, one piece after the other."""
    if not len(documents_P):
      return np.zeros(0, self._dtype)
    first_P, last_P = starts_P // _RECORD, (stops_P - 1) // _RECORD
    records = _ranges(
      self._records[documents_P] + first_P, last_P - first_P + 1
    )
    raw = self._reader.read(records.tolist())
    tokens = np.frombuffer(b''.join(raw), self._dtype)
    # Of each piece, all of its records lie there, from the first one's start.
    there_P = np.minimum((last_P + 1) * _RECORD, self.lengths[documents_P])
    there_P = there_P - first_P * _RECORD
    begins_P = np.cumsum(there_P) - there_P + starts_P - first_P * _RECORD
    return tokens[_ranges(begins_P, stops_P - starts_P)]


@dataclasses.dataclass(frozen=True)
class TokenStore:
  """The documents of a split, in shards.

  Attributes:
    folders: of the shards, in order.
    num_tokens_K: tokens of each shard, separators included.
    num_documents_K: documents of each.
    num_bytes: of UTF-8 text, for which the separators stand not.
    dtype: of the ids on disk.
  """

  folders: tuple[Path, ...]
  num_tokens_K: tuple[int, ...]
  num_documents_K: tuple[int, ...]
  num_bytes: int
  dtype: str

  @property
  def num_tokens(self) -> int:
    """Tokens with the separators."""
    return sum(self.num_tokens_K)

  @property
  def num_documents(self) -> int:
    return sum(self.num_documents_K)

  def shard(self, number: int) -> Shard:
    """A shard, opened; those used last stay open."""
    return self._opened(number)

  @functools.cached_property
  def _opened(self) -> Callable[[int], Shard]:
    def open_shard(number: int) -> Shard:
      return Shard(self.folders[number], self.dtype)

    return functools.lru_cache(maxsize=_OPEN_SHARDS)(open_shard)

  def __getstate__(self) -> dict[str, Any]:
    fields = dataclasses.fields(self)  # what is open stays in its process
    return {field.name: getattr(self, field.name) for field in fields}

  def documents(self) -> Iterator[np.ndarray]:
    """The ids of each document, in order."""
    for number in range(len(self.folders)):
      shard = self.shard(number)
      for i, length in enumerate(shard.lengths):
        yield shard.read(np.array([i]), np.array([0]), np.array([length]))


def write_shard(
  folder: Path,
  texts: Iterable[str],
  tokenizer: Tokenizer,
  tell: Callable[[int], Any] = lambda count: None,
) -> dict[str, Any]:
  """Tokenizes `texts` into a folder; returns counts and a content digest.

  The digest is the SHA-256 over each text's length in bytes and its bytes. The
  next texts are encoded while those before are written.

  Args:
    folder: which is there; whoever calls keeps it from being read half-written.
    texts: of the documents.
    tokenizer: whose ids are written.
    tell: is called with numbers of documents that are done.
  """
  dtype = id_type(tokenizer)
  content = hashlib.sha256()
  lengths: list[int] = []
  num_bytes = 0
  writer = array_record_module.ArrayRecordWriter(str(folder / _TOKENS), _WRITER)
  for encoded, pieces in _encoded(texts, tokenizer):
    for text in encoded:
      content.update(len(text).to_bytes(8, 'big') + text)
      num_bytes += len(text)
    own, records = _records(pieces, tokenizer.separator_id, dtype)
    for record in records:
      writer.write(record)
    lengths += own
    tell(len(pieces))
  writer.close()
  np.save(folder / _LENGTHS, np.array(lengths, np.int32))
  return {
    'documents': len(lengths),
    'bytes': num_bytes,
    'tokens': sum(lengths),
    'sha256': content.hexdigest(),
  }


def open_store(
  folders: Sequence[Path], counts: Sequence[Mapping[str, Any]], dtype: str
) -> TokenStore:
  """The store of shards that `write_shard` wrote, with what it returned."""
  return TokenStore(
    tuple(folders),
    tuple(c['tokens'] for c in counts),
    tuple(c['documents'] for c in counts),
    sum(c['bytes'] for c in counts),
    dtype,
  )


def id_type(tokenizer: Tokenizer) -> str:
  """The type of ids on disk."""
  return 'uint16' if tokenizer.vocab_size <= 2**16 else 'uint32'


def _records(
  pieces: Sequence[np.ndarray], separator_id: int, dtype: str
) -> tuple[list[int], list[bytes]]:
  """Lengths of documents with their separators, and their records."""
  lengths = [len(piece) + 1 for piece in pieces]
  flat = np.full(sum(lengths), separator_id, dtype)
  size = flat.itemsize
  bounds = []
  end = 0
  for piece, length in zip(pieces, lengths, strict=True):
    start, end = end, end + length
    flat[start + 1 : end] = piece
    bounds += [
      (place * size, min(place + _RECORD, end) * size)
      for place in range(start, end, _RECORD)
    ]
  content = flat.tobytes()
  return lengths, [content[start:stop] for start, stop in bounds]


def _encoded(
  texts: Iterable[str], tokenizer: Tokenizer
) -> Iterator[tuple[list[bytes], list[np.ndarray]]]:
  """(UTF-8, ids) of chunks of texts; some chunks are encoded ahead.

  Two at a time: one is in the library, which takes all cores and lets Python
  go, while the ids of the other become arrays.
  """
  waiting: collections.deque[tuple[list[str], futures.Future]] = (
    collections.deque()
  )
  with futures.ThreadPoolExecutor(max_workers=2) as pool:
    for chunk in _chunks(texts):
      waiting.append((chunk, pool.submit(tokenizer.encode_batch, chunk)))
      if len(waiting) > 2:
        first, begun = waiting.popleft()
        yield [text.encode() for text in first], begun.result()
    for first, begun in waiting:
      yield [text.encode() for text in first], begun.result()


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
  """Texts, as many together as are encoded well in parallel."""
  chunk: list[str] = []
  size = 0
  for text in texts:
    chunk.append(text)
    size += len(text)
    if len(chunk) == _CHUNK_DOCUMENTS or size >= _CHUNK_BYTES:
      yield chunk
      chunk, size = [], 0
  if chunk:
    yield chunk


def _ranges(starts_P: np.ndarray, counts_P: np.ndarray) -> np.ndarray:
  """The numbers [start, start + count) of each range, one after the other."""
  starts_P, counts_P = starts_P.astype(np.int64), counts_P.astype(np.int64)
  ends_P = np.cumsum(counts_P)
  shifts = np.repeat(starts_P - (ends_P - counts_P), counts_P)
  return shifts + np.arange(ends_P[-1])
