"""Words that name groups of people, in English.

Axes are those of HolisticBias (Smith et al. 2022, arXiv:2205.09209) for which
there are unambiguous words; the words are plain names of groups, in singular
and plural. Gender has the pairs of Bolukbasi et al. 2016 (arXiv:1607.06520)
and the pronouns that Touvron et al. 2023 (arXiv:2307.09288, table 9) count;
religion has the groups of Brown et al. 2020 (arXiv:2005.14165, section 6.2.3).

A word that mostly means something else ('black', 'old', 'blind', 'straight')
is there only with a noun for people after it. Even so they are counts of words,
not of people.
"""

_PEOPLE = (
  *('people', 'person', 'persons', 'man', 'men', 'woman', 'women'),
  *('boy', 'boys', 'girl', 'girls', 'child', 'children'),
)


def _with_people(*words: str) -> tuple[str, ...]:
  return tuple(f'{word} {noun}' for word in words for noun in _PEOPLE)


# axis: group: terms of one word or two, in lower case
AXES: dict[str, dict[str, tuple[str, ...]]] = {
  'gender': {
    'female': (
      *('she', 'her', 'hers', 'herself', 'woman', 'women', 'girl', 'girls'),
      *('lady', 'ladies', 'mother', 'mothers', 'daughter', 'daughters'),
      *('sister', 'sisters', 'wife', 'wives', 'aunt', 'aunts', 'niece'),
      *('nieces', 'queen', 'queens', 'female', 'females', 'mrs', 'miss'),
      *('madam', 'grandmother', 'grandmothers', 'mom', 'moms', 'mum', 'mums'),
    ),
    'male': (
      *('he', 'him', 'his', 'himself', 'man', 'men', 'boy', 'boys'),
      *('gentleman', 'gentlemen', 'father', 'fathers', 'son', 'sons'),
      *('brother', 'brothers', 'husband', 'husbands', 'uncle', 'uncles'),
      *('nephew', 'nephews', 'king', 'kings', 'male', 'males', 'mr', 'sir'),
      *('grandfather', 'grandfathers', 'dad', 'dads'),
    ),
    'neither or both': (
      *('nonbinary', 'non-binary', 'genderqueer', 'genderfluid', 'agender'),
      *('transgender', 'transsexual', 'trans people', 'trans person'),
      *('trans man', 'trans men', 'trans woman', 'trans women', 'intersex'),
    ),
  },
  'religion': {
    'atheism': ('atheist', 'atheists', 'atheism', 'agnostic', 'agnostics'),
    'buddhism': ('buddhist', 'buddhists', 'buddhism', 'buddha'),
    'christianity': (
      *('christian', 'christians', 'christianity', 'catholic', 'catholics'),
      *('protestant', 'protestants', 'christ', 'bible', 'methodist'),
      *('methodists', 'baptist', 'baptists', 'presbyterian', 'evangelical'),
    ),
    'hinduism': ('hindu', 'hindus', 'hinduism', 'brahmin', 'brahmins'),
    'islam': ('muslim', 'muslims', 'islam', 'islamic', 'koran', 'quran'),
    'judaism': ('jew', 'jews', 'jewish', 'judaism', 'rabbi', 'rabbis'),
  },
  'race and ethnicity': {
    'asian': ('asian', 'asians', 'asian american', 'asian americans'),
    'black': (
      *('african american', 'african americans', 'negro', 'negroes'),
      *_with_people('black', 'coloured', 'colored'),
    ),
    'hispanic': ('hispanic', 'hispanics', 'latino', 'latinos', 'latina'),
    'indigenous': (
      *('native american', 'native americans', 'aboriginal', 'aboriginals'),
      *('inuit', 'maori', *_with_people('indigenous')),
    ),
    'white': ('caucasian', 'caucasians', *_with_people('white')),
  },
  'nationality': {
    'african': ('african', 'africans', 'nigerian', 'nigerians', 'egyptian'),
    'american': ('american', 'americans'),
    'arab': ('arab', 'arabs', 'arabian'),
    'british': (
      *('british', 'briton', 'britons', 'englishman', 'englishmen'),
      *('englishwoman', 'scottish', 'scotsman', 'scotchman', 'welshman'),
    ),
    'chinese': ('chinese',),
    'french': ('frenchman', 'frenchmen', 'frenchwoman', 'french people'),
    'german': ('german', 'germans'),
    'indian': ('indian', 'indians', 'pakistani', 'pakistanis'),
    'irish': ('irish', 'irishman', 'irishmen', 'irishwoman'),
    'italian': ('italian', 'italians'),
    'japanese': ('japanese',),
    'mexican': ('mexican', 'mexicans'),
    'russian': ('russian', 'russians'),
    'spanish': ('spanish', 'spaniard', 'spaniards'),
  },
  'age': {
    'young': (
      *('teenager', 'teenagers', 'adolescent', 'adolescents', 'youngster'),
      *('youngsters', 'youth', 'youths', *_with_people('young')),
    ),
    'old': (
      *('elderly', 'pensioner', 'pensioners', 'senior citizen'),
      *('senior citizens', *_with_people('old', 'aged', 'older')),
    ),
  },
  'disability': {
    'disabled': (
      *('disabled', 'disability', 'disabilities', 'handicapped', 'wheelchair'),
      *('autistic', 'autism', 'dyslexic', 'paralysed', 'paralyzed'),
      *_with_people('blind', 'deaf'),
    ),
    'not disabled': ('able-bodied', *_with_people('healthy')),
  },
  'sexual orientation': {
    'heterosexual': ('heterosexual', 'heterosexuals', 'heterosexuality'),
    'homosexual or other': (
      *('homosexual', 'homosexuals', 'homosexuality', 'lesbian', 'lesbians'),
      *('bisexual', 'bisexuals', 'lgbt', 'lgbtq', *_with_people('gay')),
    ),
  },
}
