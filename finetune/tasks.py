"""The tasks that a checkpoint can be adapted to, by name."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from configs.errors import UserError
from data import corpus as corpora
from data.config import DataConfig
from data.splits import SPLITS
from data.tasks import Labelled, largest_libraries, library_topics

# Of the order, and with a limit the choice, of examples: the same in all runs.
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Topics:
  """Texts by class.

  Attributes:
    classes: names, sorted; a label's number is its place here.
    splits: examples of 'train', 'validation' and 'test'.
  """

  classes: tuple[str, ...]
  splits: Mapping[str, Sequence[Labelled]]

  def texts(self, split: str) -> list[str]:
    """The texts of a split."""
    return [example.text for example in self.splits[split]]

  def labels(self, split: str) -> np.ndarray:
    """The classes of a split's examples as numbers, int32."""
    number = {name: i for i, name in enumerate(self.classes)}
    return np.array([number[e.label] for e in self.splits[split]], np.int32)

  def majority(self) -> int:
    """The most frequent class of the train split; of equals the first."""
    counts = np.bincount(self.labels('train'), minlength=len(self.classes))
    return int(np.argmax(counts))


def library(data: DataConfig, train_limit: int, eval_limit: int) -> Topics:
  """Which of the eight largest libraries is a docstring from?

  Args:
    data: whose source the documents are from.
    train_limit: examples to train on, at most; 0 = all.
    eval_limit: of validation and test each.

  Raises:
    UserError: the source does not tell the library of a document.
  """
  corpus = corpora.prepare(data)
  # canaries, which are put into train on purpose, are of none
  documents = {
    split: [row for row in corpus.documents(split) if 'library' in row]
    for split in SPLITS
  }
  if not documents['train']:
    raise UserError(
      f'task library: the documents of {data.source} have no field library; '
      'pre-train on tfds:python_docs/docstrings'
    )
  classes = largest_libraries(documents['train'])
  return Topics(
    classes,
    {
      split: library_topics(
        rows, classes, _SEED, train_limit if split == 'train' else eval_limit
      )
      for split, rows in documents.items()
    },
  )


TASKS: dict[str, Callable[[DataConfig, int, int], Topics]] = {
  'library': library
}


@functools.lru_cache(maxsize=1)
def load(
  name: str, data: DataConfig, train_limit: int, eval_limit: int
) -> Topics:
  """The examples of a task; those of the last call are kept.

  Raises:
    UserError: no such task, fewer than two classes to train on, or no text.
  """
  if name not in TASKS:
    raise UserError(f'no task {name!r}; choose from {", ".join(TASKS)}')
  topics = TASKS[name](data, train_limit, eval_limit)
  for split, examples in topics.splits.items():
    if not examples:
      raise UserError(f'task {name}: the {split} split has no example')
  present = collections.Counter(e.label for e in topics.splits['train'])
  if len(present) < 2:
    raise UserError(
      f'task {name}: all texts to train on are of one class, '
      f'{next(iter(present))!r}; raise train_examples or give other text'
    )
  return topics
