"""The verdict service: what the ingress asks of each text that comes in (docs/how-to/prompt-filter.md)."""
