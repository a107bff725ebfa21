"""ratings-gateway: a caching sidecar for Apple Music's ratings API."""

__version__ = "0.1.0"
