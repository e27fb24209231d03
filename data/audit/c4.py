"""The rules of C4 (Raffel et al. 2020, section 2.2), as statistics.

C4 drops lines first and then pages that have little left. Which lines stay is
as in the code that made it, `c4_utils` of TensorFlow Datasets; sentences are
told by their end marks, where that code has a trained splitter.
"""

import re
from collections.abc import Sequence

import numpy as np

from data.audit.documents import Documents

END_MARKS = ('.', '?', '!', '"')
LEAST_WORDS = 5  # of a line
MOST_CHARACTERS = 1000  # of a word
POLICY = (
  'terms of use',
  'privacy policy',
  'cookie policy',
  'uses cookies',
  'use of cookies',
  'use cookies',
)
_CITATION = re.compile(r'\[\d*\]|\[edit\]|\[citation needed\]')
# Possessive, and only from the first mark of a run: linear in its length.
_SENTENCE_END = re.compile(r'(?<![.?!])[.?!]++["\'”’)\]]*+(?=\s|$)')


def statistics(documents: Documents) -> dict[str, np.ndarray]:
  """The five of C4, by name, each of every document.

  `kept_lines`: share of lines that C4 keeps. `terminal_lines`: share of lines
  that end with a terminal punctuation mark. `sentences`: in the lines kept.
  `curly_brackets` and `lorem_ipsum`: how often they are there.
  """
  kept = [kept_lines(lines) for lines in documents.lines]
  num_lines_P = np.array([max(len(lines), 1) for lines in documents.lines])
  terminal_P = np.array(
    [sum(map(is_terminal, lines)) for lines in documents.lines]
  )
  return {
    'kept_lines': np.array(list(map(len, kept))) / num_lines_P,
    'terminal_lines': terminal_P / num_lines_P,
    'sentences': np.array([sum(map(count_sentences, k)) for k in kept]),
    'curly_brackets': np.array([t.count('{') for t in documents.texts]),
    'lorem_ipsum': np.array(
      [t.lower().count('lorem ipsum') for t in documents.texts]
    ),
  }


def kept_lines(lines: Sequence[str]) -> list[str]:
  """The lines that C4 keeps, without their citation marks.

  Args:
    lines: stripped.
  """
  found = []
  for line in lines:
    if '[' in line:
      line = _CITATION.sub('', line)
    if is_terminal(line) and _is_prose(line):
      found.append(line)
  return found


def is_terminal(line: str) -> bool:
  """Whether a line ends with a terminal mark that is no ellipsis."""
  return line.endswith(END_MARKS) and not line.endswith('...')


def count_sentences(line: str) -> int:
  """Runs of end marks before a blank or the end; at least 1, for the line."""
  return max(len(_SENTENCE_END.findall(line)), 1)


def _is_prose(line: str) -> bool:
  words = line.split()
  if len(words) < LEAST_WORDS or max(map(len, words)) > MOST_CHARACTERS:
    return False
  lower = line.lower()
  return 'javascript' not in lower and not any(p in lower for p in POLICY)
