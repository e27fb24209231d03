"""How fast an audit reads: `python benchmarks/audit.py --source=files:GLOB`.

Told by section in seconds of one core, then all of it by the clock, with one
process and with one for each core; and what a filter pays for a document. The
default text is that of the default corpus.
"""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags

from data import sources
from data.audit.personal import scrub
from data.audit.quality import failed_rules
from data.audit.run import SECTIONS, audit

FILTERED = 2000  # documents


def rate(call: Callable[[str], Any], texts: Sequence[str]) -> float:
  """Megabytes a second of a core that a filter takes, text by text."""
  began = time.process_time()
  for text in texts:
    call(text)
  seconds = time.process_time() - began
  return sum(len(text.encode()) for text in texts) / 1e6 / seconds


def main(argv: Sequence[str]) -> None:
  del argv
  args = flags.FLAGS
  (spec,) = sources.parse(args.source)
  splits = sources.open_splits(spec, args.cache_dir)
  train = [dict(row) for row in splits['train']]
  cores = os.cpu_count() or 1
  found = {
    workers: audit({'train': train}, {}, num_workers=workers)
    for workers in sorted({1, cores})
  }
  one = found[1]
  print(f'{len(train)} documents, {one["splits"]["train"]["bytes"]} bytes\n')
  print('| section | seconds of a core | MB a second |\n|---|---|---|')
  for name in SECTIONS:
    section = one[name]
    print(
      f'| {name} | {section["seconds"]} | {section["megabytes_per_second"]} |'
    )
  for workers, tree in found.items():
    speed = tree['speed']
    print(
      f'| all, by the clock, {workers} at once | {speed["seconds"]} | '
      f'{speed["megabytes_per_second"]} |'
    )
  texts = [row['text'] for row in train[:FILTERED]]
  for call in (failed_rules, scrub):
    print(f'| {call.__name__}, text by text | | {rate(call, texts):.1f} |')


if __name__ == '__main__':
  flags.DEFINE_string(
    'source', 'tfds:python_docs/docstrings', 'As data.source.'
  )
  flags.DEFINE_string('cache_dir', '', 'As data.cache_dir.')
  app.run(main)
