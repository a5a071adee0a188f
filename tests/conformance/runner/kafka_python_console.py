"""Something to be seen in the console, through kafka-python: `topics COUNT` creates so many; `load` writes to `orders` and reads it as the
group `billing`, slower than it is written, until it is ended.
"""
import json
import signal
import sys
import threading

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

bootstrap, what, *numbers = sys.argv[1:]
SHARE = 500
HOSTILE = '<img src=x onerror="document.title=1">\u202e'


def topics():
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic("orders", 3, 1, topic_configs={"retention.ms": "86400000"})], timeout_ms=60_000)
    count = int(numbers[0])
    for begin in range(0, count, SHARE):
        batch = [NewTopic(f"sensor-{number:05}", 1, 1) for number in range(begin, min(count, begin + SHARE))]
        admin.create_topics(batch, timeout_ms=60_000)


def load():
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=5)
    producer.send("orders", key=HOSTILE.encode(), value=HOSTILE.encode(), headers=[("trace", b"\x00\xff")], partition=0)
    producer.send("orders", key=b"binary", value=bytes(range(256)), partition=0)
    producer.send("orders", key=b"gone", value=None, partition=0)
    producer.send("orders", key=b"large", value=json.dumps({"text": "x" * 20_000}).encode(), partition=0)
    # As a consumer that reads, and commits seldom.
    reader = KafkaConsumer("orders", bootstrap_servers=bootstrap, group_id="billing", client_id="billing-1", auto_offset_reset="earliest",
                           enable_auto_commit=False, max_poll_records=50)
    first = KafkaConsumer(bootstrap_servers=bootstrap, group_id="left-behind", enable_auto_commit=False)
    first.assign([TopicPartition("orders", 0)])
    first.seek(TopicPartition("orders", 0), 1)
    first.commit()
    first.close()
    number = 0
    while not ended.is_set():
        for _ in range(100):
            number += 1
            order = {"order": number, "customer": f"customer {number % 97}", "items": [{"sku": f"A-{number % 13}", "count": number % 5 + 1}], "total": number * 1.25}
            producer.send("orders", key=f"customer {number % 97}".encode(), value=json.dumps(order).encode(), headers=[("source", b"shop")])
        producer.flush()
        if reader.poll(timeout_ms=20):
            reader.commit()
        ended.wait(0.05)
    reader.close()


{"topics": topics, "load": load}[what]()
