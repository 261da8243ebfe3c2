"""For those who write a provider: what every one of them must hold to."""
