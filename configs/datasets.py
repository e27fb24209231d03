"""Data sets by name: where they are read, and what a person must know of them.

A name may stand in `data.source` for its source. Plain data; splits and fields
are those that TensorFlow Datasets, or the publisher, gives them.

Licences are SPDX identifiers or the publisher's own words, and 'unknown' where
nothing was found; a collection's licence does not cover the texts in it. Keys
of citations are first author and year.
"""

from typing import NamedTuple

from configs.blimp import PARADIGMS

KINDS = (
  'pretraining',
  'language_modelling',
  'classification',
  'choice',
  'minimal_pairs',
  'qa',
  'summarization',
  'translation',
)


class Dataset(NamedTuple):
  """One data set."""

  source: str  # as in `data.source`
  kind: str  # what it is for, of KINDS
  splits: tuple[str, ...]  # the source's own names for them
  fields: tuple[str, ...]  # what a task reads; a/b is b within a
  licence: str
  citation: str


_TEXT = ('text',)
_TRAIN = ('train',)
_TWO = ('train', 'test')
_HELD_OUT = ('train', 'validation')
_THREE = ('train', 'validation', 'test')
_PAIR = ('sentence1', 'sentence2', 'label')
_NLI = ('premise', 'hypothesis', 'label')
_SQUAD = ('context', 'question', 'answers/text', 'answers/answer_start', 'id')
_ARC = ('question', 'choices/text', 'choices/label', 'answerKey')
_MINIMAL = ('sentence_good', 'sentence_bad', 'linguistics_term', 'UID')
_HUB = 'files:hf://datasets'
_MNLI = '|validation=validation_matched|test=test_matched'

