"""Sends frames by eth0 of this network namespace as they are: hexadecimal, one a line; `flush` is answered by `flushed`."""
import socket
import sys

sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sock.bind(("eth0", 0))
for line in sys.stdin:
    if line == "flush\n":
        print("flushed", flush=True)
    else:
        sock.send(bytes.fromhex(line))
