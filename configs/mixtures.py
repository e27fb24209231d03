"""Published mixtures of data sets by name: sources and weights. Plain data.

A name may stand in `data.source` for its sources; its weights count where
`data.mixture` gives none. Of the layouts, each component is a folder of the
folder a command runs in, named by what the lines' `meta` calls it, which tells
apart the lines of the published files. (Those of the Pile are mixed already:
as they are, they need no weights.)
"""

from typing import NamedTuple


class Mixture(NamedTuple):
  """Sources that are read together."""

  sources: tuple[str, ...]  # as in `data.source`, where `;` parts them
  weights: tuple[float, ...]  # as in `data.mixture.weights`, in percent
  licence: str
  citation: str


_PILE = {  # Gao et al. 2020 (arXiv:2101.00027), table 1: by meta.pile_set_name
  'Pile-CC': 18.11,
  'PubMed Central': 14.40,
  'Books3': 12.07,
  'OpenWebText2': 10.01,
  'ArXiv': 8.96,
  'Github': 7.59,
  'FreeLaw': 6.12,
  'StackExchange': 5.13,
  'USPTO Backgrounds': 3.65,
  'PubMed Abstracts': 3.07,
  'Gutenberg (PG-19)': 2.17,
  'OpenSubtitles': 1.55,
  'Wikipedia (en)': 1.53,
  'DM Mathematics': 1.24,
  'Ubuntu IRC': 0.88,
  'BookCorpus2': 0.75,
  'EuroParl': 0.73,
  'HackerNews': 0.62,
  'YoutubeSubtitles': 0.60,
  'PhilPapers': 0.38,
  'NIH ExPorter': 0.30,
  'Enron Emails': 0.14,
}
_LLAMA = {  # Touvron et al. 2023 (arXiv:2302.13971), table 1: what it samples
  'CommonCrawl': 67.0,
  'C4': 15.0,
  'Github': 4.5,
  'Wikipedia': 4.5,
  'Book': 4.5,
  'ArXiv': 2.5,
  'StackExchange': 2.0,
}
_SLIMPAJAMA = {  # Soboleva et al. 2023: its tokens, by meta.redpajama_set_name
  'CommonCrawl': 52.2,
  'C4': 26.7,
  'Github': 5.2,
  'ArXiv': 4.6,
  'Book': 4.2,
  'Wikipedia': 3.8,
  'StackExchange': 3.3,
}

MIXTURES: dict[str, Mixture] = {
  'pile_by_set': Mixture(
    tuple(f'files:pile/{name}/*.jsonl.zst' for name in _PILE),
    tuple(_PILE.values()),
    'those of its parts',
    'gao2020',
  ),
  'redpajama_by_set': Mixture(
    tuple(f'files:redpajama/RedPajama{name}/*.jsonl.zst' for name in _LLAMA),
    tuple(_LLAMA.values()),
    'those of its parts',
    'weber2024',
  ),
  'slimpajama_by_set': Mixture(
    tuple(
      f'files:slimpajama/RedPajama{name}/*.jsonl.zst' for name in _SLIMPAJAMA
    ),
    tuple(_SLIMPAJAMA.values()),
    'those of its parts',
    'soboleva2023',
  ),
}

# What may stand in `data.source` for several sources.
SOURCES: dict[str, str] = {
  name: ';'.join(row.sources) for name, row in MIXTURES.items()
}
