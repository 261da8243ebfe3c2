"""Shows ACME challenges to the world (RFC 8555 section 8) and takes them away, whatever ends the run."""
