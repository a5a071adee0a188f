"""Clients at work while a cluster's nodes change: an idempotent producer that is fed line by line, and a group that reads what it wrote."""
import itertools
import os
import threading
import time

from . import flights, install, tools
from .shell import Beside, run, scratch, wait_for

MEMBERS = 2
KEYS = 40
# Kafka's default: longer than its controller takes to see that a coordinator died. A member whose session ends reads again what
# it had not committed, with any broker.
SESSION_MS = 45_000
# Of a second.
PAUSE = 0.01
# Debian's librdkafka (before 2.3, its issue 4438) takes the first of two batches that were under way when their leader died for
# acknowledged, and ends where one of Kafka's brokers, not leading yet, refuses it, and then the second as out of order.
ONE_UNDER_WAY = {"kcat": ["-X", "max.in.flight.requests.per.connection=1"]}
# Fetches from Kafka 2.7 on tell of new leaders; a poll of kafka-python 3.0.12 fails where one is told of that was killed, and is among
# its brokers no more, and does not ask that one for anything again once it is back.
UNTOLD_OF_LEADERS = {"kafka-python": ["2.6"]}


class Work:
    """`topic` is the group's name too."""

    def __init__(self, client, bootstrap, topic, stack):
        self.topic, self.bootstrap = topic, bootstrap
        produce, consume = flights.commands_amid_kills(client, bootstrap, topic, SESSION_MS)
        self.fifo, self.sent, self.count = scratch(f"{topic}.fifo"), scratch(f"{topic}.sent"), 0
        self.fifo.unlink(missing_ok=True)
        os.mkfifo(self.fifo)
        consume = consume + UNTOLD_OF_LEADERS.get(client, [])
        self.members = [stack.enter_context(Beside(f"{topic}-{n}", *consume)) for n in range(MEMBERS)]
        produce = [self.fifo if part == install.FLIGHTS else part for part in produce] + ONE_UNDER_WAY.get(client, [])
        self.producer = stack.enter_context(Beside(f"{topic}-producer", *produce))
        self.over = threading.Event()
        stack.callback(self.over.set)
        self.feeder = threading.Thread(target=self.feed, daemon=True)
        self.feeder.start()

    def feed(self):
        with open(self.fifo, "w", encoding="utf-8") as fifo, open(self.sent, "w", encoding="utf-8") as sent:
            for number in itertools.count():
                line = f"key-{number % KEYS}\tvalue {number} of {self.topic}\n"
                fifo.write(line)
                fifo.flush()
                sent.write(line)
                self.count = number + 1
                if self.over.wait(PAUSE):
                    return

    def read(self):
        return sum(map(flights.lines, self.members))

    def shared_out(self):
        return flights.shared_out(self.members)

    def goes_on(self):
        """What is sent from now on is acknowledged and read."""
        wanted = self.count + KEYS
        wait_for(f"the group of {self.topic} to read on", lambda: self.read() >= wanted, [self.producer, *self.members], 90)

    def finish(self):
        """No record was lost, none came twice, and the group has committed all of them; answers how many they are."""
        self.over.set()
        self.feeder.join(30)
        assert self.producer.process.wait(90) == 0, self.producer.said()[-2000:]
        wait_for(f"all of {self.topic}", lambda: self.read() >= self.count, self.members, 90)
        flights.end_all(self.members)
        flights.verify([member.out for member in self.members], self.sent, self.count)
        lag = tools.lag(self.bootstrap, self.topic)
        assert lag == 0, f"{self.topic}: the group's lag is {lag} after its members left"
        return self.count
