"""The shell on a Kubernetes cluster: the only rooms that speak HTTP to an API server.

`access`, `api`, `store` and `lease` are the client; the keepers above them see and perform for jobs and endpoints.
Imported by `handlers` and, when a cluster is asked for, by `cli`: local mode never loads it.
"""
