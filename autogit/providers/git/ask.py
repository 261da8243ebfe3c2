"""Git's credential helper: asks the running AutoGit over its socket; holds nothing, imports next to nothing."""

import socket
import sys


def main() -> int:
    """Pass git's question on to the socket that the first argument names, and the answer back (gitcredentials(7))."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        try:
            connection.connect(sys.argv[1])
            connection.sendall(sys.stdin.buffer.read(65536))
            connection.shutdown(socket.SHUT_WR)
            while answer := connection.recv(65536):
                sys.stdout.buffer.write(answer)
        except OSError:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
