#!/usr/bin/env python3
"""sockets_bench.py s|c [ADDRESS]: what TCP alone costs. Sends and receives 655 MB both ways at once, as two ranks of the
overlap benchmark do per step, and prints wall and CPU seconds. Under tests/slurm/hosts.sh:

    hosts.sh on host0 python3 tools/bench/sockets_bench.py s &
    hosts.sh on host1 python3 tools/bench/sockets_bench.py c 10.78.0.1
"""
import resource
import socket
import sys
import threading
import time

BYTES, BLOCK, PORT = 655_000_000, 1 << 20, 7777


def receive(peer):
    block, left = bytearray(BLOCK), BYTES
    while left:
        got = peer.recv_into(block, min(left, BLOCK))
        if got == 0:
            sys.exit("the peer went away")
        left -= got


def send(peer):
    block = memoryview(bytes(BLOCK))
    for first in range(0, BYTES, BLOCK):
        peer.sendall(block[:min(BLOCK, BYTES - first)])


def connect(address):
    for _ in range(100):
        try:
            return socket.create_connection((address, PORT))
        except OSError:
            time.sleep(0.1)
    return sys.exit(f"nobody listens on {address}:{PORT}")


def main():
    if sys.argv[1:2] == ["s"]:
        with socket.create_server(("", PORT)) as listener:
            peer, _ = listener.accept()
    elif len(sys.argv) == 3 and sys.argv[1] == "c":
        peer = connect(sys.argv[2])
    else:
        sys.exit(__doc__)
    begin = time.time()
    thread = threading.Thread(target=receive, args=(peer,))
    thread.start()
    send(peer)
    thread.join()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{sys.argv[1]}: {time.time() - begin:.2f} s, CPU {usage.ru_utime:.2f} s user, {usage.ru_stime:.2f} s system")


if __name__ == "__main__":
    main()
