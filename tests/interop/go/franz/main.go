// Command franz is franz-go as a writer and a reader.
package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"blumfeld/interop/lines"
)

type franz struct{}

var codecs = map[string]kgo.CompressionCodec{
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

var acks = map[string]kgo.Acks{"all": kgo.AllISRAcks(), "1": kgo.LeaderAck(), "0": kgo.NoAck()}

func main() {
	lines.Main(franz{})
}

func seeds(bootstrap string) kgo.Opt {
	return kgo.SeedBrokers(strings.Split(bootstrap, ",")...)
}

func (franz) Create(bootstrap, topic string, partitions int32, replicas int16) error {
	client, err := kgo.NewClient(seeds(bootstrap))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), lines.Timeout)
	defer cancel()
	_, err = kadm.NewClient(client).CreateTopic(ctx, partitions, replicas, nil, topic)
	return err
}

func (franz) Write(bootstrap, topic string, records []lines.Record) error {
	options := []kgo.Opt{
		seeds(bootstrap),
		kgo.RequiredAcks(acks[records[0].Acks]),
		kgo.ProducerBatchCompression(codecs[records[0].Codec]),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}
	if records[0].Acks != "all" {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), lines.Timeout)
	defer cancel()
	batch := make([]*kgo.Record, 0, len(records))
	for _, record := range records {
		headers := make([]kgo.RecordHeader, 0, len(record.Headers))
		for _, header := range record.Headers {
			headers = append(headers, kgo.RecordHeader{Key: header.Key, Value: header.Value})
		}
		batch = append(batch, &kgo.Record{
			Topic:     topic,
			Partition: record.Partition,
			Timestamp: time.UnixMilli(record.TimestampMs),
			Key:       record.Key,
			Value:     record.Value,
			Headers:   headers,
		})
	}
	return client.ProduceSync(ctx, batch...).FirstErr()
}

func (franz) Read(bootstrap string, topics []string, emit func(lines.Record)) error {
	client, err := kgo.NewClient(
		seeds(bootstrap),
		kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*lines.Timeout)
	defer cancel()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topics...)
	if err != nil {
		return err
	}
	missing := int64(0)
	ends.Each(func(end kadm.ListedOffset) { missing += end.Offset })
	for missing > 0 {
		fetches := client.PollFetches(ctx)
		if errs := fetches.Errors(); len(errs) > 0 {
			return fmt.Errorf("%d records are missing: %v", missing, errs)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			missing--
			emit(line(record))
		})
	}
	return nil
}

func line(record *kgo.Record) lines.Record {
	headers := make([]lines.Header, 0, len(record.Headers))
	for _, header := range record.Headers {
		headers = append(headers, lines.Header{Key: header.Key, Value: header.Value})
	}
	return lines.Record{
		Topic:       record.Topic,
		Partition:   record.Partition,
		Offset:      record.Offset,
		TimestampMs: record.Timestamp.UnixMilli(),
		Key:         record.Key,
		Value:       record.Value,
		Headers:     headers,
	}
}
