import gzip
import pathlib

import pytest

from data.audit.documents import cut
from data.audit.languages import UNKNOWN, Languages, language_of

TASKS = pathlib.Path(__file__).parents[3] / '../shared/data/tasks'
# The Universal Declaration of Human Rights, article 1.
ARTICLES = {
  'en': 'All human beings are born free and equal in dignity and rights.',
  'de': 'Alle Menschen sind frei und gleich an Würde und Rechten geboren.',
  'fr': 'Tous les êtres humains naissent libres et égaux en dignité.',
  'es': 'Todos los seres humanos nacen libres e iguales en dignidad.',
  'it': 'Tutti gli esseri umani nascono liberi ed eguali in dignità.',
  'ru': 'Все люди рождаются свободными и равными в своём достоинстве.',
  'el': 'Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια.',
  'ja': 'すべての人間は、生まれながらにして自由であり、平等である。',
  'zh': '人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心。',
  'ar': 'يولد جميع الناس أحراراً متساوين في الكرامة والحقوق.',
}


@pytest.mark.parametrize('code', ARTICLES)
def test_articles(code):
  assert language_of(ARTICLES[code]) == code


@pytest.mark.parametrize(
  'text', ['', 'OK', '12345 67890 ' * 20, '[0, 1, 2] x y']
)
def test_too_few_letters(text):
  assert language_of(text) == UNKNOWN


def test_the_middle_and_the_end_count_too():
  german = ' '.join([ARTICLES['de']] * 40)
  assert language_of('Table of contents. ' + german) == 'de'


def test_section():
  section, other = Languages(), Languages()
  section.count(cut([ARTICLES['de'], ARTICLES['en']]))
  other.count(cut(['?', ARTICLES['en']]))
  section.add(other)
  rows = {row['value']: row for row in section.tree()['languages']}
  assert {code: row['documents'] for code, row in rows.items()} == {
    'en': 2,
    'de': 1,
    UNKNOWN: 1,
  }
  assert rows['en']['share_of_documents'] == 0.5
  assert rows['de']['bytes'] == len(ARTICLES['de'].encode())
  assert sum(row['share_of_bytes'] for row in rows.values()) == pytest.approx(1)


@pytest.mark.parametrize('code', ['de', 'en'])
def test_captions(code):
  path = TASKS / f'multi30k/val.{code}.gz'
  if not path.exists():
    pytest.skip('the captions are not there')
  lines = gzip.decompress(path.read_bytes()).decode().splitlines()[:300]
  told = [language_of(line) for line in lines]
  assert told.count(code) / len(told) > 0.95
  assert sum(t not in (code, UNKNOWN) for t in told) / len(told) < 0.01
