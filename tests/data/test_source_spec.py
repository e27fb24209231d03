import pytest

from configs.errors import UserError
from data.source_spec import SourceSpec, families, parse

PRESETS = {
  'c4': 'tfds:c4/en',
  'squad': 'tfds:squad|text=context',
  'glue/cola': 'tfds:glue/cola|text=sentence',
  'glue/rte': 'tfds:glue/rte|text=sentence1,sentence2',
  'two': 'files:a/*.txt;files:b/*.txt',
}


def test_kind_and_name():
  assert parse('files:~/x/**/*.txt') == (SourceSpec('files', '~/x/**/*.txt'),)
  assert parse('tfds:glue/sst2:2.0.0') == (
    SourceSpec('tfds', 'glue/sst2:2.0.0'),
  )


def test_options():
  (spec,) = parse('tfds:x|test=dev[:9%]|text=a,b/c|train=train+more')
  assert spec.fields == ('a', 'b/c')
  assert spec.splits == (('train', 'train+more'), ('test', 'dev[:9%]'))


@pytest.mark.parametrize(
  'text',
  ['files:*.txt', 'tfds:x|text=a,b', 'tfds:x|train=t[:9%]|validation=v|test=u'],
)
def test_written_as_it_was_read(text):
  (spec,) = parse(text)
  assert str(spec) == text
  assert parse(str(spec)) == (spec,)


def test_several():
  specs = parse('files:a; files:b ;files:c|text=x')
  assert [spec.name for spec in specs] == ['a', 'b', 'c']
  assert specs[2].fields == ('x',)


def test_presets():
  assert parse('c4', PRESETS) == parse('tfds:c4/en')
  assert parse('c4|text=url', PRESETS) == parse('tfds:c4/en|text=url')
  assert parse('squad|text=question|train=train[:9]', PRESETS) == parse(
    'tfds:squad|text=question|train=train[:9]'
  )
  assert parse('c4;squad', PRESETS) == parse(
    'tfds:c4/en;tfds:squad|text=context'
  )
  assert parse('two|text=x;c4', PRESETS) == parse(
    'files:a/*.txt|text=x;files:b/*.txt|text=x;tfds:c4/en'
  )


def test_families():
  assert families(PRESETS) == 'c4, squad, glue/..., two'


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('', 'expected KIND:NAME'),
    ('files:a;;files:b', 'expected KIND:NAME'),
    ('c5', "'c5' is not KIND:NAME, or one of c4, squad, glue/..., two"),
    (':name', 'is not KIND:NAME'),
    ('files:', 'is not KIND:NAME'),
    (
      'files:a|txt=x',
      "'txt=x' of files:a: expected one of text=..., train=...",
    ),
    ('files:a|text', "'text' of files:a: expected one of"),
    ('files:a|text=', "'text=' of files:a: expected one of"),
    ('files:a;files:b;files:a', 'files:a is there twice'),
    ('c4;tfds:c4/en', 'tfds:c4/en is there twice'),
  ],
)
def test_what_is_no_source(text, message):
  with pytest.raises(UserError) as caught:
    parse(text, PRESETS)
  assert message in str(caught.value)
  assert '\n' not in str(caught.value)
