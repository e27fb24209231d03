"""The report of an audit: JSON, and one page that works offline."""

import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from configs.files import write_json, write_text
from configs.pages import render

JSON, PAGE = 'audit.json', 'audit.html'
TEMPLATE = 'report.html.jinja'
_LEAST_SHARE = 1e-4  # that is told exactly
_LABELS = {
  'c4': 'C4',
  'email': 'e-mail address',
  'gopher': 'Gopher',
  'gopher_repetition': 'Gopher, repetition',
  'iban': 'IBAN',
  'ip_address': 'IP address',
  'phone': 'telephone number',
}
_SUPERSCRIPTS = str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹')


def write_report(tree: Mapping[str, Any], folder: pathlib.Path) -> pathlib.Path:
  """Writes `audit.json` and `audit.html`, each whole or not at all.

  Args:
    tree: 'sources' has what `data.audit.run.audit` gives of each source, by its
      name. 'duplicates' and 'contamination', which may be missing, have what
      `data.audit.sharing` gives of all sources together.
    folder: is made where it is missing.

  Returns:
    The page.
  """
  plain = json.loads(json.dumps(tree))  # keys are strings there
  write_json(folder / JSON, plain)
  path = folder / PAGE
  write_text(path, page(plain))
  return path


def page(tree: Mapping[str, Any]) -> str:
  """The report as HTML."""
  return render(
    pathlib.Path(__file__).with_name(TEMPLATE),
    {'number': number, 'percent': percent, 'size': size, 'label': label},
    sources=tree['sources'],
    duplicates=tree.get('duplicates'),
    contamination=tree.get('contamination'),
    total={
      key: _total(tree['sources'].values(), key)
      for key in ('documents', 'documents_read', 'bytes', 'words')
    },
  )


def _total(audits: Iterable[Mapping[str, Any]], key: str) -> int:
  return sum(found['splits'][found['audited']][key] for found in audits)


def number(value: float | None, digits: int = 3) -> str:
  """Whole numbers as they are, others to some digits; a dash for None."""
  if value is None:
    return '—'
  if isinstance(value, int) or (value.is_integer() and abs(value) < 1e9):
    return f'{int(value):,}'.replace('-', '−')
  mantissa, power = f'{value:.{digits - 1}e}'.split('e')
  if -4 <= int(power) < 9:
    text = f'{value:,.{max(0, digits - 1 - int(power))}f}'
  else:
    text = f'{mantissa} × 10{str(int(power)).translate(_SUPERSCRIPTS)}'
  return text.replace('-', '−')


def percent(share: float | None) -> str:
  """A share in per cent: 12.3%, 1.2%, 0.12%, 0%; a dash for None."""
  if share is None:
    return '—'
  if 0 < share < _LEAST_SHARE:
    return f'<{100 * _LEAST_SHARE:g}%'
  decimals = 2 if 0 < share < 0.01 else 1
  return f'{100 * share:.{decimals}f}%' if share else '0%'


def size(count: int) -> str:
  """Bytes in the unit that suits them, of powers of 1,000."""
  value = float(count)
  for unit in ('bytes', 'kB', 'MB', 'GB'):
    if value < 1000:
      return f'{number(int(value) if unit == "bytes" else value)} {unit}'
    value /= 1000
  return f'{number(value)} TB'


def label(name: str) -> str:
  """A key of the JSON as words."""
  return _LABELS.get(name, name.replace('_', ' ').replace('gram', '-gram'))
