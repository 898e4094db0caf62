"""What cannot be done, said to the user."""


class CompressionError(ValueError):
    """The message says what cannot be done, and the cure."""
