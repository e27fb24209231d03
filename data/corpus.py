"""From sources of text to a tokenizer and tokenized splits, once.

What is prepared lies in a folder of the cache, in parts that are each whole or
absent: the documents that filters kept, the tokenizer, and every shard of
tokens. Killed half-way, preparation goes on with the parts that are missing.
"""

import concurrent.futures
import dataclasses
import itertools
import logging
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import process
from pathlib import Path
from typing import Any

import tqdm

from configs import tree
from configs.errors import UserError
from configs.files import write_json
from data import cache, documents, sources, tokenizer, tokens
from data.config import TRAINED_TOKENIZERS, DataConfig
from data.recipe import special_tokens
from data.rows import Row, joined
from data.splits import SPLITS

log = logging.getLogger(__name__)

_VERSION = 2  # of what is prepared, and how
_TOKENIZER = 'tokenizer.json'
_SHARD_BYTES = 2**26  # of text
_TRAINED_ON = 2**30  # bytes of text that a tokenizer is trained on, at most
_SAMPLE = 1000  # documents, of which sizes are judged


@dataclasses.dataclass(frozen=True)
class Corpus:
  """All that training needs to know of the text.

  Attributes:
    config: of which it was prepared.
    folder: where it lies.
    tokenizer: trained on the train splits, where it is trained.
    stores: tokenized 'train', 'validation' and 'test', one of each source.
    digest: of the text that is trained and tested on, and the tokenizer.
    description: JSON-able: the sources, their versions and skipped files; what
      filters and interventions did; documents, bytes, tokens and SHA-256 of
      each split.
  """

  config: DataConfig
  folder: Path
  tokenizer: tokenizer.Tokenizer
  stores: Mapping[str, tuple[tokens.TokenStore, ...]]
  digest: str
  description: Mapping[str, Any]

  def documents(self, split: str) -> Sequence[Row]:
    """The documents of a split, those of one source after the other's."""
    opened = documents.open_documents(self.config)
    return joined([part[split] for part in opened])


def prepare(config: DataConfig) -> Corpus:
  """Reads and tokenizes the sources; the second time it only opens the result.

  Raises:
    UserError: a source that is missing, empty or unreadable; a tokenizer that
      is, or that cannot encode the text.
  """
  _check_main_guard(config)
  path = cache.root(config.cache_dir) / 'corpora' / _key(config)
  if not (path / cache.META).exists():
    with cache.locked(path):
      if not (path / cache.META).exists():
        path.mkdir(exist_ok=True)
        write_json(path / cache.META, _build(path, config))
  meta = cache.read_meta(path)
  chosen = _load_tokenizer(path)
  return Corpus(
    config=config,
    folder=path,
    tokenizer=chosen,
    stores={
      split: tuple(
        _open(path, number, split, tokens.id_type(chosen))
        for number in range(len(meta['sources']))
      )
      for split in SPLITS
    },
    digest=meta['digest'],
    description=meta,
  )


def _key(config: DataConfig) -> str:
  """Digest of all that decides what is prepared."""
  special = special_tokens(config)
  named = config.tokenizer
  if named not in TRAINED_TOKENIZERS:
    named = tokenizer.load_tokenizer(named, special).digest
  return tree.digest(
    [
      _VERSION,
      documents.identity(config),
      [named, config.vocab_size if config.tokenizer == 'bpe' else 0],
      special,
    ]
  )


def _build(path: Path, config: DataConfig) -> dict[str, Any]:
  started = time.monotonic()
  specs = sources.parse(config.source)
  log.info('preparing %s in %s', config.source, path)
  filtered = documents.filter_documents(config)
  opened = documents.open_documents(config)
  for spec, part in zip(specs, opened, strict=True):
    for split in SPLITS:
      if not len(part[split]):
        raise UserError(
          f'data.source: {spec} has no document left in its {split} split'
        )
  cache.build_once(
    path / 'tokenizer', lambda folder: _make_tokenizer(folder, config, opened)
  )
  chosen = _load_tokenizer(path)
  _write_shards(path, config, opened)
  stores = [
    {split: _counts(path, number, split) for split in SPLITS}
    for number in range(len(specs))
  ]
  splits = {
    split: _total([store[split] for store in stores]) for split in SPLITS
  }
  for split, counts in splits.items():
    log.info('%s: %s', split, counts)
  log.info('prepared in %.1f s', time.monotonic() - started)
  return {
    'sources': [
      {
        'source': str(spec),
        **sources.describe(spec, config.cache_dir),
        'splits': store,
      }
      for spec, store in zip(specs, stores, strict=True)
    ],
    'filters': filtered,
    'interventions': documents.describe_interventions(config),
    'splits': splits,
    'tokenizer': {
      'kind': config.tokenizer,
      'vocab_size': chosen.vocab_size,
      'sha256': chosen.digest,
      'bytes_per_token': {
        split: counts['bytes'] / counts['tokens']
        for split, counts in splits.items()
      },
    },
    'digest': tree.digest(
      [chosen.digest, *(splits[split]['sha256'] for split in SPLITS)]
    ),
  }


def _make_tokenizer(
  folder: Path,
  config: DataConfig,
  opened: Sequence[Mapping[str, Sequence[Row]]],
) -> dict[str, Any]:
  special = special_tokens(config)
  trains = [part['train'] for part in opened]
  if config.tokenizer == 'byte':
    chosen: tokenizer.Tokenizer = tokenizer.ByteTokenizer(special)
  elif config.tokenizer == 'bpe':
    texts = _sample(trains, 'training the tokenizer')
    chosen = tokenizer.train_bpe(texts, config.vocab_size, special)
  else:
    chosen = tokenizer.load_tokenizer(config.tokenizer, special)
    tokenizer.check_covers(chosen, _sample(trains, 'trying the tokenizer'))
  (folder / _TOKENIZER).write_text(chosen.to_json())
  return {'sha256': chosen.digest}


