"""The tasks a checkpoint can be scored on, by name."""

from collections.abc import Callable

from configs.errors import UserError
from data import corpus as corpora
from data import pipeline
from data.corpus import Corpus
from data.tasks import continuation_choices
from evals import choice, perplexity
from evals.scores import Score
from train.mesh.sharding import batch_ways, local_rows
from train.pretrained import Pretrained, check_decoder
from train.recipes import recipe_of

_CONTINUATIONS = 1500  # items by default: a 95% interval of +-2.5 points
# Of which items are taken and how they are made: one for every model.
_SEED = 0
_WORKED = 512  # worked examples to draw from
_BATCH_TOKENS = 4096

Task = Callable[[Pretrained, int, int], dict[str, Score]]


def heldout(pretrained: Pretrained, shots: int, limit: int) -> dict[str, Score]:
  """Loss, bits a byte and perplexity on the test split.

  By the objective that the model was trained on: of masked text, of what is
  masked alone, which is the same each time.

  Args:
    pretrained: the model.
    shots: 0; running text has none.
    limit: rows at most, spread over the split; 0 = all.

  Raises:
    UserError: shots above 0, or the text has changed since training.
  """
  if shots:
    raise UserError('task heldout takes no worked examples; use --shots=0')
  corpus, data = corpus_of(pretrained), pretrained.config.data
  recipe = recipe_of(pretrained.config, corpus.tokenizer)
  ways = batch_ways(pretrained.mesh)
  batch_size = max(1, _BATCH_TOKENS // data.sequence_length // ways) * ways
  batches = pipeline.eval_batches(
    corpus,
    'test',
    data,
    recipe,
    batch_size,
    num_sequences=limit,
    own=local_rows(pretrained.mesh, batch_size),
  )
  whole = data.objective.kind == 'causal' and data.packing == 'split'
  return perplexity.evaluate(
    pretrained, batches, batch_size, whole=whole and not limit
  )


def continuation(
  pretrained: Pretrained, shots: int, limit: int
) -> dict[str, Score]:
  """Which of four continuations of held-out text is the true one?

  Worked examples are drawn from the validation split.

  Args:
    pretrained: the model.
    shots: worked examples before each question.
    limit: items at most; 0 = 1,500.

  Raises:
    UserError: the text has changed since training, or is too short.
  """
  check_decoder(pretrained)
  corpus = corpus_of(pretrained)
  items = continuation_choices(
    corpus.documents('test'), _SEED, limit or _CONTINUATIONS
  )
  worked = (
    continuation_choices(corpus.documents('validation'), _SEED, _WORKED)
    if shots
    else []
  )
  return choice.evaluate(pretrained, items, worked, shots, _SEED)


TASKS: dict[str, Task] = {'heldout': heldout, 'continuation': continuation}


def named(name: str) -> Task:
  """The task of a name.

  Raises:
    UserError: there is none.
  """
  if name not in TASKS:
    raise UserError(f'no task {name!r}; choose from {", ".join(TASKS)}')
  return TASKS[name]


def corpus_of(pretrained: Pretrained) -> Corpus:
  """The corpus that a checkpoint was trained on, prepared here.

  Raises:
    UserError: what is here now is other text.
  """
  corpus = corpora.prepare(pretrained.config.data)
  there = pretrained.meta.corpus['digest']
  if corpus.digest != there:
    raise UserError(
      f'{pretrained.folder} was trained on other text ({there} there, '
      f'{corpus.digest} here): packages or files have changed, and test text '
      'may have been trained on; score it where it was trained'
    )
  return corpus
