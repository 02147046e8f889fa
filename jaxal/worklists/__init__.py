"""Worklists: what a reader is asked for, in the forms that readers' programs open. Pure writers of plain records."""
