"""How fast duplicates are found: `python benchmarks/duplicates.py`.

Reads the docstrings of the default corpus once and looks for duplicates in it
and between its splits; then streams made-up text, of which no two are alike,
through what has to stay flat in memory. MB are 10^6 bytes of UTF-8; the peak is
that of the process so far, with the pages of mapped files.

MinHash signatures alone are compared with those of the PyPI packages `rensa`
and `datasketch`, where `pip install rensa==0.5.0 datasketch==2.0.0` was run.
"""

import resource
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from absl import app, flags

from data import minhash, python_text, shingles
from data.contamination import find_contamination
from data.contamination_report import report
from data.duplicates import exact_duplicates, near_duplicates
from data.near_index import NearIndex
from data.ngrams import N, ngram_contamination
from data.splits import SPLITS

PERMUTATIONS = 128
VOCABULARY = 50_000


def row(name: str, megabytes: float, run: Callable[[], str]) -> None:
  """Times a call, and prints it as a row with what it tells."""
  begin = time.perf_counter()
  try:
    told = run()
  except ModuleNotFoundError as error:
    told = f'left out, {error}'
  seconds = time.perf_counter() - begin
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
  speed = megabytes / seconds
  print(
    f'| {name} | {seconds:.2f} | {speed:.1f} | {peak:.0f} | {told} |',
    flush=True,
  )


def size(texts: Sequence[str]) -> float:
  """In MB."""
  return sum(len(text.encode()) for text in texts) / 1e6


def extra(first_T: np.ndarray) -> str:
  """How many texts are no first ones."""
  return f'{int((first_T != np.arange(len(first_T))).sum())} of {len(first_T)}'


def made_up(megabytes: int) -> Iterator[str]:
  """Texts of 200 words with the frequencies of Zipf's law."""
  rng = np.random.Generator(np.random.PCG64(0))
  names = [f'word{i}' for i in range(VOCABULARY)]
  length = 0
  while length < megabytes * 10**6:
    ranks = VOCABULARY ** rng.random(200)
    text = ' '.join([names[int(rank) - 1] for rank in ranks])
    length += len(text)
    yield text


def within(texts: Sequence[str]) -> None:
  """Duplicates in one set."""
  megabytes = size(texts)
  row('words', megabytes, lambda: f'{len(list(shingles.chunks(texts)))} chunks')
  row('exact', megabytes, lambda: extra(exact_duplicates(texts)))
  row('near', megabytes, lambda: extra(near_duplicates(texts)))
  row('near, disk', megabytes, lambda: extra(near_duplicates(texts, memory=0)))


def between(train: Sequence[str], evaluations: dict[str, list[str]]) -> None:
  """Evaluation sets against the training text."""
  megabytes = size(train)
  union = [text for texts in evaluations.values() for text in texts]

  def near() -> str:
    matches = NearIndex(union).query(train)
    return f'{len(np.unique(matches.indexed))} of {len(union)}'

  def ngrams() -> str:
    found = ngram_contamination(train, union).num_found
    return f'{int((found > 0).sum())} of {len(union)} hold one'

  def everything() -> str:
    found, _ = find_contamination(train, evaluations)
    counts = [
      report(name, texts, found[name], n=N).num_contaminated
      for name, texts in evaluations.items()
    ]
    return ' and '.join(map(str, counts)) + f' of {len(union)}'

  row('train against the rest: near', megabytes, near)
  row(f'train against the rest: {N}-grams', megabytes, ngrams)
  row('train against the rest: all in one pass', megabytes, everything)


def signatures(texts: Sequence[str]) -> None:
  """MinHash alone, from hashed shingles; datasketch on every tenth text."""
  sets = [shingles.shingle_sets(chunk) for chunk in shingles.chunks(texts)]
  megabytes = size(texts)

  def ours() -> str:
    for each in sets:
      minhash.signatures(each, PERMUTATIONS)
    return ''

  def rensa() -> str:
    from rensa import RMinHash

    for each in sets:
      RMinHash.digest_matrix_from_flat_token_hashes(
        each.values, each.offsets.astype(np.uint64), PERMUTATIONS, 1
      )
    return ''

  def datasketch() -> str:
    from datasketch import MinHash

    for each in sets:
      for index in range(0, len(each), 10):
        values = each.values[each.offsets[index] : each.offsets[index + 1]]
        MinHash(PERMUTATIONS, hashfunc=int).update_batch(values >> 32)
    return ''

  row('MinHash: NumPy', megabytes, ours)
  row('MinHash: rensa', megabytes, rensa)
  row('MinHash: datasketch', megabytes / 10, datasketch)


def streamed(megabytes: int, evaluation: Sequence[str]) -> None:
  """What has to stay flat in memory."""

  def near() -> str:
    return extra(near_duplicates(made_up(megabytes), memory=2**26))

  def against() -> str:
    find_contamination(made_up(megabytes), {'validation': evaluation})
    return ''

  def only() -> str:
    return f'{sum(1 for _ in made_up(megabytes))} texts'

  row('made-up text alone', megabytes, only)
  row('made-up text against validation', megabytes, against)
  row('made-up text: near, 64 MiB in memory', megabytes, near)


def main(argv: Sequence[str]) -> None:
  del argv
  documents = python_text.extract('docstrings').documents
  splits: dict[str, list[str]] = {split: [] for split in SPLITS}
  for document in documents:
    splits[document.split].append(document.text)
  train = splits.pop('train')
  print('| part | seconds | MB/s | peak MB | found |\n|---|---|---|---|---|')
  within([document.text for document in documents])
  between(train, splits)
  signatures(train)
  streamed(flags.FLAGS.megabytes, splits['validation'])


if __name__ == '__main__':
  flags.DEFINE_integer('megabytes', 100, 'of made-up text to stream')
  app.run(main)
