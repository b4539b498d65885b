# SPDX-License-Identifier: Apache-2.0
"""An application of UDP as many are: one socket, bound to any address, answers each client.

`wildcard.py PORT NAME` answers a datagram with NAME, a space and the datagram; one that begins with
"later" after a tenth of a second.
"""

import socket
import sys
import time


def main(port: int, name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as served:
        served.bind(("0.0.0.0", port))
        print("ready", flush=True)
        while True:
            data, client = served.recvfrom(65535)
            if data.startswith(b"later"):
                time.sleep(0.1)
            served.sendto(name.encode() + b" " + data, client)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
