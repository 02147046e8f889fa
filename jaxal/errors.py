"""The error that a person can act on."""


class UserError(Exception):
    """Bad input or a bad option: says what was given, what was expected and what to do. Commands print it and exit with 2."""
