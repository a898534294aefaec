import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Kafka's own client as a writer and a reader; see programs.py for what it reads and prints. */
public final class Interop {
    private static final Duration TIMEOUT = Duration.ofSeconds(30);
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "create" -> create(args[1], args[2], Integer.parseInt(args[3]), Short.parseShort(args[4]));
            case "write" -> write(args[1], args[2]);
            case "read" -> read(args[1], List.of(args).subList(2, args.length));
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    private static void create(String bootstrap, String topic, int partitions, short replicas) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.createTopics(List.of(new NewTopic(topic, partitions, replicas))).all().get();
        }
    }

    private static void write(String bootstrap, String topic) throws Exception {
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        KafkaProducer<byte[], byte[]> producer = null;
        String settings = null;
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode record = JSON.readTree(line);
            String wanted = record.get("acks").asText() + " " + record.get("codec").asText();
            if (!wanted.equals(settings)) {
                finish(producer, sent);
                producer = producer(bootstrap, record.get("acks").asText(), record.get("codec").asText());
                settings = wanted;
            }
            sent.add(producer.send(decode(topic, record)));
        }
        finish(producer, sent);
    }

    private static KafkaProducer<byte[], byte[]> producer(String bootstrap, String acks, String codec) {
        Map<String, Object> config = Map.of(
            "bootstrap.servers", bootstrap,
            "acks", acks,
            "enable.idempotence", acks.equals("all"),
            "compression.type", codec,
            "linger.ms", 5);
        return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private static void finish(KafkaProducer<byte[], byte[]> producer, List<Future<RecordMetadata>> sent) throws Exception {
        if (producer != null) {
            producer.close(TIMEOUT);
        }
        for (Future<RecordMetadata> future : sent) {
            future.get();
        }
        sent.clear();
    }

    private static ProducerRecord<byte[], byte[]> decode(String topic, JsonNode record) throws IOException {
        var decoded = new ProducerRecord<>(
            topic,
            record.get("partition").asInt(),
            record.get("timestamp_ms").asLong(),
            record.get("key").binaryValue(),
            record.get("value").binaryValue());
        for (JsonNode header : record.get("headers")) {
            decoded.headers().add(header.get(0).asText(), header.get(1).binaryValue());
        }
        return decoded;
    }

    private static void read(String bootstrap, List<String> topics) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap);
        var out = new PrintWriter(new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8)));
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (String topic : topics) {
                for (PartitionInfo info : consumer.partitionsFor(topic, TIMEOUT)) {
                    partitions.add(new TopicPartition(topic, info.partition()));
                }
            }
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            long missing = consumer.endOffsets(partitions, TIMEOUT).values().stream().mapToLong(Long::longValue).sum();
            while (missing > 0) {
                var records = consumer.poll(TIMEOUT);
                if (records.isEmpty()) {
                    throw new IllegalStateException(missing + " records did not come within " + TIMEOUT);
                }
                for (ConsumerRecord<byte[], byte[]> record : records) {
                    out.println(encode(record));
                }
                missing -= records.count();
            }
        }
        out.flush();
    }

    private static String encode(ConsumerRecord<byte[], byte[]> record) throws IOException {
        ObjectNode line = JSON.createObjectNode()
            .put("topic", record.topic())
            .put("partition", record.partition())
            .put("offset", record.offset())
            .put("timestamp_ms", record.timestamp())
            .put("key", base64(record.key()))
            .put("value", base64(record.value()));
        ArrayNode headers = line.putArray("headers");
        for (Header header : record.headers()) {
            headers.addArray().add(header.key()).add(base64(header.value()));
        }
        return JSON.writeValueAsString(line);
    }

    private static String base64(byte[] bytes) {
        return bytes == null ? null : Base64.getEncoder().encodeToString(bytes);
    }
}
