"""A device at the other end of the wire whose network stack is this machine's kernel: a TAP card in the network namespace
that this runs in, relayed to the socket as QEMU's `-netdev stream` does, and recorded as its `filter-dump` does.

    tap-device.py SOCKET PCAP       listens on TCP port 22, and answers datagrams to port 53; prints "ready"
"""
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import time

tap = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tap, 0x400454CA, struct.pack('16sH', b'card', 0x0002 | 0x1000))
for words in ('link set lo up', 'link set card address 52:54:00:51:00:02', 'link set card up',
              'address add 198.51.100.2/24 dev card', 'address add fd00::2/64 dev card nodad'):
    subprocess.run(['ip', *words.split()], check=True)
listener = socket.create_server(('::', 22), family=socket.AF_INET6, dualstack_ipv6=True)
names = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
names.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
names.bind(('::', 53))
wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
wire.connect(sys.argv[1])
pcap = open(sys.argv[2], 'wb', buffering=0)
pcap.write(struct.pack('<IHHiIII', 0xA1B2C3D4, 2, 4, 0, 0, 65536, 1))


def record(frame):
    pcap.write(struct.pack('<IIII', int(time.time()), int(time.time() % 1 * 1e6), len(frame), len(frame)) + frame)


print('ready', flush=True)
rest = b''
while True:
    for source in select.select([tap, wire, names], [], [])[0]:
        if source == tap:
            frame = os.read(tap, 65536)
            record(frame)
            try:
                wire.sendall(struct.pack('>I', len(frame)) + frame)
            except BrokenPipeError:
                sys.exit(0)
        elif source is names:
            words, peer = names.recvfrom(2048)
            names.sendto(words, peer)
        else:
            try:
                chunk = wire.recv(65536)
            except ConnectionResetError:
                chunk = b''
            if not chunk:
                sys.exit(0)
            rest += chunk
            while len(rest) >= 4 and len(rest) >= 4 + struct.unpack('>I', rest[:4])[0]:
                length = struct.unpack('>I', rest[:4])[0]
                frame, rest = rest[4:4 + length], rest[4 + length:]
                record(frame)
                os.write(tap, frame)
