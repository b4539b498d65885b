# SPDX-License-Identifier: Apache-2.0
"""Small servers of protocols that are no HTTP.

    python speaking.py COMMANDS_PORT FTP_PORT

On COMMANDS_PORT the client speaks first. A line, or an array of RESP, is a command as Redis has
it: PING, ECHO text. What begins with no letter and no asterisk is sent back as it comes. Every
connection is first told the node's name, in a line, once it has said something.

On FTP_PORT the server speaks first: USER, PASV and RETR of FTP, of which PASV opens a port of this
node's own address, where the name of the node can be fetched.
"""

import os
import socket
import socketserver
import subprocess
import sys
import threading

_NODE = os.environ["IPOS_NODE"].encode()


class Commands(socketserver.StreamRequestHandler):
    """One connection, command after command."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        first = self.connection.recv(1, socket.MSG_PEEK)
        self.wfile.write(b"+" + _NODE + b"\r\n")
        if not first.isalpha() and first != b"*":
            while data := self.rfile.read1():
                self.wfile.write(data)
            return
        while words := self._command():
            self.wfile.write(words[1] + b"\r\n" if words[0] == b"ECHO" else b"+PONG\r\n")

    def _command(self) -> list[bytes]:
        line = self.rfile.readline()
        if not line.startswith(b"*"):
            return line.split()
        words = []
        for _ in range(int(line[1:])):
            size = int(self.rfile.readline()[1:])
            words.append(self.rfile.read(size + 2)[:-2])
        return words


class Ftp(socketserver.StreamRequestHandler):
    """One control connection."""

    def handle(self) -> None:
        self.wfile.write(b"220 " + _NODE + b"\r\n")
        data: socket.socket | None = None
        while words := self.rfile.readline().split():
            if words[0] == b"PASV":
                data = socket.create_server((_own_address(), 0))
                address, port = data.getsockname()
                where = ",".join([*address.split("."), str(port >> 8), str(port & 255)])
                self.wfile.write(f"227 Entering Passive Mode ({where})\r\n".encode())
            elif words[0] == b"RETR" and data is not None:
                self.wfile.write(b"150 Here it comes\r\n")
                with data, data.accept()[0] as connection:
                    connection.sendall(_NODE)
                self.wfile.write(b"226 Done\r\n")
            else:
                self.wfile.write(b"230 Welcome\r\n")


def _own_address() -> str:
    """What a real server has as its `pasv_address`: the one that is not the other servers'."""
    shown = subprocess.run(["ip", "-o", "-4", "addr", "show", "dev", "front"],
                           capture_output=True, text=True, check=True)  # fmt: skip
    return shown.stdout.split()[3].partition("/")[0]


class Server(socketserver.ThreadingTCPServer):
    """Accepts many connections at once."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def main(commands: int, ftp: int) -> None:
    control = Server(("0.0.0.0", ftp), Ftp)
    threading.Thread(target=control.serve_forever, daemon=True).start()
    with Server(("0.0.0.0", commands), Commands) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
