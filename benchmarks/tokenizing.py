"""How fast texts become arrays of ids: `python benchmarks/tokenizing.py`.

A BPE is trained on the texts, and each method encodes all of them, chunk by
chunk, in turns of which each has texts of its own: other work on the machine
slows all alike, and no method has seen a text before. The first one is the
`tokenizers` library, whose objects nobody reads; the others end with NumPy
arrays. Told are medians, and the median of the ratios to the first, turn by
turn. `fastokens` and `tiktoken` take part where they are installed; the ids of
all are compared.
"""

import glob
import itertools
import json
import os
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from unittest import mock

import numpy as np
import tokenizers
from absl import app, flags

from data import fast_bpe
from data.library_tokenizer import LibraryTokenizer, train_bpe
from data.token_text import byte_characters

_CHUNK = 512  # texts encoded together, as in preparation

Encoder = Callable[[Sequence[str]], list[np.ndarray]]


def read(pattern: str, size: int, length: int) -> list[str]:
  """Up to `size` characters of files, cut into texts of `length`."""
  texts: list[str] = []
  for path in sorted(glob.glob(pattern, recursive=True)):
    with open(path, encoding='utf-8', errors='ignore') as file:
      whole = file.read()
    texts += (whole[i : i + length] for i in range(0, len(whole), length))
    if len(texts) * length >= size:
      break
  return texts


def plain(found: LibraryTokenizer) -> Encoder:
  """`encode_batch` as it is without fastokens."""
  with mock.patch.dict(sys.modules, fastokens=None):
    again = LibraryTokenizer(library_json(found))
    again.encode_batch(['a' * 2**22])  # what else it would ask for
  return again.encode_batch


def library_json(found: LibraryTokenizer) -> str:
  """What the `tokenizers` library reads."""
  return json.dumps(json.loads(found.to_json())['tokenizer'])


def tiktoken_encoder(found: LibraryTokenizer) -> Encoder:
  """The same merges as ranks, for tiktoken in as many threads as cores."""
  import tiktoken

  model = json.loads(library_json(found))['model']
  byte_of = {char: byte for byte, char in enumerate(byte_characters())}
  tokens = [*byte_of, *(first + second for first, second in model['merges'])]
  ids = np.array([model['vocab'][token] for token in tokens], np.int32)
  encoding = tiktoken.Encoding(
    'ours',
    pat_str=r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++"
    r'|\s++$|\s+(?!\S)|\s',
    mergeable_ranks={
      bytes(byte_of[char] for char in token): rank
      for rank, token in enumerate(tokens)
    },
    special_tokens={},
  )
  count = os.cpu_count() or 1
  pool = futures.ThreadPoolExecutor(count)

  def some(texts: Sequence[str]) -> list[np.ndarray]:
    return [
      ids[encoding.encode_to_numpy(text, disallowed_special=())]
      for text in texts
    ]

  def encode(texts: Sequence[str]) -> list[np.ndarray]:
    size = -(-len(texts) // (4 * count))
    parts = [texts[i : i + size] for i in range(0, len(texts), size)]
    return list(itertools.chain(*pool.map(some, parts)))

  return encode


def main(argv: Sequence[str]) -> None:
  del argv
  args = flags.FLAGS
  texts = read(args.texts, args.characters, args.length)
  chunks = [texts[i : i + _CHUNK] for i in range(0, len(texts), _CHUNK)]
  size = sum(len(text.encode()) for text in texts)
  found = train_bpe(texts, args.vocab_size)
  library = tokenizers.Tokenizer.from_str(library_json(found))
  library.encode_special_tokens = True
  methods: dict[str, Callable[[Sequence[str]], list]] = {
    'tokenizers, no arrays': lambda chunk: library.encode_batch_fast(
      chunk, add_special_tokens=False
    ),
    'this, without fastokens': plain(found),
  }
  begin = time.perf_counter()
  if (fast := fast_bpe.encoder(library)) is not None:
    told = time.perf_counter() - begin
    print(f'fastokens: ids compared in {told:.2f} s')
    methods['this, with fastokens'] = fast
  try:
    methods['tiktoken, in threads'] = tiktoken_encoder(found)
  except ModuleNotFoundError as error:
    print(f'tiktoken: left out, {error}')
  seconds_MxT = np.zeros((len(methods), args.turns))
  for turn in range(args.turns):
    own = chunks[turn :: args.turns]
    made = []
    for row, method in enumerate(methods.values()):
      begin = time.perf_counter()
      made.append([method(chunk) for chunk in own])
      seconds_MxT[row, turn] = time.perf_counter() - begin
    check(list(methods), made)
  speeds_MxT = size / args.turns / 1e6 / seconds_MxT
  ratios_M = np.median(speeds_MxT / speeds_MxT[0], axis=1)
  print(f'{len(texts)} texts, {size / 1e6:.1f} MB, {found.vocab_size} ids')
  print('| method | MB/s | of the first |\n|---|---|---|')
  for name, speeds_T, ratio in zip(methods, speeds_MxT, ratios_M, strict=True):
    print(f'| {name} | {np.median(speeds_T):.1f} | {ratio:.2f} |')


def check(names: Sequence[str], made: Sequence[Sequence[list]]) -> None:
  """Raises ValueError unless all ids are those of the first method."""
  expected = [text.ids for chunk in made[0] for text in chunk]
  for name, chunks in itertools.islice(zip(names, made, strict=True), 1, None):
    if [ids.tolist() for chunk in chunks for ids in chunk] != expected:
      raise ValueError(f'{name} makes other ids')


if __name__ == '__main__':
  flags.DEFINE_string(
    'texts',
    f'{sysconfig.get_path("stdlib")}/*/*.py',
    'a glob; by default the standard library',
  )
  flags.DEFINE_integer('characters', 10_000_000, 'of them that are read')
  flags.DEFINE_integer('length', 2000, 'characters of a text')
  flags.DEFINE_integer('vocab_size', 2048, 'of the BPE')
  flags.DEFINE_integer('turns', 7, 'of each method')
  app.run(main)
