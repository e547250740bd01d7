"""What can be wrong with the model or the weights that a user asks for."""


class ModelError(ValueError):
    """A name, a setting or a file that no model can be built from; the message says which and what to do."""


class WeightsError(ModelError):
    """A file of weights is unreadable, unsafe or of another model; the message says which and what to do."""
