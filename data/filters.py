"""Which documents are left out, and why: never in silence.

Filters act in this order: rules of quality, equal documents, near-duplicates,
and what the train split shares with the ones that measure it. Sources are taken
together: a document of the second may repeat one of the first.
"""

import collections
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tqdm

from data.audit.quality import failed_rules
from data.config import FilterConfig
from data.contamination import KINDS, find_contamination
from data.duplicates import exact_duplicates, near_duplicates
from data.rows import Row, Rows

log = logging.getLogger(__name__)

TRAIN, EVALS = 'train', ('validation', 'test')
_EXAMPLES, _EXAMPLE_LENGTH = 3, 200

Splits = Mapping[str, Sequence[Row]]


@dataclasses.dataclass(frozen=True)
class Report:
  """What one filter did.

  Attributes:
    filter: its key in `data.filters`.
    split: that lost documents.
    before: documents.
    after: documents.
    details: counts by reason; a document may have several.
    examples: beginnings of some documents that were left out.
  """

  filter: str
  split: str
  before: int
  after: int
  details: dict[str, int]
  examples: tuple[str, ...]

  def as_json(self) -> dict[str, Any]:
    """The report as a plain tree."""
    return dataclasses.asdict(self) | {'examples': list(self.examples)}


def run(
  config: FilterConfig, raw: Sequence[Splits]
) -> tuple[list[dict[str, np.ndarray]], list[Report]]:
  """Chooses the documents that stay.

  Args:
    config: which filters there are.
    raw: of each source, its documents by split.

  Returns:
    Of each source by split, the indices that stay, ascending; and what each
    filter did. Scrubbing is not done here but by `keep`.

  Raises:
    UserError: an extra that is missing.
  """
  kept = _Kept(raw)
  reports = []
  if config.quality:
    reports.append(_by_quality(config.quality, kept))
  for key, find in (
    ('exact_duplicates', exact_duplicates),
    ('near_duplicates', lambda t: near_duplicates(t, config.near_duplicates)),
  ):
    if getattr(config, key):
      first_T = find(kept.texts(TRAIN, key))
      repeats = first_T != np.arange(len(first_T))
      reports.append(kept.drop(key, TRAIN, repeats, {'repeats': repeats.sum()}))
  if config.decontaminate != 'none':
    reports += _decontaminate(config, kept)
  for report in reports:
    log.info(
      '%s: %d of %d documents of %s left out (%s)%s',
      report.filter,
      report.before - report.after,
      report.before,
      report.split,
      ', '.join(f'{k} {v}' for k, v in report.details.items()),
      ''.join(f'; such as {text!r}' for text in report.examples[:1]),
    )
  return kept.indices, reports


def keep(
  config: FilterConfig, rows: Sequence[Row], kept: np.ndarray
) -> Sequence[Row]:
  """The documents that stay, scrubbed where that is asked for."""
  if not config.scrub:
    if len(kept) == len(rows):
      return rows
    return Rows(lambda index: rows[int(kept[index])], len(kept))
  from data.audit.personal import scrub  # of an extra

  def read(index: int) -> Row:
    row = rows[int(kept[index])]
    return {**row, 'text': scrub(row['text'])}

  return Rows(read, len(kept))


class _Kept:
  """The documents that are still there.

  Attributes:
    indices: of each source by split.
  """

  def __init__(self, raw: Sequence[Splits]):
    self._raw = raw
    self.indices = [
      {split: np.arange(len(rows)) for split, rows in splits.items()}
      for splits in raw
    ]

  def count(self, split: str) -> int:
    return sum(len(indices[split]) for indices in self.indices)

  def texts(self, split: str, why: str) -> Iterator[str]:
    """The texts of a split, those of one source after the other's."""
    with tqdm.tqdm(
      total=self.count(split), desc=f'{why}: {split}', unit=' documents'
    ) as bar:
      for rows, indices in zip(self._raw, self.indices, strict=True):
        for index in indices[split]:
          yield rows[split][int(index)]['text']
          bar.update()

  def drop(
    self, why: str, split: str, gone_T: np.ndarray, details: Mapping[str, Any]
  ) -> Report:
    """Leaves out those of `texts` that are marked."""
    before = self.count(split)
    examples = tuple(
      self._text(split, int(place))[:_EXAMPLE_LENGTH]
      for place in np.flatnonzero(gone_T)[:_EXAMPLES]
    )
    start = 0
    for indices in self.indices:
      stop = start + len(indices[split])
      indices[split] = indices[split][~gone_T[start:stop]]
      start = stop
    counts = {key: int(count) for key, count in details.items()}
    return Report(why, split, before, self.count(split), counts, examples)

  def _text(self, split: str, place: int) -> str:
    for rows, indices in zip(self._raw, self.indices, strict=True):
      if place < len(indices[split]):
        return rows[split][int(indices[split][place])]['text']
      place -= len(indices[split])
    raise IndexError(place)


def _by_quality(rules: Sequence[str], kept: _Kept) -> Report:
  failed: collections.Counter[str] = collections.Counter()
  gone = []
  for text in kept.texts(TRAIN, 'quality'):
    broken = [rule for rule in failed_rules(text) if rule in rules]
    failed.update(broken)
    gone.append(bool(broken))
  return kept.drop('quality', TRAIN, np.array(gone, bool), failed)


def _decontaminate(config: FilterConfig, kept: _Kept) -> list[Report]:
  found, leaks = find_contamination(
    kept.texts(TRAIN, 'decontaminate'),
    {split: list(kept.texts(split, 'decontaminate')) for split in EVALS},
    threshold=config.contamination_jaccard,
  )
  share = config.contamination_ngrams
  if config.decontaminate == TRAIN:
    gone = leaks.leaking(share)
    return [kept.drop('decontaminate', TRAIN, gone, {'leaks': gone.sum()})]
  reports = []
  for split in EVALS:
    kinds = found[split].kinds(share)
    gone = np.logical_or.reduce([kinds[kind] for kind in KINDS])
    details = {kind: int(kinds[kind].sum()) for kind in KINDS}
    reports.append(kept.drop('decontaminate', split, gone, details))
  return reports
