"""From a source of text to a tokenizer and tokenized splits, once."""

import dataclasses
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tqdm

from configs import tree
from data import cache, sources, tokenizer, tokens
from data.config import DataConfig
from data.splits import SPLITS

log = logging.getLogger(__name__)

_TOKENIZER = 'tokenizer.json'


@dataclasses.dataclass(frozen=True)
class Corpus:
  """All that training needs to know of the text.

  Attributes:
    tokenizer: trained on the train split, where it is trained.
    stores: tokenized 'train', 'validation' and 'test'.
    digest: of the text that was read, its splits and the tokenizer.
    description: JSON-able: the source, its versions and skipped files, and
      documents, bytes, tokens and SHA-256 of each split.
  """

  tokenizer: tokenizer.Tokenizer
  stores: Mapping[str, tokens.TokenStore]
  digest: str
  description: Mapping[str, Any]


def prepare(config: DataConfig) -> Corpus:
  """Reads and tokenizes the source; the second time it only opens the result.

  Raises:
    UserError: a source that is missing, empty or unreadable.
  """
  key = tree.digest(
    [sources.identity(config), config.tokenizer, config.vocab_size]
  )
  path = cache.root(config.cache_dir) / 'corpora' / key
  meta = cache.build_once(path, lambda folder: _build(folder, config))
  splits = meta['splits']
  return Corpus(
    tokenizer=tokenizer.tokenizer_from_json((path / _TOKENIZER).read_text()),
    stores={
      split: tokens.open_tokens(path / split, splits[split]['bytes'])
      for split in SPLITS
    },
    digest=meta['digest'],
    description=meta,
  )


def _build(folder: Path, config: DataConfig) -> dict[str, Any]:
  started = time.monotonic()
  log.info('preparing %s in %s', config.source, folder.parent)
  texts = _texts(config, 'train')
  chosen = _tokenizer(config, texts)
  (folder / _TOKENIZER).write_text(chosen.to_json())
  splits = {}
  for split in SPLITS:
    texts = texts if split == 'train' else _texts(config, split)
    splits[split] = tokens.write_tokens(folder / split, texts, chosen, split)
  for split, counts in splits.items():
    log.info('%s: %s', split, counts)
  log.info('prepared in %.1f s', time.monotonic() - started)
  return {
    **sources.describe(config),
    'splits': splits,
    'tokenizer': {
      'kind': config.tokenizer,
      'vocab_size': chosen.vocab_size,
      'sha256': chosen.digest,
    },
    'digest': tree.digest(
      [chosen.digest, *(splits[split]['sha256'] for split in SPLITS)]
    ),
  }


def _texts(config: DataConfig, split: str) -> list[str]:
  rows = sources.open_source(config, split)
  progress = tqdm.trange(len(rows), desc=f'opening {split}', unit=' documents')
  return [rows[index]['text'] for index in progress]


def _tokenizer(config: DataConfig, texts: list[str]) -> tokenizer.Tokenizer:
  if config.tokenizer == 'byte':
    return tokenizer.ByteTokenizer()
  log.info('training a BPE of %d tokens', config.vocab_size)
  return tokenizer.train_bpe(texts, config.vocab_size)
