// Command sarama is sarama as a writer and a reader.
package main

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"blumfeld/interop/lines"
)

type program struct{}

var codecs = map[string]sarama.CompressionCodec{
	"none":   sarama.CompressionNone,
	"gzip":   sarama.CompressionGZIP,
	"snappy": sarama.CompressionSnappy,
	"lz4":    sarama.CompressionLZ4,
	"zstd":   sarama.CompressionZSTD,
}

var acks = map[string]sarama.RequiredAcks{"all": sarama.WaitForAll, "1": sarama.WaitForLocal, "0": sarama.NoResponse}

func main() {
	lines.Main(program{})
}

func config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	return config
}

func (program) Create(bootstrap, topic string, partitions int32, replicas int16) error {
	admin, err := sarama.NewClusterAdmin(strings.Split(bootstrap, ","), config())
	if err != nil {
		return err
	}
	detail := &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: replicas}
	return errors.Join(admin.CreateTopic(topic, detail, false), admin.Close())
}

func (program) Write(bootstrap, topic string, records []lines.Record) error {
	config := config()
	config.Producer.RequiredAcks = acks[records[0].Acks]
	config.Producer.Compression = codecs[records[0].Codec]
	if records[0].Acks == "all" {
		config.Producer.Idempotent = true
		config.Net.MaxOpenRequests = 1
	}
	producer, err := sarama.NewSyncProducer(strings.Split(bootstrap, ","), config)
	if err != nil {
		return err
	}
	messages := make([]*sarama.ProducerMessage, 0, len(records))
	for _, record := range records {
		messages = append(messages, message(topic, record))
	}
	return errors.Join(producer.SendMessages(messages), producer.Close())
}

func message(topic string, record lines.Record) *sarama.ProducerMessage {
	message := &sarama.ProducerMessage{
		Topic:     topic,
		Partition: record.Partition,
		Timestamp: time.UnixMilli(record.TimestampMs),
	}
	if record.Key != nil {
		message.Key = sarama.ByteEncoder(record.Key)
	}
	if record.Value != nil {
		message.Value = sarama.ByteEncoder(record.Value)
	}
	for _, header := range record.Headers {
		message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Key), Value: header.Value})
	}
	return message
}

func (program) Read(bootstrap string, topics []string, emit func(lines.Record)) error {
	client, err := sarama.NewClient(strings.Split(bootstrap, ","), config())
	if err != nil {
		return err
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return errors.Join(err, client.Close())
	}
	var emitting sync.Mutex
	emitAlone := func(record lines.Record) {
		emitting.Lock()
		defer emitting.Unlock()
		emit(record)
	}
	failures := make(chan error)
	readers := 0
	for _, topic := range topics {
		partitions, err := client.Partitions(topic)
		if err != nil {
			return err
		}
		for _, partition := range partitions {
			readers++
			go func() { failures <- readPartition(client, consumer, topic, partition, emitAlone) }()
		}
	}
	for ; readers > 0; readers-- {
		err = errors.Join(err, <-failures)
	}
	return errors.Join(err, consumer.Close(), client.Close())
}

func readPartition(
	client sarama.Client, consumer sarama.Consumer, topic string, partition int32, emit func(lines.Record),
) error {
	end, err := client.GetOffset(topic, partition, sarama.OffsetNewest)
	if err != nil {
		return fmt.Errorf("end of %s-%d: %w", topic, partition, err)
	}
	if end == 0 {
		return nil
	}
	reading, err := consumer.ConsumePartition(topic, partition, sarama.OffsetOldest)
	if err != nil {
		return fmt.Errorf("start of %s-%d: %w", topic, partition, err)
	}
	for offset := int64(-1); offset < end-1; {
		select {
		case message := <-reading.Messages():
			offset = message.Offset
			emit(line(message))
		case <-time.After(lines.Timeout):
			return fmt.Errorf("%s-%d gave nothing after offset %d of %d", topic, partition, offset, end)
		}
	}
	return reading.Close()
}

func line(message *sarama.ConsumerMessage) lines.Record {
	headers := make([]lines.Header, 0, len(message.Headers))
	for _, header := range message.Headers {
		headers = append(headers, lines.Header{Key: string(header.Key), Value: header.Value})
	}
	return lines.Record{
		Topic:       message.Topic,
		Partition:   message.Partition,
		Offset:      message.Offset,
		TimestampMs: message.Timestamp.UnixMilli(),
		Key:         message.Key,
		Value:       message.Value,
		Headers:     headers,
	}
}
