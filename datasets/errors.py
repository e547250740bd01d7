"""What can be wrong with data on disk. Needs no PyTorch."""


class DataError(Exception):
    """A file of data is not as it should be; the message names the file, what was found and what to do."""
