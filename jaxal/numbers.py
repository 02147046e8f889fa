"""The generation of this version's numbers; `docs/numbers.md` tells what each one changed.

It is raised whenever a change makes the same data, settings and seed give other results, so that no folder and no journal mixes old
numbers with new ones unless somebody asks for it.
"""

NUMBERS = 4
NUMBERS_BEFORE_THEY_WERE_RECORDED = 3  # of folders whose config.json does not say
