#!/usr/bin/env python3
"""A client of Tagline's local socket: standard library only.

    tagline_client.py --socket run/tagline.sock watch 'pump1.*' --state pump1.token
    tagline_client.py --socket run/tagline.sock write pump1.speed_setpoint 900

`watch` prints every change as one line of JSON and goes on where it was after any kill, of itself or
of the driver: the token of the last notification is stored after its changes have been processed. Who is
killed in between gets that notification once more: a change is known by its `seq`. Who must not see
it twice stores the token in the same transaction as what he makes of the changes.
"""

import argparse
import json
import os
import random
import socket
import sys
import time

TOKEN_TOO_OLD = -32010


class Refused(Exception):
    """The driver answers with an error."""

    def __init__(self, error):
        super().__init__(f"{error['message']} ({error['code']})")
        self.code = error["code"]
        self.data = error.get("data") or {}


class Connection:
    """One connection: a JSON object per line, both ways."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.lines = self.socket.makefile("r", encoding="utf-8", newline="\n")
        self.last_id = 0
        self.notifications = []

    def close(self):
        self.lines.close()
        self.socket.close()

    def receive(self):
        """The next object; ConnectionError: the driver is gone."""
        line = self.lines.readline()
        if not line.endswith("\n"):
            # What has no line end was cut off.
            raise ConnectionError("the driver closed the socket")
        return json.loads(line)

    def call(self, method, params):
        """The result of a request; notifications that come before it are kept."""
        self.last_id += 1
        request = {"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params}
        self.socket.sendall((json.dumps(request) + "\n").encode())
        while True:
            message = self.receive()
            if message.get("id") != self.last_id:
                self.notifications.append(message)
            elif "error" in message:
                raise Refused(message["error"])
            else:
                return message["result"]

    def notification(self):
        return self.notifications.pop(0) if self.notifications else self.receive()


def load_token(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)["token"]
    except FileNotFoundError:
        return "oldest"


def store_token(path, token):
    """Replaces the file so that it is the old or the new one, whatever happens."""
    draft = path + ".draft"
    with open(draft, "w", encoding="utf-8") as file:
        json.dump({"token": token}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def say(text):
    print(text, file=sys.stderr, flush=True)


def process(changes, durable):
    """What a control system does with changes. Here: print them."""
    lines = [json.dumps({**change, "durable": durable}) + "\n" for change in changes]
    sys.stdout.write("".join(lines))
    sys.stdout.flush()


def follow(connection, names, state):
    """Takes changes until the connection ends."""
    token = load_token(state)
    try:
        connection.call("tag.subscribe", {"names": names, "after": token})
    except Refused as error:
        if error.code != TOKEN_TOO_OLD:
            raise
        # We were away for longer than the journal reaches back: say so, and go on with what it has.
        say(f"changes are missing: {error}")
        token = error.data["oldest"]
        connection.call("tag.subscribe", {"names": names, "after": token})
    while True:
        message = connection.notification()
        params = message.get("params", {})
        if message.get("method") == "tag.interrupted":
            # We read too slowly. The connection ends; the next one is told what can still be had.
            say(f"interrupted: {params['error']['message']}")
        elif message.get("method") == "tag.changed":
            process(params["changes"], params.get("durable", True))
            if params["token"] != token:
                token = params["token"]
                store_token(state, token)


def watch(path, names, state):
    pause = 0.1
    while True:
        try:
            connection = Connection(path)
        except OSError as error:
            say(f"{path}: {error}; next attempt in {pause:.1f} s")
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, 5.0)
            continue
        pause = 0.1
        try:
            follow(connection, names, state)
        except (OSError, ValueError) as error:
            say(f"connection lost: {error}")
            time.sleep(pause * random.random())
        finally:
            connection.close()


def write(path, name, value, timeout):
    """0: it is done. 1: it did not happen, or nobody knows."""
    connection = Connection(path)
    params = {"writes": [{"name": name, "value": value}], "timeout_s": timeout}
    try:
        result = connection.call("tag.write", params)["results"][0]
    except ConnectionError:
        # It was on its way: never take that for a failure.
        result = {"outcome": "uncertain", "error": {"message": "the driver went away"}}
    error = result.get("error") or {}
    print(result["outcome"], error.get("message", ""), sep=": " if error else "", flush=True)
    return 0 if result["outcome"] in ("completed", "queued") else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--socket", default="run/tagline.sock")
    commands = parser.add_subparsers(dest="command", required=True)
    watching = commands.add_parser("watch", help="print changes, without a gap over restarts")
    watching.add_argument("names", nargs="+", help="tags; * and ? are wildcards")
    watching.add_argument("--state", default="tagline.token", help="file for the token")
    writing = commands.add_parser("write", help="write one tag")
    writing.add_argument("name")
    writing.add_argument("value", help="JSON, or else a text")
    writing.add_argument("--timeout", type=float, default=10.0)
    arguments = parser.parse_args()
    try:
        if arguments.command == "watch":
            watch(arguments.socket, arguments.names, arguments.state)
        try:
            value = json.loads(arguments.value)
        except ValueError:
            value = arguments.value
        return write(arguments.socket, arguments.name, value, arguments.timeout)
    except (OSError, Refused) as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
