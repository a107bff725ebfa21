"""The tier that all gateways share: one Redis, a cluster, or Sentinel's master."""
