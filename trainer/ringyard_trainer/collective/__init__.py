"""The collective: gradients AllReduced over gRPC by a group that outlives its members. The loop calls `gang` only.

The process is tuned here because gRPC reads some of its settings at its first import.
"""

from ringyard_trainer.collective import tuning

tuning.quieten()