def _load_tokenizer(path: Path) -> tokenizer.Tokenizer:
  return tokenizer.tokenizer_from_json(
    (path / 'tokenizer' / _TOKENIZER).read_text()
  )


def _sample(trains: Sequence[Sequence[Row]], why: str) -> Iterator[str]:
  """Texts for a tokenizer: all, or evenly spread ones of a lot."""
  total = sum(_mean_bytes(rows) * len(rows) for rows in trains)
  step = max(1, -(-int(total) // _TRAINED_ON))
  for rows in trains:
    for index in tqdm.trange(0, len(rows), step, desc=why, unit=' documents'):
      yield rows[index]['text']


def _mean_bytes(rows: Sequence[Row]) -> float:
  """Of a document, judged by some that are evenly spread."""
  count = min(len(rows), _SAMPLE)
  chosen = [index * len(rows) // count for index in range(count)]
  return sum(len(rows[i]['text'].encode()) for i in chosen) / count


@dataclasses.dataclass(frozen=True)
class _Job:
  """One shard to be written: documents [start, stop) of a source's split."""

  path: Path
  source: int
  split: str
  number: int
  start: int
  stop: int

  @property
  def folder(self) -> Path:
    return _shards(self.path, self.source, self.split) / f'{self.number:05d}'


def _shards(path: Path, source: int, split: str) -> Path:
  return path / 'shards' / f'{source}-{split}'


def _write_shards(
  path: Path,
  config: DataConfig,
  opened: Sequence[Mapping[str, Sequence[Row]]],
) -> None:
  jobs = [
    job
    for source, part in enumerate(opened)
    for split in SPLITS
    for job in _jobs(path, source, split, part[split])
  ]
  left = [job for job in jobs if not (job.folder / cache.META).exists()]
  total, missing = (
    sum(j.stop - j.start for j in some) for some in (jobs, left)
  )
  with tqdm.tqdm(
    total=total,
    initial=total - missing,
    desc='tokenizing',
    unit=' documents',
  ) as bar:
    if not config.num_workers:
      chosen = _load_tokenizer(path)
      for job in left:
        _write_shard(job, opened[job.source][job.split], chosen, bar.update)
      return
    with concurrent.futures.ProcessPoolExecutor(
      config.num_workers, mp_context=multiprocessing.get_context('spawn')
    ) as pool:
      begun = {pool.submit(_write_alone, job, config): job for job in left}
      for future in concurrent.futures.as_completed(begun):
        _result(future)
        bar.update(begun[future].stop - begun[future].start)


def _result(future: concurrent.futures.Future) -> None:
  try:
    future.result()
  except process.BrokenProcessPool as error:
    raise UserError(
      'a process that prepared text was killed, perhaps for want of memory: '
      'lower data.num_workers and run the command again, which keeps what is '
      'done'
    ) from error


def _check_main_guard(config: DataConfig) -> None:
  """A script that is imported by its own worker would wait for itself."""
  imported = getattr(multiprocessing.current_process(), '_inheriting', False)
  if config.num_workers and imported:
    raise UserError(
      f'data.num_workers = {config.num_workers}: processes import the script '
      "that starts them; put what it does under if __name__ == '__main__':"
    )


def _jobs(
  path: Path, source: int, split: str, rows: Sequence[Row]
) -> list[_Job]:
  """Shards of about `_SHARD_BYTES` of text each."""
  count = max(1, round(len(rows) * _mean_bytes(rows) / _SHARD_BYTES))
  count = min(count, len(rows))
  bounds = [len(rows) * number // count for number in range(count + 1)]
  return [
    _Job(path, source, split, number, start, stop)
    for number, (start, stop) in enumerate(itertools.pairwise(bounds))
  ]


def _write_alone(job: _Job, config: DataConfig) -> None:
  """Writes a shard in a process of its own."""
  rows = documents.open_documents(config)[job.source][job.split]
  _write_shard(job, rows, _load_tokenizer(job.path), lambda count: None)


def _write_shard(
  job: _Job, rows: Sequence[Row], chosen: tokenizer.Tokenizer, tell: Any
) -> None:
  texts = (rows[index]['text'] for index in range(job.start, job.stop))
  cache.build_once(
    job.folder,
    lambda folder: tokens.write_shard(folder, texts, chosen, tell),
  )


def _folders(path: Path, source: int, split: str) -> list[Path]:
  folder = _shards(path, source, split)
  return sorted(found for found in folder.iterdir() if found.name.isdigit())


def _counts(path: Path, source: int, split: str) -> dict[str, Any]:
  """Of a source's split, over all shards."""
  return _total(
    [cache.read_meta(folder) for folder in _folders(path, source, split)]
  )


def _total(counts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  hashes = [count['sha256'] for count in counts]
  return {
    **{
      key: sum(count[key] for count in counts)
      for key in ('documents', 'bytes', 'tokens')
    },
    'sha256': hashes[0] if len(hashes) == 1 else tree.digest(hashes),
  }


def _open(path: Path, source: int, split: str, dtype: str) -> tokens.TokenStore:
  folders = _folders(path, source, split)
  return tokens.open_store(
    folders, [cache.read_meta(folder) for folder in folders], dtype
  )
