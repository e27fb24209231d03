"""What is told of contamination, as JSON: counts, and examples to look at."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.contamination import EXACT, KINDS, NEAR, NGRAM, SHARE, Contamination
from data.shingles import words


@dataclasses.dataclass(frozen=True)
class Example:
  """An evaluation text and a training text that holds it, or some of it.

  Attributes:
    kind: of `contamination.KINDS`: the first of them that was found.
    index: of the text in its evaluation set.
    train_index: of the training text.
    jaccard: similarity of the two; None for n-grams.
    share: of the n-grams of the evaluation text that are in training texts.
    gram: the first of these, its words parted by spaces; None where it is not
      what was found.
  """

  kind: str
  index: int
  train_index: int
  jaccard: float | None
  share: float
  gram: str | None


@dataclasses.dataclass(frozen=True)
class ContaminationReport:
  """Counts of one evaluation set.

  Attributes:
    name: of the set.
    num_texts: in it.
    num_exact: equal to a training text.
    num_near: near-duplicates of a training text, with those that are equal.
    num_ngram: texts with at least the gated share of their n-grams in training
      texts.
    num_any_ngram: with a single one at least.
    num_untold: texts too short for n-grams.
    num_contaminated: exact, near or n-gram.
    examples: of each kind those most alike, of texts of no kind before it.
  """

  name: str
  num_texts: int
  num_exact: int
  num_near: int
  num_ngram: int
  num_any_ngram: int
  num_untold: int
  num_contaminated: int
  examples: tuple[Example, ...]

  @property
  def share(self) -> float:
    """Of the texts that are contaminated; 0 of none."""
    return self.num_contaminated / max(self.num_texts, 1)

  def as_json(self) -> dict[str, Any]:
    """All attributes and the share, in plain types."""
    return {**dataclasses.asdict(self), 'share': self.share}


def report(
  name: str,
  texts: Sequence[str],
  found: Contamination,
  *,
  n: int,
  share: float = SHARE,
  num_examples: int = 5,
) -> ContaminationReport:
  """Counts what was found of one evaluation set.

  Args:
    name: of the set.
    texts: of the set.
    found: what `find_contamination` gives for it.
    n: words of the n-grams there.
    share: of its n-grams, from which a text is contaminated by them.
    num_examples: of each kind, at most.
  """
  kinds = found.kinds(share)
  contaminated_E = np.any(list(kinds.values()), axis=0)
  examples = _choose(found, kinds, num_examples)
  return ContaminationReport(
    name=name,
    num_texts=len(texts),
    num_exact=int(kinds[EXACT].sum()),
    num_near=int(kinds[NEAR].sum()),
    num_ngram=int(kinds[NGRAM].sum()),
    num_any_ngram=int((found.ngrams.num_found > 0).sum()),
    num_untold=int((found.ngrams.num_grams == 0).sum()),
    num_contaminated=int(contaminated_E.sum()),
    examples=tuple(
      _example(kind, index, texts[index], found, n) for kind, index in examples
    ),
  )


def _choose(
  found: Contamination, kinds: Mapping[str, np.ndarray], most: int
) -> list[tuple[str, int]]:
  """(kind, evaluation text) of the examples, the most alike first."""
  chosen: list[tuple[str, int]] = []
  is_told_E = np.zeros(len(found.exact), bool)
  for kind in KINDS:
    alike_E = found.ngrams.share if kind == NGRAM else found.jaccard
    texts = np.flatnonzero(kinds[kind] & ~is_told_E)
    order = np.argsort(-alike_E[texts], kind='stable')
    chosen += [(kind, int(index)) for index in texts[order[:most]]]
    is_told_E |= kinds[kind]
  return chosen


def _example(
  kind: str, index: int, text: str, found: Contamination, n: int
) -> Example:
  ngrams = found.ngrams
  train = {EXACT: found.exact, NEAR: found.near, NGRAM: ngrams.train}[kind]
  is_ngram = kind == NGRAM
  begin = int(ngrams.place[index])
  return Example(
    kind=kind,
    index=index,
    train_index=int(train[index]),
    jaccard=None if is_ngram else float(found.jaccard[index]),
    share=float(ngrams.share[index]),
    gram=' '.join(words(text)[begin : begin + n]) if is_ngram else None,
  )
