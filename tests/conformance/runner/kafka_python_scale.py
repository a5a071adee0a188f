"""Many partitions through kafka-python: `create TOPICS PARTITIONS`, or `offsets` until every partition has answered.

Prints what it took, in seconds: for each topic created, or in all.
"""
import sys
import time

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError

bootstrap, what, *numbers = sys.argv[1:]
if what == "create":
    topics, partitions = map(int, numbers)
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    for topic in range(topics):
        begin = time.time()
        admin.create_topics([NewTopic(f"scale-{topic}", partitions, 1)], timeout_ms=60_000)
        print(f"{time.time() - begin:.2f}")
else:
    begin = time.time()
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    names = [name for name in consumer.topics() if name.startswith("scale-")]
    every = [TopicPartition(name, id) for name in names for id in consumer.partitions_for_topic(name)]
    while True:
        try:
            answered = consumer.end_offsets(every)
            break
        except KafkaError:
            if time.time() - begin > 60:
                raise
    assert len(answered) == int(numbers[0]), len(answered)
    print(f"{time.time() - begin:.2f}")
