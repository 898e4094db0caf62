"""A real Kubernetes on one Linux machine: control plane and kubelets in network namespaces, nothing downloaded prebuilt."""
