"""Clients of the services that the platform runs: they speak a service's own API, and know nothing of the engine."""
