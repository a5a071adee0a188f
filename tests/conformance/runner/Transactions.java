import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** BOOTSTRAP TOPIC: two producers' transactions, interleaved; of each three one is aborted, and the last stays open. */
public class Transactions {
    public static void main(String[] args) throws Exception {
        try (var one = producer(args[0], args[1] + "-one"); var two = producer(args[0], args[1] + "-two")) {
            for (int round = 0; round < 30; round++) {
                one.beginTransaction();
                send(one, args[1], "one", round);
                two.beginTransaction();
                send(two, args[1], "two", round);
                end(one, round % 3 == 0);
                send(two, args[1], "two again", round);
                end(two, round % 3 == 1);
            }
            two.beginTransaction();
            send(two, args[1], "open", 30);
            Runtime.getRuntime().halt(0);
        }
    }

    static KafkaProducer<String, String> producer(String bootstrap, String id) {
        var settings = Map.<String, Object>of("bootstrap.servers", bootstrap, "transactional.id", id,
                "transaction.timeout.ms", 900000);
        var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
        producer.initTransactions();
        return producer;
    }

    static void send(KafkaProducer<String, String> producer, String topic, String who, int round) {
        for (int n = 0; n < 10; n++) {
            producer.send(new ProducerRecord<>(topic, n % 2, who, "round " + round + " record " + n));
        }
        producer.flush();
    }

    static void end(KafkaProducer<String, String> producer, boolean abort) {
        if (abort) {
            producer.abortTransaction();
        } else {
            producer.commitTransaction();
        }
    }
}
