"""How fast text becomes batches: `python benchmarks/pipeline.py`.

Three parts, each on what it makes itself:

- tokenize: documents of words drawn by Zipf's law, through our BPE of 2,048
  tokens into a shard on disk, beside the library's own batch call on the same
  texts, in turn; the ratio of the best times is told.
- read: batches of rows of 2,048 tokens from shards on disk, tokens a second,
  for each objective and way of packing.
- memory: the same in a process of its own, from a corpus that stands for
  `--gigabytes` of text (at 2.75 bytes a token), with the most it has held.
"""

import dataclasses
import json
import multiprocessing
import pathlib
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import numpy as np
import tokenizers
from absl import app, flags

from configs import pretrain
from configs.tree import to_dataclass, with_overrides
from data import tokenizer, tokens
from data.config import DataConfig
from data.fitting import FitRows, make_plan
from data.packing import SplitRows
from data.pipeline import TrainRows, train_batches
from data.recipe import make_recipe

LENGTH = 2048
BYTES_PER_TOKEN = 2.75
SHARD_TOKENS = 2**24
KINDS = (
  ('causal', 'decoder', 'split'),
  ('causal', 'decoder', 'fit'),
  ('masked', 'encoder', 'split'),
  ('spans', 'encoder_decoder', 'fit'),
)


@dataclasses.dataclass(frozen=True)
class Ready:
  """Stands for a tokenizer: its texts are arrays of ids already."""

  vocab_size: int = 2048
  separator_id: int = 0

  def encode_batch(self, texts: Sequence[np.ndarray]) -> list[np.ndarray]:
    return list(texts)


class Ids(np.ndarray):
  """Ids that can be asked for their text, of which there is none."""

  def encode(self) -> bytes:
    return b''


