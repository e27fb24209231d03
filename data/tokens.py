"""Tokenized splits on disk, mapped into memory."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import tqdm

from data.tokenizer import Tokenizer

_TOKENS = 'tokens.npy'
_OFFSETS = 'offsets.npy'
_CHUNK = 512  # documents encoded together


@dataclasses.dataclass(frozen=True)
class TokenStore:
  """Documents as one array of ids: each is a separator and then its tokens.

  Attributes:
    tokens: ids of all documents, one after the other (uint16 or uint32).
    offsets: int64; document i is tokens[offsets[i]:offsets[i + 1]].
    num_bytes: of UTF-8 text, for which the separators stand not.
  """

  tokens: np.ndarray
  offsets: np.ndarray
  num_bytes: int

  @property
  def num_tokens(self) -> int:
    """Tokens with the separators."""
    return len(self.tokens)

  @property
  def num_documents(self) -> int:
    return len(self.offsets) - 1


def write_tokens(
  folder: Path, texts: Iterable[str], tokenizer: Tokenizer, name: str
) -> dict[str, Any]:
  """Tokenizes `texts` into `folder`; returns counts and a content digest.

  The digest is the SHA-256 over each text's length in bytes and its bytes.

  Args:
    folder: is made; whoever calls keeps it from being read half-written.
    name: of the split, for the progress bar.
  """
  folder.mkdir()
  dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
  content = hashlib.sha256()
  lengths: list[int] = []
  num_bytes = 0
  with open(folder / _TOKENS, 'wb') as file:
    _write_header(file, dtype, 0)
    progress = tqdm.tqdm(texts, desc=f'tokenizing {name}', unit=' documents')
    for chunk in _chunks(progress):
      for text in chunk:
        encoded = text.encode()
        content.update(len(encoded).to_bytes(8, 'big') + encoded)
        num_bytes += len(encoded)
      pieces = tokenizer.encode_batch(chunk)
      lengths += [len(piece) + 1 for piece in pieces]
      separator = np.array([tokenizer.separator_id])
      stream = itertools.chain(*((separator, piece) for piece in pieces))
      file.write(np.concatenate(list(stream)).astype(dtype).tobytes())
    file.seek(0)
    _write_header(file, dtype, sum(lengths))
  np.save(folder / _OFFSETS, np.cumsum([0, *lengths], dtype=np.int64))
  return {
    'documents': len(lengths),
    'bytes': num_bytes,
    'tokens': sum(lengths),
    'sha256': content.hexdigest(),
  }


def open_tokens(folder: Path, num_bytes: int) -> TokenStore:
  """Maps what `write_tokens` wrote; `num_bytes` is what it returned."""
  return TokenStore(
    tokens=np.load(folder / _TOKENS, mmap_mode='r'),
    offsets=np.load(folder / _OFFSETS),
    num_bytes=num_bytes,
  )


def _write_header(file: IO[bytes], dtype: np.dtype, length: int) -> None:
  """Headers of any length are equally long: NumPy pads them for growth."""
  np.lib.format.write_array_header_1_0(
    file,
    {
      'descr': np.lib.format.dtype_to_descr(dtype),
      'fortran_order': False,
      'shape': (length,),
    },
  )


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
  iterator = iter(texts)
  while chunk := list(itertools.islice(iterator, _CHUNK)):
    yield chunk
