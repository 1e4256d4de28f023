"""How an operation or a wait for a view can end other than well. The engine raises, the training loop catches.

Only `ViewLost` is part of a normal life; the others end the process, each with its own exit code
(`ringyard_api.launch`).
"""

from __future__ import annotations


class Outcome(Exception):
    """Base of all; its text is one sentence."""


class ViewLost(Outcome):
    """A member of the view was lost, or the view is over: redo the step in the next view. Buffers are undefined."""


class Finished(Outcome):
    """The result stands: exit 0."""


class Fenced(Outcome):
    """A newer process holds this worker's place: exit 143."""


class Terminated(Outcome):
    """The member was told to go and is out of the view: exit 143."""


class Mismatch(Outcome):
    """Two members are in different operations: their programs differ. No retry can heal that."""
