"""What ends a command with one message; see utils/cli.py. Needs no PyTorch."""


class SettingsError(Exception):
    """A flag or a setting that cannot be used; the message names it and says what to do."""


class RankError(SettingsError):
    """A setting that cannot be used on this rank, whatever the others say of it."""


class PeerError(Exception):
    """Another rank cannot go on, so this one cannot either; its own message says why."""
