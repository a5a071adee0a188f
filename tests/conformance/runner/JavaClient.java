import java.io.BufferedOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Kafka's own clients: BOOTSTRAP TOPIC produce FILE | BOOTSTRAP TOPIC consume SESSION-MS [commit] (until SIGTERM). */
public class JavaClient {
    public static void main(String[] args) throws Exception {
        if (args[2].equals("produce")) {
            produce(args[0], args[1], Path.of(args[3]));
        } else {
            consume(args[0], args[1], Integer.parseInt(args[3]), args.length > 4 && args[4].equals("commit"));
        }
    }

    static void produce(String bootstrap, String topic, Path file) throws Exception {
        var settings = Map.<String, Object>of("bootstrap.servers", bootstrap, "enable.idempotence", true);
        var sent = new ArrayList<Future<RecordMetadata>>();
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
             var lines = Files.newBufferedReader(file)) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                int tab = line.indexOf('\t');
                sent.add(producer.send(new ProducerRecord<>(topic, line.substring(0, tab), line.substring(tab + 1))));
            }
            for (var future : sent) {
                future.get();
            }
        }
    }

    /** `commit`: what each poll gave is committed before the next one, instead of now and then by the consumer itself. */
    static void consume(String bootstrap, String topic, int sessionMs, boolean commit) {
        var settings = Map.<String, Object>of("bootstrap.servers", bootstrap, "group.id", topic,
                "auto.offset.reset", "earliest", "session.timeout.ms", sessionMs, "enable.auto.commit", !commit);
        var out = new PrintStream(new BufferedOutputStream(System.out, 1 << 16), false, StandardCharsets.UTF_8);
        var going = new AtomicBoolean(true);
        var main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            going.set(false);
            try {
                main.join();
            } catch (InterruptedException e) {
                main.interrupt();
            }
        }));
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(topic), new Tell(consumer));
            while (going.get()) {
                var records = consumer.poll(Duration.ofMillis(200));
                if (commit && !records.isEmpty()) {
                    // Not the consumer's own positions: of those that it has not yet validated it commits none.
                    consumer.commitSync(records.nextOffsets());
                }
                for (ConsumerRecord<String, String> r : records) {
                    out.println(r.partition() + "\t" + r.offset() + "\t" + r.key() + "\t" + r.value());
                }
                out.flush();
            }
        }
    }

    record Tell(KafkaConsumer<?, ?> consumer) implements ConsumerRebalanceListener {
        public void onPartitionsRevoked(Collection<TopicPartition> revoked) {}

        public void onPartitionsAssigned(Collection<TopicPartition> added) {
            System.err.println("assigned: " + consumer.assignment().stream()
                    .map(p -> p.topic() + " [" + p.partition() + "]").collect(Collectors.joining(", ")));
        }
    }
}
