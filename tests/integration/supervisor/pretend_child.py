"""A child of the supervisor that serves plain answers: the command line says which parts it plays."""

import os
import signal
import sys
import threading
import time

from modelyard.server.channel import ChildChannel, Said

REPLY = "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{}"


def main() -> None:
    roles = set(sys.argv[1].split("+"))
    if "crash" in roles:
        sys.exit(3)
    channel = ChildChannel()
    handover, settings = channel.receive()
    if "fatal" in roles:
        channel.say(Said.FATAL, "The database is too new.")
        time.sleep(600)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if "stubborn" in roles else lambda *_: stop.set())
    if "controller" in roles:
        channel.say(Said.ADMIN_KEY, "my_first_key")
    if handover.descriptor < 0:
        channel.say(Said.READY)
        stop.wait()
        return
    import socket

    listener = socket.socket(fileno=os.dup(handover.descriptor))
    listener.settimeout(0.05)
    channel.say(Said.READY)
    while not stop.is_set():
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        with connection:
            connection.settimeout(5)
            target = connection.recv(65536).split()[1]
            if target == b"/slow":
                time.sleep(0.6)
            body = f"{handover.name} {os.getpid()} {settings.admin_key} {'MODELYARD_ADMIN_KEY' in os.environ} {sys.argv}"
            connection.sendall(REPLY.format(len(body), body).encode())


main()
