"""Local mode: the operator without a cluster. A shell with the verbs of `kube`.

It observes processes and files, and performs the plan's actions on them. Called by `cli` and `__main__`. It decides
nothing that a cluster would decide otherwise.
"""
