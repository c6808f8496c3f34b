"""What a desk should look like on Kubernetes: pure, spec in, manifests out. No cluster, no clock."""
