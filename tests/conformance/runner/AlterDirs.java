import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.common.TopicPartitionReplica;

/** Moves a topic's first replica on broker 1 to a log directory, and tells where it is and where it goes, by Kafka's Admin. */
class AlterDirs {
    public static void main(String[] args) throws Exception {
        String bootstrap = args[0], topic = args[1], to = args[2];
        try (Admin admin = Admin.create(Map.of(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, (Object) bootstrap))) {
            TopicPartitionReplica replica = new TopicPartitionReplica(topic, 0, 1);
            try {
                admin.alterReplicaLogDirs(Map.of(replica, to)).values().get(replica).get();
                System.out.println("altered");
            } catch (ExecutionException refused) {
                System.out.println("refused: " + refused.getCause().getClass().getSimpleName());
            }
            var info = admin.describeReplicaLogDirs(List.of(replica)).values().get(replica).get();
            System.out.println("is in " + info.getCurrentReplicaLogDir() + ", goes to " + info.getFutureReplicaLogDir());
        }
    }
}