def texts_of_words(megabytes: float) -> list[str]:
  """Documents of some 400 bytes, of 20,000 words by Zipf's law."""
  draw = np.random.default_rng(0)
  letters = np.array(list('etaoinshrdlucmfwypvbgk'))
  words = np.array(
    [
      ''.join(draw.choice(letters, size))
      for size in draw.integers(1, 10, 20_000)
    ]
  )
  shares = 1 / np.arange(1, 20_001)
  count = int(megabytes * 1e6 / 6.5)
  chosen = words[draw.choice(20_000, count, p=shares / shares.sum())]
  return [' '.join(part) for part in np.array_split(chosen, count // 70)]


def tokenize(megabytes: float, repeats: int) -> None:
  """Prints the ratio of our preparation to the library's bare call."""
  texts = texts_of_words(megabytes)
  size = sum(len(text.encode()) for text in texts) / 1e6
  bpe = tokenizer.train_bpe(texts[:5000], 2048)
  own = json.loads(bpe.to_json())['tokenizer']
  library = tokenizers.Tokenizer.from_str(json.dumps(own))
  bare, ours = [], []
  for _ in range(repeats):
    began = time.perf_counter()
    library.encode_batch_fast(texts, add_special_tokens=False)
    bare.append(time.perf_counter() - began)
    with tempfile.TemporaryDirectory() as folder:
      began = time.perf_counter()
      tokens.write_shard(pathlib.Path(folder), texts, bpe)
      ours.append(time.perf_counter() - began)
  print(
    f'tokenize: library alone {size / min(bare):.1f} MB/s, tokenized, hashed '
    f'and written {size / min(ours):.1f} MB/s: {min(bare) / min(ours):.0%}'
  )


def make_store(folder: pathlib.Path, num_tokens: int) -> tokens.TokenStore:
  """Documents of 140 tokens on average, in shards."""
  draw = np.random.default_rng(0)
  folders, counts = [], []
  for number in range(max(1, num_tokens // SHARD_TOKENS)):
    lengths = np.minimum(draw.geometric(1 / 140, SHARD_TOKENS // 140), 20_000)
    flat = draw.integers(1, 2000, lengths.sum(), dtype=np.uint16)

    def documents(
      flat: np.ndarray = flat, lengths: np.ndarray = lengths
    ) -> Iterator[np.ndarray]:
      ends = np.cumsum(lengths)
      for length, end in zip(lengths, ends, strict=True):
        yield flat[end - length : end].view(Ids)

    folders.append(folder / f'{number:05d}')
    folders[-1].mkdir()
    counts.append(tokens.write_shard(folders[-1], documents(), Ready()))  # type: ignore[arg-type]
  return tokens.open_store(folders, counts, 'uint16')


def rows_of(
  store: tokens.TokenStore,
  kind: str,
  architecture: str,
  packing: str,
  workers: int,
) -> tuple[TrainRows, DataConfig]:
  """Rows of a store by an objective."""
  config = to_dataclass(
    DataConfig,
    with_overrides(
      pretrain.get_config(),
      {
        'data.objective.kind': kind,
        'data.packing': packing,
        'data.sequence_length': LENGTH,
        'data.batch_size': 8,
        'data.vocab_size': 2048,
        'data.num_workers': workers,
      },
    ).data,
  )
  marks = ('[MASK]', *(f'<extra_id_{i}>' for i in range(200)))
  recipe = make_recipe(config, tokenizer.ByteTokenizer(marks), architecture)
  if packing == 'split':
    return SplitRows(store, recipe, config.batch_size, 0), config
  plans = [
    make_plan(
      store.shard(k).lengths,
      np.arange(store.num_documents_K[k]),
      recipe,
      (0, k),
    )
    for k in range(len(store.folders))
  ]
  return FitRows(store, recipe, config.batch_size, 0, plans), config


def read(
  store: tokens.TokenStore, kinds: Sequence[tuple[str, str, str]], steps: int
) -> None:
  """Prints tokens a second."""
  for kind, architecture, packing in kinds:
    rows, config = rows_of(
      store, kind, architecture, packing, flags.FLAGS.workers
    )
    batches = train_batches(rows, config)
    for _ in range(10):
      next(batches)
    began = time.perf_counter()
    for _ in range(steps):
      next(batches)
    seconds = time.perf_counter() - began
    speed = steps * config.batch_size * LENGTH / seconds
    print(f'read: {kind}, {packing}: {speed / 1e6:.2f}M tokens/s')


def read_much(store: tokens.TokenStore, steps: int) -> None:
  """Reads in a process of its own; prints the most that it has held."""
  flags.FLAGS(['reader'])
  rows, config = rows_of(store, *KINDS[0], workers=0)
  batches = train_batches(rows, config)
  for part in range(4):
    print(
      f'memory: {_most_held():.0f} MB after {part * steps} batches of '
      f'{store.num_tokens / 1e9:.2f}G tokens',
      flush=True,
    )
    for _ in range(steps):
      next(batches)


def _most_held() -> float:
  """The most memory that this process has held, MB.

  By Linux's own count: `getrusage` counts the process that started it, too.
  """
  status = pathlib.Path('/proc/self/status').read_text()
  (kilobytes,) = re.findall(r'VmHWM:\s*(\d+) kB', status)
  return int(kilobytes) / 1024


def main(argv: Sequence[str]) -> None:
  del argv
  given = flags.FLAGS
  if not given.fast:
    sys.modules['fastokens'] = None  # type: ignore[assignment]
  tokenize(given.megabytes, repeats=3)
  with tempfile.TemporaryDirectory(dir=given.folder) as folder:
    path = pathlib.Path(folder)
    store = make_store(path, 2 * SHARD_TOKENS)
    read(store, KINDS, steps=given.steps)
  if given.gigabytes:
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
      num_tokens = int(given.gigabytes * 1e9 / BYTES_PER_TOKEN)
      store = make_store(pathlib.Path(folder), num_tokens)
      reader = multiprocessing.get_context('spawn').Process(
        target=read_much, args=(store, given.steps * 5)
      )
      reader.start()
      reader.join()


if __name__ == '__main__':
  flags.DEFINE_float('megabytes', 20.0, 'Of text to be tokenized.')
  flags.DEFINE_float('gigabytes', 0.0, 'Of text that a large corpus is of.')
  flags.DEFINE_integer('steps', 100, 'Batches of 8 rows to be read.')
  flags.DEFINE_bool('fast', True, 'Whether the extra `fast` may be used.')
  flags.DEFINE_integer('workers', 0, 'Processes that read; 0 = this one.')
  flags.DEFINE_string('folder', None, 'For the corpora; a temporary one.')
  app.run(main)
