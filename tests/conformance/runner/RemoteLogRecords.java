import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicIdPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.server.log.remote.metadata.storage.RemoteLogSegmentMetadataSnapshot;
import org.apache.kafka.server.log.remote.metadata.storage.serialization.RemoteLogMetadataSerde;
import org.apache.kafka.server.log.remote.storage.RemoteLogMetadata;
import org.apache.kafka.server.log.remote.storage.RemoteLogSegmentId;
import org.apache.kafka.server.log.remote.storage.RemoteLogSegmentMetadata;
import org.apache.kafka.server.log.remote.storage.RemoteLogSegmentMetadata.CustomMetadata;
import org.apache.kafka.server.log.remote.storage.RemoteLogSegmentMetadataUpdate;
import org.apache.kafka.server.log.remote.storage.RemoteLogSegmentState;
import org.apache.kafka.server.log.remote.storage.RemotePartitionDeleteMetadata;
import org.apache.kafka.server.log.remote.storage.RemotePartitionDeleteState;

/** BOOTSTRAP TOPIC: records of every kind and state that tiered storage keeps of its segments, in Kafka's own bytes. */
class RemoteLogRecords {
    public static void main(String[] args) throws Exception {
        var settings = Map.<String, Object>of("bootstrap.servers", args[0]);
        var bytes = new ByteArraySerializer();
        var serde = new RemoteLogMetadataSerde();
        try (var producer = new KafkaProducer<>(settings, bytes, bytes)) {
            for (int n = 0; n < 4; n++) {
                for (RemoteLogMetadata record : of(n)) {
                    producer.send(new ProducerRecord<>(args[1], 0, null, serde.serialize(record))).get();
                }
            }
        }
    }

    static List<RemoteLogMetadata> of(int n) {
        var partition = new TopicIdPartition(new Uuid(5, n), n, "tiered");
        var segment = new RemoteLogSegmentId(partition, new Uuid(9, n));
        var custom = n % 2 == 0 ? Optional.<CustomMetadata>empty() : Optional.of(new CustomMetadata(new byte[n * 100]));
        var epochs = new TreeMap<>(Map.of(n, 100L * n));
        if (n > 1) {
            epochs.putAll(Map.of(n + 7, 100L * n + 50, n + 20, 100L * n + 60));
        }
        var state = RemoteLogSegmentState.forId((byte) n);
        var deletion = RemotePartitionDeleteState.forId((byte) (n % 3));
        return List.of(
                new RemoteLogSegmentMetadata(segment, 100L * n, 100L * n + 99, 1_700_000_000_000L + n, n, 1_700_000_001_000L, 1 << 20,
                        custom, RemoteLogSegmentState.COPY_SEGMENT_STARTED, epochs, n % 2 == 0),
                new RemoteLogSegmentMetadataUpdate(segment, 1_700_000_002_000L, custom,
                        n == 0 ? RemoteLogSegmentState.COPY_SEGMENT_FINISHED : state, n),
                new RemoteLogSegmentMetadataSnapshot(new Uuid(9, n), 100L * n, 100L * n + 99, 1_700_000_000_000L + n, n,
                        1_700_000_001_000L, 1 << 20, custom, state, epochs, n % 2 == 1),
                new RemotePartitionDeleteMetadata(partition, deletion, 1_700_000_003_000L, n));
    }
}
