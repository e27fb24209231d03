"""Under what licence the text is, where its source tells."""

import importlib.metadata
from collections.abc import Mapping
from typing import Any

from data.audit.shares import Shares
from data.python_text import PACKAGES, STDLIB

UNKNOWN = 'unknown'
FIELDS = ('licence', 'license')  # of a source, or of a document
_PYTHON = 'PSF-2.0'  # of the standard library
_LONGEST = 80  # characters of a licence's name; longer is its whole text
_CLASSIFIER = 'License :: '


def licences(
  source: Mapping[str, Any],
  fields: Mapping[str, Shares],
  documents: int,
  size: int,
) -> dict[str, Any]:
  """The licences that a source names, and how much text is under each.

  A document's own licence comes first; then that of its package; then that of
  the source.

  Args:
    source: its description. 'licence' or 'license' is one for all text;
      'packages' maps Python packages to versions: their licences are read from
      what is installed.
    fields: counts by the value of each field. 'licence' or 'license' is that of
      the document, 'library' the package that it is from.
    documents: how many there are.
    size: their bytes.

  Returns:
    JSON-able: 'declared' for the source, or None; 'packages' with versions and
    licences; 'shares', a row for each licence, 'unknown' where none is named.
  """
  declared = next(
    (_words(source[key]) for key in FIELDS if source.get(key)), None
  )
  packages = {
    str(name): {'version': str(version), 'licence': package_licence(str(name))}
    for name, version in dict(source.get('packages') or {}).items()
  }
  own = next((fields[key] for key in FIELDS if key in fields), None)
  found = Shares()
  if own is not None:
    found.add(own)
  elif packages and 'library' in fields:
    library = fields['library']
    for name, number in library.documents.items():
      known = packages.get(str(name), {}).get('licence', UNKNOWN)
      found.documents[known] += number
      found.bytes[known] += library.bytes[name]
  rest = documents - found.documents.total()
  if rest:
    found.documents[declared or UNKNOWN] += rest
    found.bytes[declared or UNKNOWN] += size - found.bytes.total()
  return {
    'declared': declared,
    'packages': packages,
    'shares': found.tree(),
  }


def _words(licence: Any) -> str:
  """A source may name several."""
  return ', '.join(licence) if isinstance(licence, list) else str(licence)


def package_licence(name: str) -> str:
  """The licence of an installed package, in the words of its metadata.

  Args:
    name: of the distribution, or what is imported of one in `PACKAGES`.
  """
  if name == STDLIB:
    return _PYTHON
  try:
    metadata = importlib.metadata.metadata(PACKAGES.get(name, name))
  except importlib.metadata.PackageNotFoundError:
    return UNKNOWN
  for key in ('License-Expression', 'License'):
    told = (metadata.get_all(key) or [''])[0].strip()
    if told and len(told) <= _LONGEST and told.upper() != 'UNKNOWN':
      return told
  classified = [
    value.split(' :: ')[-1]
    for value in metadata.get_all('Classifier') or []
    if value.startswith(_CLASSIFIER)
  ]
  return ', '.join(classified) or UNKNOWN
