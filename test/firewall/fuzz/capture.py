"""Prints every IP packet that comes in by eth0 of this network namespace, one a line: id, source, destination, protocol.

The id is IPv4's identification or IPv6's flow label, by which the sender recognises its packets. An AF_PACKET socket
sees a packet before the host's own stack can refuse it. At the end of its input it prints how many it had to leave out.
"""
import select
import socket
import struct
import sys

SOL_PACKET, PACKET_STATISTICS, PACKET_OUTGOING = 263, 6, 4
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86DD

sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
sock.bind(("eth0", ETH_P_ALL))
print("ready", flush=True)
poll = select.poll()
poll.register(sock, select.POLLIN)
poll.register(sys.stdin, select.POLLIN | select.POLLHUP)
while all(fd != sys.stdin.fileno() for fd, _ in poll.poll()):
    packet, (_, ethertype, kind, *_) = sock.recvfrom(65535)
    if kind == PACKET_OUTGOING:
        continue
    if ethertype == ETH_P_IP and len(packet) >= 20:
        family, number = socket.AF_INET, struct.unpack("!H", packet[4:6])[0]
        source, destination, protocol = packet[12:16], packet[16:20], packet[9]
    elif ethertype == ETH_P_IPV6 and len(packet) >= 40:
        family, number = socket.AF_INET6, struct.unpack("!I", packet[0:4])[0] & 0xFFFFF
        source, destination, protocol = packet[8:24], packet[24:40], packet[6]
    else:
        continue
    print(number, socket.inet_ntop(family, source), socket.inet_ntop(family, destination), protocol, flush=True)
_, dropped = struct.unpack("II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
print("dropped", dropped, flush=True)
