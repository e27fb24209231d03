"""Detectors against the numbers that others publish for tests."""

import itertools
import pathlib
import time

import phonenumbers
import pytest

from data.audit import personal, secrets
from data.audit.documents import cut

BOOKS = pathlib.Path(__file__).parents[3] / '../shared/data/corpus/austen'
# Put together here, so that no scanner takes this file for a leak.
AWS_KEY = 'AKIA' + 'IOSFODNN7EXAMPLE'
AWS_SECRET = 'wJalrXUtnFEMI/K7MDENG/' + 'bPxRfiCYEXAMPLEKEY'
GITHUB = 'ghp_' + '0aB1' * 9
WEB_TOKEN = '.'.join(  # of RFC 7519, section 3.1
  [
    'eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9',
    'eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODA',
    'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk',
  ]
)
KEY_LINES = ['MIIEpAIBAAKCAQEA' + 'x' * 48, 'q' * 64, 'Zz+/0==']
FIRST, LAST = (
  f'-----{end} RSA ' + 'PRIVATE KEY-----' for end in ('BEGIN', 'END')
)
PRIVATE_KEY = '\n'.join([FIRST, *KEY_LINES, LAST])


def found(text):
  return [
    (s.kind, text[s.start : s.stop]) for s in personal.find_personal(text)
  ]


@pytest.mark.parametrize(
  ('kind', 'text'),
  [
    ('email', 'jane.doe+news@mail.acme.co.uk'),
    ('email', 'root@kernel.org'),
    # Test cards of the networks, as Stripe and Adyen publish them.
    ('payment_card', '4111 1111 1111 1111'),
    ('payment_card', '4242-4242-4242-4242'),
    ('payment_card', '5555555555554444'),
    ('payment_card', '2223 0031 2200 3222'),
    ('payment_card', '3782 822463 10005'),
    ('payment_card', '6011 1111 1111 1117'),
    ('payment_card', '3566 0020 2036 0505'),
    ('payment_card', '3056 930902 5904'),
    # Examples of the IBAN registry.
    ('iban', 'GB29 NWBK 6016 1331 9268 19'),
    ('iban', 'DE89370400440532013000'),
    ('iban', 'NO93 8601 1117 947'),
    ('ip_address', '151.101.1.69'),
    ('ip_address', '2606:4700:4700::1111'),
    ('ip_address', '2001:4860:4860:0000:0000:0000:0000:8888'),
    ('phone', '(212) 555-0147'),
    ('phone', '212-555-0147'),
    ('phone', '1.415.555.2671'),
    ('phone', '+44 (0)20 7946 0958'),
    ('access_token', AWS_KEY),
    ('access_token', GITHUB),
    ('access_token', WEB_TOKEN),
    ('access_token', 'xoxb-' + '12345678901-1234567890123-' + 'a1B2' * 6),
    ('access_token', 'sk_live_' + '4eC39HqLyjWDarjtT1zdp7dc'),
    ('private_key', PRIVATE_KEY),
    ('private_key', PRIVATE_KEY.replace('\n', '\\n')),
    ('private_key', PRIVATE_KEY.rpartition('\n')[0]),
    (
      'private_key',
      PRIVATE_KEY.replace('KEY-----\nM', 'KEY-----\nProc-Type: 4,X\n\nM'),
    ),
  ],
)
def test_finds(kind, text):
  assert found(text) == [(kind, text)]
  inside = f'It is: {text}, and no more.'
  assert found(inside) == [(kind, text)]
  assert personal.scrub(inside) == f'It is: <{kind.upper()}>, and no more.'


@pytest.mark.parametrize(
  'text',
  [
    # Reserved: RFC 2606, 5737, 3849, 1918, 1122 and multicast.
    *('joe@example.com', 'a@mail.example.org', 'x@y.test', 'root@localhost'),
    *('192.0.2.1', '198.51.100.7', '203.0.113.200', '2001:db8::8a2e:370:7334'),
    *('10.200.0.1', '192.168.0.1', '127.0.0.1', '224.0.0.251', 'fe80::1:2:3'),
    # A wrong checksum
    *('4111 1111 1111 1112', 'GB29 NWBK 6016 1331 9268 18'),
    # Other numbers
    *('3.14159265358979', '2024-01-02', '1.2.3.4', 'version 10.4.0.22'),
    *('300.200.100.200', '1234567890', '[1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0]'),
    *('ISBN 978-0-898716-46-7', 'rng(4111111111111111)', '+35236450.6'),
    *('x[1::2, ::3]', 'A@B.T', 'sha256: ' + 'ab12' * 16, '+1 -1 +1'),
    *(FIRST, 'http://host:8080/@name'),
    *('https://<user>:<password>@host', 's3://{key}:{secret}@bucket', ''),
  ],
)
def test_leaves(text):
  assert found(text) == []
  assert personal.scrub(text) == text


