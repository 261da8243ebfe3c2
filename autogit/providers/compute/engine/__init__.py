"""The parts of the Docker runtime: the connection, what is made on an engine, and how it is changed."""
