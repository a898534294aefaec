// Package lines holds the JSON lines in which records travel between the tests and a program; see programs.py.
package lines

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Timeout is how long any one answer of a cluster may take.
const Timeout = 30 * time.Second

const lineBytesMax = 4 << 20

// Header is a pair of a string and the bytes of its value, which are nil for null.
type Header struct {
	Key   string
	Value []byte
}

// Record is one line. Null keys and values are nil, empty ones are not.
type Record struct {
	Acks        string   `json:"acks,omitempty"`
	Codec       string   `json:"codec,omitempty"`
	Topic       string   `json:"topic,omitempty"`
	Partition   int32    `json:"partition"`
	Offset      int64    `json:"offset"`
	TimestampMs int64    `json:"timestamp_ms"`
	Key         []byte   `json:"key"`
	Value       []byte   `json:"value"`
	Headers     []Header `json:"headers"`
}

// UnmarshalJSON reads a pair.
func (h *Header) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&h.Key, &h.Value})
}

// MarshalJSON writes a pair.
func (h Header) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{h.Key, h.Value})
}

// Program is what a client must be able to do.
type Program interface {
	Create(bootstrap, topic string, partitions int32, replicas int16) error
	// Write sends records that all have the same acks and codec.
	Write(bootstrap, topic string, records []Record) error
	Read(bootstrap string, topics []string, emit func(Record)) error
}

// Main runs the command line of a program.
func Main(program Program) {
	if err := run(program, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(program Program, args []string) error {
	switch args[0] {
	case "create":
		partitions, err := strconv.Atoi(args[3])
		if err != nil {
			return err
		}
		replicas, err := strconv.Atoi(args[4])
		if err != nil {
			return err
		}
		return program.Create(args[1], args[2], int32(partitions), int16(replicas))
	case "write":
		return write(program, args[1], args[2])
	case "read":
		out := bufio.NewWriter(os.Stdout)
		encoder := json.NewEncoder(out)
		var failure error
		err := program.Read(args[1], args[2:], func(record Record) {
			if err := encoder.Encode(record); err != nil {
				failure = err
			}
		})
		if err != nil {
			return err
		}
		if failure != nil {
			return failure
		}
		return out.Flush()
	}
	return fmt.Errorf("no such command: %s", args[0])
}

func write(program Program, bootstrap, topic string) error {
	scanner := bufio.NewScanner(os.Stdin)
	scanner.Buffer(nil, lineBytesMax)
	var run []Record
	for scanner.Scan() {
		var record Record
		if err := json.Unmarshal(scanner.Bytes(), &record); err != nil {
			return err
		}
		if len(run) > 0 && (run[0].Acks != record.Acks || run[0].Codec != record.Codec) {
			if err := program.Write(bootstrap, topic, run); err != nil {
				return fmt.Errorf("acks=%s, %s: %w", run[0].Acks, run[0].Codec, err)
			}
			run = nil
		}
		run = append(run, record)
	}
	if err := scanner.Err(); err != nil {
		return err
	}
	return program.Write(bootstrap, topic, run)
}