def test_only_the_secret_of_its_surroundings():
  text = f'aws_secret_access_key = "{AWS_SECRET}"'
  assert found(text) == [('access_token', AWS_SECRET)]
  password = 'hunter' + '2'
  text = f'https://joe:{password}@db.acme.org/x'
  assert found(text)[0] == ('access_token', password)


def test_a_longer_token_goes_whole():
  assert personal.scrub(f'{GITHUB}xyz_9 end') == '<ACCESS_TOKEN> end'


def test_numbers_after_a_telephone_number():
  text = 'Call +44 20 7946 0958 12 times'
  assert found(text) == [('phone', '+44 20 7946 0958')]


@pytest.mark.parametrize(
  'form',
  [
    phonenumbers.PhoneNumberFormat.E164,
    phonenumbers.PhoneNumberFormat.INTERNATIONAL,
  ],
)
def test_telephone_numbers_of_every_country(form):
  for region in sorted(phonenumbers.SUPPORTED_REGIONS):
    number = phonenumbers.example_number(region)
    text = phonenumbers.format_number(number, form)
    assert found(f'Ring {text}.') == [('phone', text)], region


def test_spans_are_in_order_and_apart():
  text = f'a@b.org {AWS_KEY} 212-555-0147 c@d.org 4111111111111111'
  spans = personal.find_personal(text)
  assert [s.kind for s in spans] == [
    *('email', 'access_token', 'phone', 'email', 'payment_card')
  ]
  for left, right in itertools.pairwise(spans):
    assert left.stop <= right.start
  assert found(personal.scrub(text)) == []


@pytest.mark.parametrize(
  'text',
  [
    *('+' + '1' * 40_000, '+1 ' * 14_000, 'a' * 40_000, 'a.' * 20_000),
    *('eyJ' * 14_000, '://a:' * 8000, '//' * 20_000, 'sk-' * 14_000),
    *('aws ' * 10_000, 'xoxb-' + '1-' * 20_000, 'AB12 ' * 8000),
    FIRST + '\n' + 'A: b A: b ' * 4000,
    *((FIRST + '\nA: ') * 4000, (FIRST + '\nA: b' * 9) * 2000),
    *((f'{FIRST}\nA: {FIRST}') * 2000, FIRST + '\nA: ' + ' \n' * 60_000),
  ],
  ids=lambda text: text[:8],
)
def test_time_grows_with_the_text_alone(text):
  began = time.process_time()
  personal.find_personal(text)
  assert time.process_time() - began < 2


def test_books_have_none():
  if not BOOKS.exists():
    pytest.skip('the books are not there')
  for path in sorted(BOOKS.glob('*.txt'))[:4]:
    assert found(path.read_text()) == []


def test_section_counts_and_masks():
  section, other = personal.Personal(), personal.Personal()
  section.count(
    cut(['mail a.person@acme.org or b.person@acme.org', 'none'], ())
  )
  other.count(cut([f'{AWS_KEY} is a key'], (), (7,)))
  section.add(other)
  tree = section.tree()
  assert tree['documents'] == 2
  assert tree['share_of_documents'] == pytest.approx(2 / 3)
  emails = tree['kinds']['email']
  assert (emails['found'], emails['documents']) == (2, 1)
  assert emails['per_million_words'] == pytest.approx(1e6 * 2 / 9)
  assert emails['examples'][0] == {
    'masked': 'a.…',
    'document': 0,
    'characters': 17,
  }
  assert tree['kinds']['access_token']['examples'][0]['document'] == 7
  assert 'IOSF' not in str(tree) and 'person' not in str(tree)
  assert set(tree['kinds']) == set(personal.KINDS)


def test_detectors_are_there():
  assert len(secrets._patterns()) > len(secrets.DETECTORS)
