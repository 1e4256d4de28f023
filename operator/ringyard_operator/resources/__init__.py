"""The Kubernetes objects behind a TrainingJob and a ModelEndpoint, as plain data: same input, same objects."""
