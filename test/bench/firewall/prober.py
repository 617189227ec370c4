"""Connects to an address again and again from the network namespace it runs in, at a given rate, until its stdin ends.

    prober.py ADDRESS PORT PER_SECOND

Python, because a probe may cost no more than some tens of microseconds: the prober must leave the cores to what is
measured. No probe waits for another: one whose answer is not there when connect() returns (over veth links it is) is
looked at again with the following ones. Prints one JSON object at the end: times in milliseconds.
"""
import json
import select
import socket
import struct
import sys
import time

ADDRESS, PORT, PER_SECOND = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
FAMILY = socket.AF_INET6 if ":" in ADDRESS else socket.AF_INET
RESET = struct.pack("ii", 1, 0)  # l_onoff, l_linger: without TIME_WAIT, because the ports would run out
GIVE_UP = 0.3
REFUSED = 111


class Probe:
    def __init__(self, at):
        self.at = at
        self.outcome = None
        self.sock = socket.socket(FAMILY, socket.SOCK_STREAM)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.connect_ex((ADDRESS, PORT))

    def decide(self, now):
        """Sets the outcome once there is one: 'through', 'refused', 'lost' (no answer in time) or an errno."""
        poll = select.poll()
        poll.register(self.sock, select.POLLOUT)
        if poll.poll(0):
            error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self.outcome = {0: "through", REFUSED: "refused"}.get(error, str(error))
        elif now - self.at > GIVE_UP:
            self.outcome = "lost"
        else:
            return False
        self.sock.close()
        return True


probes, pending = [], []
stdin = select.poll()
stdin.register(sys.stdin, select.POLLIN | select.POLLHUP)
print("ready", flush=True)
start = due = time.monotonic()
while not stdin.poll(0):
    probe = Probe(time.monotonic())
    probes.append(probe)
    pending = [one for one in [*pending, probe] if not one.decide(probe.at)]
    # A prober that was held up continues at its rate, at most ten probes late, without a burst.
    due = max(due + 1 / PER_SECOND, time.monotonic() - 10 / PER_SECOND)
    time.sleep(max(0.0, due - time.monotonic()))
seconds = time.monotonic() - start
for probe in pending:
    probe.decide(float("inf"))

# A gap lasts from the first probe that got through to the first that did not, after the last one that did. A lost probe between
# two that got through does not end a gap, a refused one does.
outcomes, gaps, opened, shut = {}, [], None, None
for probe in probes:
    outcomes[probe.outcome] = outcomes.get(probe.outcome, 0) + 1
    if probe.outcome == "through":
        opened, shut = opened or probe.at, None
    elif opened is not None:
        shut = shut or probe.at
        if probe.outcome == "refused":
            gaps.append((shut - opened) * 1000)
            opened = None
if opened is not None:
    gaps.append(((shut or start + seconds) - opened) * 1000)
pauses = [b.at - a.at for a, b in zip(probes, probes[1:])]
print(json.dumps({"seconds": seconds, "outcomes": outcomes, "gaps": gaps, "longestPause": max(pauses, default=0) * 1000}))
