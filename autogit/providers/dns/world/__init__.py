"""Asking the DNS of the world: what a zone's own servers say, resolvers, and whether an authority may sign."""
