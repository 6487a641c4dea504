"""The laboratory gateway: a client, a gateway, a load balancer and a real endpoint mapper, in network namespaces."""
