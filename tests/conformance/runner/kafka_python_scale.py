"""Many partitions through kafka-python: `create TOPICS PARTITIONS`; `offsets COUNT` until every partition has answered;
`produce COUNT`, one record to each; `read COUNT ROUNDS`, that many from each.

Prints what it took, in seconds: for each topic created, or in all.
"""
import sys
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError

bootstrap, what, *numbers = sys.argv[1:]
numbers = list(map(int, numbers))


def every(client):
    names = [name for name in client.topics() if name.startswith("scale-")]
    found = [TopicPartition(name, id) for name in names for id in client.partitions_for_topic(name)]
    assert len(found) == numbers[0], len(found)
    return found


def create():
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    for topic in range(numbers[0]):
        begin = time.time()
        admin.create_topics([NewTopic(f"scale-{topic}", numbers[1], 1)], timeout_ms=60_000)
        print(f"{time.time() - begin:.2f}")


def offsets():
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    partitions, begin = every(consumer), time.time()
    while True:
        try:
            assert len(consumer.end_offsets(partitions)) == len(partitions)
            return
        except KafkaError:
            if time.time() - begin > 60:
                raise


def produce():
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", retries=100, delivery_timeout_ms=600_000)
    partitions = every(KafkaConsumer(bootstrap_servers=bootstrap))
    sent = [producer.send(at.topic, b"value", partition=at.partition) for at in partitions]
    producer.flush(600)
    for future in sent:
        future.get(0)


def read():
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    partitions, begin = every(consumer), time.time()
    consumer.assign(partitions)
    left = {at: numbers[1] for at in partitions}
    while any(left.values()):
        for at, records in consumer.poll(1000, max_records=10_000).items():
            left[at] -= len(records)
        assert time.time() - begin < 600, f"{sum(map(bool, left.values()))} partitions are not read"
    assert set(left.values()) == {0}


begin = time.time()
{"create": create, "offsets": offsets, "produce": produce, "read": read}[what]()
if what != "create":
    print(f"{time.time() - begin:.2f}")
