"""kafka-python: BOOTSTRAP TOPIC produce FILE | BOOTSTRAP TOPIC consume SESSION-MS [AS-OF-KAFKA] (until SIGTERM)."""
import signal
import sys

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError


def produce(bootstrap, topic, path):
    producer = KafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all", linger_ms=5,
                             batch_size=65536)
    with open(path, encoding="utf-8") as file:
        sent = []
        for line in file:
            key, value = line.rstrip("\n").split("\t", 1)
            sent.append(producer.send(topic, key=key.encode(), value=value.encode()))
    producer.flush()
    for future in sent:
        future.get(timeout=60)
    producer.close()


class Tell(ConsumerRebalanceListener):
    def on_partitions_revoked(self, revoked):
        pass

    def on_partitions_assigned(self, assigned):
        shares = ", ".join(f"{p.topic} [{p.partition}]" for p in sorted(assigned))
        print(f"assigned: {shares}", file=sys.stderr, flush=True)


def polled(consumer):
    """A poll of kafka-python 3.0.12 fails, though it is to be tried again, where nobody listens when the coordinator is looked for, nor
    when metadata are asked for because of that (`ensure_coordinator_ready_async`): a broker, of any kind, that is down."""
    try:
        return consumer.poll(timeout_ms=200).values()
    except KafkaError as error:
        if not error.retriable:
            raise
        print(f"again after {error}", file=sys.stderr, flush=True)
        return []


def consume(bootstrap, topic, session_ms, version=None):
    going = [True]
    signal.signal(signal.SIGTERM, lambda *_: going.clear())
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=topic, auto_offset_reset="earliest",
                             session_timeout_ms=int(session_ms),
                             api_version=version and tuple(map(int, version.split("."))))
    consumer.subscribe([topic], listener=Tell())
    # Before it joins: the leader of a group that learns of the topic only then joins again, and if a poll ends before
    # that SyncGroup is answered, kafka-python 3.0.12 forgets that it is joining: it has no partition for ever, with any
    # broker (polls of 2 to 40 ms: 14 of 60 consumers with Kafka 4.4.0, 17 of 60 with Ottla; 0 of 100 when they wait here).
    while not consumer.partitions_for_topic(topic):
        pass
    while going:
        for records in polled(consumer):
            for r in records:
                sys.stdout.write(f"{r.partition}\t{r.offset}\t{r.key.decode()}\t{r.value.decode()}\n")
        sys.stdout.flush()
    consumer.close()


if __name__ == "__main__":
    bootstrap, topic, verb, *rest = sys.argv[1:]
    {"produce": produce, "consume": consume}[verb](bootstrap, topic, *rest)
