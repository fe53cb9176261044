"""Generated code in a pod of a cluster: the image that it runs on, and what the container is told to run."""