DATASETS: dict[str, Dataset] = {
  'c4': Dataset(
    'tfds:c4/en', 'pretraining', _HELD_OUT, _TEXT, 'ODC-By-1.0', 'raffel2020'
  ),
  'wiki40b': Dataset(
    'tfds:wiki40b/en', 'pretraining', _THREE, _TEXT, 'CC-BY-SA-3.0', 'guo2020'
  ),
  'lm1b': Dataset(
    'tfds:lm1b', 'pretraining', _TWO, _TEXT, 'unknown', 'chelba2013'
  ),
  'pg19': Dataset(
    'tfds:pg19|text=book_text',
    'pretraining',
    _THREE,
    ('book_text',),
    'Apache-2.0',
    'rae2020',
  ),
  'wikipedia': Dataset(
    'tfds:wikipedia/20230601.en',
    'pretraining',
    _TRAIN,
    _TEXT,
    'CC-BY-SA-3.0',
    'wikimedia2023',
  ),
  'dolma': Dataset(
    'tfds:dolma', 'pretraining', _TRAIN, _TEXT, 'ODC-By-1.0', 'soldaini2024'
  ),
  'fineweb': Dataset(
    f'{_HUB}/HuggingFaceFW/fineweb/data/*/*.parquet',
    'pretraining',
    _TRAIN,
    _TEXT,
    'ODC-By-1.0',
    'penedo2024',
  ),
  'fineweb-10bt': Dataset(
    f'{_HUB}/HuggingFaceFW/fineweb/sample/10BT/*.parquet',
    'pretraining',
    _TRAIN,
    _TEXT,
    'ODC-By-1.0',
    'penedo2024',
  ),
  'fineweb-edu': Dataset(
    f'{_HUB}/HuggingFaceFW/fineweb-edu/data/*/*.parquet',
    'pretraining',
    _TRAIN,
    _TEXT,
    'ODC-By-1.0',
    'penedo2024',
  ),
  'fineweb-edu-10bt': Dataset(
    f'{_HUB}/HuggingFaceFW/fineweb-edu/sample/10BT/*.parquet',
    'pretraining',
    _TRAIN,
    _TEXT,
    'ODC-By-1.0',
    'penedo2024',
  ),
  'slimpajama': Dataset(
    f'{_HUB}/cerebras/SlimPajama-627B|train=train/*/*.jsonl.zst'
    '|validation=validation/*/*.jsonl.zst|test=test/*/*.jsonl.zst',
    'pretraining',
    _THREE,
    _TEXT,
    'those of its parts',
    'soboleva2023',
  ),
  'lambada': Dataset(
    'tfds:lambada|text=passage',
    'language_modelling',
    _TWO,
    ('passage',),
    'CC-BY-4.0',
    'paperno2016',
  ),
  'glue/cola': Dataset(
    'tfds:glue/cola|text=sentence',
    'classification',
    _THREE,
    ('sentence', 'label'),
    'unknown',
    'warstadt2019',
  ),
  'glue/sst2': Dataset(
    'tfds:glue/sst2|text=sentence',
    'classification',
    _THREE,
    ('sentence', 'label'),
    'unknown',
    'socher2013',
  ),
  'glue/mrpc': Dataset(
    'tfds:glue/mrpc|text=sentence1,sentence2',
    'classification',
    _THREE,
    _PAIR,
    'unknown',
    'dolan2005',
  ),
  'glue/qqp': Dataset(
    'tfds:glue/qqp|text=question1,question2',
    'classification',
    _THREE,
    ('question1', 'question2', 'label'),
    'unknown',
    'iyer2017',
  ),
  'glue/stsb': Dataset(
    'tfds:glue/stsb|text=sentence1,sentence2',
    'classification',
    _THREE,
    _PAIR,
    'unknown',
    'cer2017',
  ),
  'glue/mnli': Dataset(
    f'tfds:glue/mnli|text=premise,hypothesis{_MNLI}',
    'classification',
    (
      'train',
      'validation_matched',
      'validation_mismatched',
      'test_matched',
      'test_mismatched',
    ),
    _NLI,
    'OANC, CC-BY-SA-3.0, CC-BY-3.0',
    'williams2018',
  ),
  'glue/qnli': Dataset(
    'tfds:glue/qnli|text=question,sentence',
    'classification',
    _THREE,
    ('question', 'sentence', 'label'),
    'CC-BY-SA-4.0',
    'rajpurkar2016',
  ),
  'glue/rte': Dataset(
    'tfds:glue/rte|text=sentence1,sentence2',
    'classification',
    _THREE,
    _PAIR,
    'unknown',
    'wang2019',
  ),
  'glue/wnli': Dataset(
    'tfds:glue/wnli|text=sentence1,sentence2',
    'classification',
    _THREE,
    _PAIR,
    'unknown',
    'levesque2012',
  ),
  'imdb_reviews': Dataset(
    'tfds:imdb_reviews',
    'classification',
    ('train', 'test', 'unsupervised'),
    ('text', 'label'),
    'unknown',
    'maas2011',
  ),
  'ag_news_subset': Dataset(
    'tfds:ag_news_subset|text=title,description',
    'classification',
    _TWO,
    ('title', 'description', 'label'),
    'research and other non-commercial use',
    'zhang2015',
  ),
  'trec': Dataset(
    'tfds:trec',
    'classification',
    _TWO,
    ('text', 'label-coarse', 'label-fine'),
    'unknown',
    'li2002',
  ),
  'piqa': Dataset(
    'tfds:piqa|text=goal',
    'choice',
    _HELD_OUT,
    ('goal', 'sol1', 'sol2', 'label'),
    'AFL-3.0',
    'bisk2020',
  ),
  'arc_easy': Dataset(
    'tfds:ai2_arc/ARC-Easy|text=question',
    'choice',
    _THREE,
    _ARC,
    'CC-BY-SA-4.0',
    'clark2018',
  ),
  'arc_challenge': Dataset(
    'tfds:ai2_arc/ARC-Challenge|text=question',
    'choice',
    _THREE,
    _ARC,
    'CC-BY-SA-4.0',
    'clark2018',
  ),
  'hellaswag': Dataset(
    'tfds:hellaswag|text=context',
    'choice',
    _THREE,
    ('context', 'endings', 'label'),
    'MIT',
    'zellers2019',
  ),
  'winogrande': Dataset(
    'tfds:winogrande|text=sentence|train=train_xl',
    'choice',
    (
      'train_xs',
      'train_s',
      'train_m',
      'train_l',
      'train_xl',
      'validation',
      'test',
    ),
    ('sentence', 'option1', 'option2', 'label'),
    'CC-BY',
    'sakaguchi2020',
  ),
  'openbookqa': Dataset(
    'tfds:openbookqa|text=question/stem',
    'choice',
    _THREE,
    (
      'question/stem',
      'question/choice_A',
      'question/choice_B',
      'question/choice_C',
      'question/choice_D',
      'answerKey',
    ),
    'unknown',
    'mihaylov2018',
  ),
  'bool_q': Dataset(
    'tfds:bool_q|text=passage',
    'choice',
    _HELD_OUT,
    ('passage', 'question', 'answer'),
    'CC-BY-SA-3.0',
    'clark2019',
  ),
  'squad': Dataset(
    'tfds:squad|text=context',
    'qa',
    _HELD_OUT,
    _SQUAD,
    'CC-BY-SA-4.0',
    'rajpurkar2016',
  ),
  'xquad_de': Dataset(
    'tfds:xquad/de|text=context|train=translate-train|validation=translate-dev',
    'qa',
    ('translate-train', 'translate-dev', 'translate-test', 'test'),
    _SQUAD,
    'CC-BY-SA-4.0',
    'artetxe2020',
  ),
  'gsm8k': Dataset(
    'tfds:gsm8k|text=question,answer',
    'qa',
    ('train', 'test', 'train_socratic', 'test_socratic'),
    ('question', 'answer', 'short_answer'),
    'MIT',
    'cobbe2021',
  ),
  'xsum': Dataset(
    'tfds:xsum|text=document',
    'summarization',
    _THREE,
    ('document', 'summary'),
    'unknown',
    'narayan2018',
  ),
  'cnn_dailymail': Dataset(
    'tfds:cnn_dailymail|text=article',
    'summarization',
    _THREE,
    ('article', 'highlights'),
    'Apache-2.0',
    'see2017',
  ),
  'samsum': Dataset(
    'tfds:samsum|text=dialogue',
    'summarization',
    _THREE,
    ('dialogue', 'summary'),
    'CC-BY-NC-ND-4.0',
    'gliwa2019',
  ),
  'wmt14_de_en': Dataset(
    'tfds:wmt14_translate/de-en|text=de,en',
    'translation',
    _THREE,
    ('de', 'en'),
    'free for research',
    'bojar2014',
  ),
  'wmt14_fr_en': Dataset(
    'tfds:wmt14_translate/fr-en|text=fr,en',
    'translation',
    _THREE,
    ('fr', 'en'),
    'free for research',
    'bojar2014',
  ),
  'wmt16_de_en': Dataset(
    'tfds:wmt16_translate/de-en|text=de,en',
    'translation',
    _THREE,
    ('de', 'en'),
    'free for research',
    'bojar2016',
  ),
  'wmt16_ro_en': Dataset(
    'tfds:wmt16_translate/ro-en|text=ro,en',
    'translation',
    _THREE,
    ('ro', 'en'),
    'free for research',
    'bojar2016',
  ),
} | {
  f'blimp/{paradigm}': Dataset(
    f'tfds:blimp/{paradigm}|text=sentence_good',
    'minimal_pairs',
    _TRAIN,
    _MINIMAL,
    'CC-BY',
    'warstadt2020',
  )
  for paradigm in PARADIGMS
}

# What may stand in `data.source` for a source.
SOURCES: dict[str, str] = {name: row.source for name, row in DATASETS.items()}
