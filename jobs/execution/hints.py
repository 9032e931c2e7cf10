"""Commands that a job prints for its user to run next."""

import shlex


def make_command(target: str, **variables: str) -> str:
    """A `make` command with its variables, quoted for the shell and for make.

    Make expands a `$` in a variable, quoted or not; two of them are one.
    """
    words = ["make", target]
    for name, value in variables.items():
        words.append(f"{name}={value.replace('$', '$$')}")
    return shlex.join(words)
