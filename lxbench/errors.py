"""Errors that a user can act on: what happened, what was expected, the next command to paste."""

from lxbench.commands import typed


class LxbenchError(Exception):
    """Anything lxbench refuses with a message meant for the person at the keyboard.

    Args:
        happened: what went wrong, naming the file, option or clip.
        expected: what would have been right.
        command: the next command to paste, without a prompt sign.
    """

    def __init__(self, happened: str, *, expected: str, command: str) -> None:
        self.happened = happened
        self.expected = expected
        self.command = command
        super().__init__(happened, expected, command)

    def __str__(self) -> str:
        return f"{self.happened}\n  expected: {self.expected}\n  next: {typed(self.command)}"

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and these cross process borders.
        return (_rebuild, (type(self), self.happened, self.expected, self.command))


def _rebuild(cls: type[LxbenchError], happened: str, expected: str, command: str) -> LxbenchError:
    return cls(happened, expected=expected, command=command)


class UsageError(LxbenchError):
    """An option that cannot be obeyed; pytest exits with 4."""


class CorpusError(LxbenchError):
    """A corpus, or one clip of it, that cannot be used."""


class ModelError(LxbenchError):
    """A model that cannot be loaded."""


class CacheError(LxbenchError):
    """Something that is kept in the user's cache and could not be written there."""


class BaselineError(LxbenchError):
    """A baseline file that cannot be read or must not be written."""


class StepError(LxbenchError):
    """A step that did not do what its name says."""
