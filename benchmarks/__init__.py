import sys

from jaxal.cli.huge_pages import use_huge_pages

if sys.argv[0] == "-m":  # Python looks for the module of a command
    use_huge_pages()
