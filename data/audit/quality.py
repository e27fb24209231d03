"""Quality statistics of documents, and who would drop which of them.

The rules are those of Gopher (Rae et al. 2021, arXiv:2112.11446, appendix
A.1.1 and table A1) and of C4 (Raffel et al. 2020, section 2.2). C4's rule on
offensive words is not among them; `data.audit.toxicity` counts those.
"""

import dataclasses
import math
from collections import Counter
from typing import Any

import numpy as np

from data.audit import c4, gopher, repetition
from data.audit.distribution import Distribution
from data.audit.documents import Documents, cut

GOPHER, REPETITION, C4 = 'gopher', 'gopher_repetition', 'c4'


@dataclasses.dataclass(frozen=True)
class Rule:
  """Drops a document whose statistic is below `least` or above `most`.

  Attributes:
    family: of `FAMILIES`.
    statistic: one of those of `measure`.
  """

  family: str
  statistic: str
  least: float = -math.inf
  most: float = math.inf

  def failed(self, value_P: np.ndarray) -> np.ndarray:
    """Whether each document is dropped, from its statistic."""
    return (value_P < self.least) | (value_P > self.most)


FAMILIES = {
  GOPHER: 'Rae et al. 2021, appendix A.1.1',
  REPETITION: 'Rae et al. 2021, table A1',
  C4: 'Raffel et al. 2020, section 2.2',
}
RULES: dict[str, Rule] = {
  'gopher_words': Rule(GOPHER, 'words', 50, 100_000),
  'gopher_mean_word_length': Rule(GOPHER, 'mean_word_length', 3, 10),
  'gopher_hash_ratio': Rule(GOPHER, 'hash_ratio', most=0.1),
  'gopher_ellipsis_ratio': Rule(GOPHER, 'ellipsis_ratio', most=0.1),
  'gopher_bullet_lines': Rule(GOPHER, 'bullet_lines', most=0.9),
  'gopher_ellipsis_lines': Rule(GOPHER, 'ellipsis_lines', most=0.3),
  'gopher_alphabetic_words': Rule(GOPHER, 'alphabetic_words', least=0.8),
  'gopher_stop_words': Rule(GOPHER, 'stop_words', least=2),
  **{
    f'gopher_{statistic}': Rule(REPETITION, statistic, most=most)
    for statistic, most in {
      'duplicate_lines': 0.30,
      'duplicate_paragraphs': 0.30,
      'duplicate_line_characters': 0.20,
      'duplicate_paragraph_characters': 0.20,
      'top_2gram': 0.20,
      'top_3gram': 0.18,
      'top_4gram': 0.16,
      'duplicate_5gram': 0.15,
      'duplicate_6gram': 0.14,
      'duplicate_7gram': 0.13,
      'duplicate_8gram': 0.12,
      'duplicate_9gram': 0.11,
      'duplicate_10gram': 0.10,
    }.items()
  },
  'c4_sentences': Rule(C4, 'sentences', least=3),
  'c4_curly_brackets': Rule(C4, 'curly_brackets', most=0),
  'c4_lorem_ipsum': Rule(C4, 'lorem_ipsum', most=0),
}


def measure(documents: Documents) -> dict[str, np.ndarray]:
  """Every statistic of every document, by name.

  What each means is told by the function of its name in `data.audit.gopher`
  and `data.audit.repetition`, and by `c4.statistics`.
  """
  simple = gopher.STATISTICS | repetition.STATISTICS
  return {
    **{name: statistic(documents) for name, statistic in simple.items()},
    **repetition.ngram_shares(documents),
    **c4.statistics(documents),
  }


def failed_rules(text: str) -> tuple[str, ...]:
  """The names of the rules of `RULES` that would drop a text."""
  return tuple(
    name for name, failed_P in failures(cut([text])).items() if failed_P[0]
  )


def failures(documents: Documents) -> dict[str, np.ndarray]:
  """Of each rule of `RULES`, whether it would drop each document."""
  return _failures(measure(documents))


class Quality:
  """The section 'quality' of an audit."""

  def __init__(self) -> None:
    self._statistics: dict[str, Distribution] = {}
    self._documents: Counter[str] = Counter()  # dropped, by rule or family
    self._bytes: Counter[str] = Counter()
    self._totals = np.zeros(2, np.int64)  # documents, bytes

  def count(self, documents: Documents) -> None:
    """Adds a chunk of documents."""
    measured = measure(documents)
    for name, value_P in measured.items():
      self._statistics.setdefault(name, Distribution()).count(value_P)
    failed = _failures(measured)
    failed |= {
      family: np.any(
        [failed[n] for n, rule in RULES.items() if rule.family == family],
        axis=0,
      )
      for family in FAMILIES
    }
    for name, failed_P in failed.items():
      self._documents[name] += int(failed_P.sum())
      self._bytes[name] += int(documents.bytes_P[failed_P].sum())
    self._totals += len(documents.texts), int(documents.bytes_P.sum())

  def add(self, other: 'Quality') -> None:
    """Adds what another has counted."""
    for name, distribution in other._statistics.items():
      self._statistics.setdefault(name, Distribution()).add(distribution)
    self._documents.update(other._documents)
    self._bytes.update(other._bytes)
    self._totals += other._totals

  def tree(self) -> dict[str, Any]:
    """JSON-able: 'statistics', 'families' and 'rules'."""
    return {
      'statistics': {n: d.tree() for n, d in self._statistics.items()},
      'families': {
        name: {'source': source, **self._dropped(name)}
        for name, source in FAMILIES.items()
      },
      'rules': {
        name: {
          'family': rule.family,
          'statistic': rule.statistic,
          'least': rule.least if math.isfinite(rule.least) else None,
          'most': rule.most if math.isfinite(rule.most) else None,
          **self._dropped(name),
        }
        for name, rule in RULES.items()
      },
    }

  def _dropped(self, name: str) -> dict[str, float]:
    documents, size = self._documents[name], self._bytes[name]
    total_documents, total_bytes = np.maximum(self._totals, 1).tolist()
    return {
      'documents': documents,
      'bytes': size,
      'share_of_documents': documents / total_documents,
      'share_of_bytes': size / total_bytes,
    }


def _failures(measured: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  return {
    name: rule.failed(measured[rule.statistic]) for name, rule in RULES.items()
  }
