"""Personal data and secrets: found by form, told by kind, and scrubbed.

Forms are found by patterns of ours and of detect-secrets; what has a checksum
or a plan is then verified: telephone numbers by phonenumbers (Google's
libphonenumber), cards and accounts by python-stdnum, addresses by the standard
library. Names, homes and the like have no form, and are not found: that takes
a model, such as those that presidio-analyzer and scrubadub load.

What is reserved for documentation or private use belongs to nobody, and is not
found: example.com and its like (RFC 2606), 192.0.2.0/24 (RFC 5737),
2001:db8::/32 (RFC 3849), 10.0.0.0/8 (RFC 1918) and so on.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from data.audit import extras, secrets
from data.audit.documents import Documents
from data.audit.masking import mask

EXAMPLES = 5  # of each kind, masked
# Four numbers below this are a version or a section, not an address. One of 256
# addresses is lost by it.
LEAST_OCTET = 64

_EMAIL = re.compile(
  r'(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?![A-Za-z0-9-])'
)
_RESERVED_DOMAIN = re.compile(
  r'(?:^|\.)(?:example\.(?:com|net|org)|example|invalid|localhost|test)$', re.I
)
# A country code and the rest in any grouping; or 3-3-4 digits, as numbers are
# written in North America.
_PHONE = re.compile(
  r'(?<![\w.+-])(?:'
  r'\(?\+\d{1,15}\)?'
  r'(?:[ -]?\(\d{1,4}\)|[ -]\d{1,14}|\.\d{2,14}|(?<=\))\d{1,14}){0,6}'
  r'|(?:1[ .-])?\(\d{3}\) ?\d{3}[.-]\d{4}'
  r'|(?:1[ .-])?\d{3}([.-])\d{3}\1\d{4}'
  r')(?![\w-]|\.\d)'
)
_IPV4 = re.compile(r'(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\w)')
_IPV6 = re.compile(
  r'(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:+){2,7}[0-9A-Fa-f]{1,4}(?![\w:]|\.\d)'
)
# Lengths and first digits of Visa, Mastercard, American Express, Discover,
# JCB and Diners Club, in the groups that are printed on them or in none; the
# argument of a function is another number.
_CARD = re.compile(
  r'(?<![\w.-])(?<!\w\()(?:'
  r'(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6011|65\d\d|35\d\d)([ -]?)'
  r'\d{4}\1\d{4}\1\d{4}'
  r'|3[47]\d\d([ -]?)\d{6}\2\d{5}'
  r'|3[068]\d\d([ -]?)\d{6}\3\d{4}'
  r')(?![\w-]|\.\d)'
)
_IBAN = re.compile(
  r'\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b'
)


class Span(NamedTuple):
  """Where something personal is in a text: `text[start:stop]`."""

  kind: str
  start: int
  stop: int


def find_personal(text: str) -> list[Span]:
  """What is personal in a text, of the kinds in `KINDS`, in its order.

  Spans do not overlap: where two would, the kind that comes first in `KINDS`
  stays.

  Raises:
    UserError: a library of the extra `audit` is not installed.
  """
  found: list[Span] = []
  taken = bytearray(len(text))
  for kind, find in KINDS.items():
    for start, stop in find(text):
      if taken.find(1, start, stop) < 0:
        taken[start:stop] = b'\x01' * (stop - start)
        found.append(Span(kind, start, stop))
  return sorted(found, key=lambda span: span.start)


def scrub(text: str) -> str:
  """A text with everything personal replaced by its kind, as in '<EMAIL>'."""
  parts, place = [], 0
  for span in find_personal(text):
    parts += [text[place : span.start], f'<{span.kind.upper()}>']
    place = span.stop
  return ''.join([*parts, text[place:]])


class Personal:
  """The section 'personal' of an audit."""

  def __init__(self) -> None:
    self._found: Counter[str] = Counter()
    self._documents: Counter[str] = Counter()
    self._with_any = 0
    self._examples: dict[str, list[dict[str, Any]]] = {}
    self._totals = np.zeros(2, np.int64)  # documents, words

  def count(self, documents: Documents) -> None:
    """Adds a chunk of documents."""
    self._totals += len(documents.texts), len(documents.word_W)
    for place, text in zip(documents.places, documents.texts, strict=True):
      spans = find_personal(text)
      kinds = [span.kind for span in spans]
      self._found.update(kinds)
      self._documents.update(set(kinds))
      self._with_any += bool(spans)
      for kind, start, stop in spans:
        example = {'masked': mask(text[start:stop]), 'document': place}
        self._keep(kind, example | {'characters': stop - start})

  def add(self, other: 'Personal') -> None:
    """Adds what another has counted."""
    self._found.update(other._found)
    self._documents.update(other._documents)
    self._with_any += other._with_any
    self._totals += other._totals
    for kind, examples in other._examples.items():
      for example in examples:
        self._keep(kind, example)

  def tree(self) -> dict[str, Any]:
    """JSON-able: of each kind how often, in how many documents, examples.

    An example has its first two characters, its length, and the place of the
    document in the split.
    """
    documents, words = np.maximum(self._totals, 1).tolist()
    return {
      'documents': self._with_any,
      'share_of_documents': self._with_any / documents,
      'kinds': {
        kind: {
          'found': self._found[kind],
          'per_million_words': 1e6 * self._found[kind] / words,
          'documents': self._documents[kind],
          'examples': self._examples.get(kind, []),
        }
        for kind in KINDS
      },
    }

  def _keep(self, kind: str, example: dict[str, Any]) -> None:
    kept = self._examples.setdefault(kind, [])
    if len(kept) < EXAMPLES:
      kept.append(example)


def _emails(text: str) -> Iterator[tuple[int, int]]:
  for match in _EMAIL.finditer(text) if '@' in text else ():
    domain = match.group().rpartition('@')[2]
    if not _RESERVED_DOMAIN.search(domain):
      yield match.span()


def _phones(text: str) -> Iterator[tuple[int, int]]:
  for match in _PHONE.finditer(text):
    number = match.group()
    while number and not _is_phone(number):
      number = number.rpartition(' ')[0]  # other numbers may come after it
    if number:
      yield match.start(), match.start() + len(number)


def _is_phone(text: str) -> bool:
  phonenumbers = extras.load('phonenumbers')
  try:
    return phonenumbers.is_valid_number(phonenumbers.parse(text, 'US'))
  except phonenumbers.NumberParseException:
    return False


def _addresses(text: str) -> Iterator[tuple[int, int]]:
  for pattern, plausible in ((_IPV4, _is_ipv4), (_IPV6, _is_ipv6)):
    for match in pattern.finditer(text):
      if plausible(match.group()):
        yield match.span()


def _is_ipv4(text: str) -> bool:
  if max(map(int, text.split('.'))) < LEAST_OCTET:
    return False
  try:
    address = ipaddress.IPv4Address(text)
  except ValueError:
    return False
  return address.is_global and not address.is_multicast


def _is_ipv6(text: str) -> bool:
  """Global unicast is 2000::/3 (RFC 4291); shorter ones are slices of code."""
  if text[0] not in '23' or len(text.replace('::', ':').split(':')) < 3:
    return False
  try:
    return ipaddress.IPv6Address(text).is_global
  except ValueError:
    return False


def _cards(text: str) -> Iterator[tuple[int, int]]:
  for match in _CARD.finditer(text):
    digits = re.sub(r'\D', '', match.group())
    if extras.load('stdnum.luhn').is_valid(digits):
      yield match.span()


def _accounts(text: str) -> Iterator[tuple[int, int]]:
  for match in _IBAN.finditer(text):
    if extras.load('stdnum.iban').is_valid(match.group()):
      yield match.span()


KINDS: dict[str, Callable[[str], Iterator[tuple[int, int]]]] = {
  'private_key': secrets.private_keys,
  'access_token': secrets.access_tokens,
  'email': _emails,
  'iban': _accounts,
  'payment_card': _cards,
  'phone': _phones,
  'ip_address': _addresses,
}
