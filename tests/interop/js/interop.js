// kafkajs as a writer and a reader; see programs.py for what it reads and prints.
'use strict'

const readline = require('readline')
const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = require('kafkajs')
const Cluster = require('kafkajs/src/cluster')
const socketFactory = require('kafkajs/src/network/socketFactory')
const snappy = require('kafkajs-snappy')
const lz4 = require('lz4-napi')
const zstd = require('@bokuweb/zstd-wasm')

const TIMEOUT_MS = 30000
const FETCH_BYTES = 1 << 20

CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: encoder => lz4.compressFrame(encoder.buffer),
  decompress: buffer => lz4.decompressFrame(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from(zstd.compress(encoder.buffer, 3)),
  decompress: async buffer => Buffer.from(zstd.decompress(buffer)),
})

const COMPRESSION = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

function kafka(bootstrap) {
  return new Kafka({ brokers: bootstrap.split(','), logLevel: logLevel.ERROR })
}

async function create(bootstrap, topic, partitions, replicas) {
  const admin = kafka(bootstrap).admin()
  await admin.connect()
  try {
    const numPartitions = Number(partitions)
    await admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: Number(replicas) }] })
  } finally {
    await admin.disconnect()
  }
}

async function write(bootstrap, topic) {
  let run = []
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const record = JSON.parse(line)
    if (run.length > 0 && (run[0].acks !== record.acks || run[0].codec !== record.codec)) {
      await writeRun(bootstrap, topic, run)
      run = []
    }
    run.push(record)
  }
  await writeRun(bootstrap, topic, run)
}

/** All of `run` has the same acks and codec. */
async function writeRun(bootstrap, topic, run) {
  const { acks, codec } = run[0]
  const producer = kafka(bootstrap).producer({
    idempotent: acks === 'all',
    maxInFlightRequests: 1,
    createPartitioner: () => ({ message }) => message.partition,
  })
  await producer.connect()
  try {
    await producer.send({
      topic,
      acks: acks === 'all' ? -1 : Number(acks),
      compression: COMPRESSION[codec],
      timeout: TIMEOUT_MS,
      messages: run.map(message),
    })
  } finally {
    await producer.disconnect()
  }
}

function message(record) {
  const headers = {}
  for (const [name, value] of record.headers) {
    headers[name] = [...(headers[name] ?? []), bytes(value)]
  }
  return {
    partition: record.partition,
    timestamp: String(record.timestamp_ms),
    key: bytes(record.key),
    value: bytes(record.value),
    headers,
  }
}

/** The consumer of kafkajs always joins a group, so this goes one layer below it. */
async function read(bootstrap, topics) {
  const cluster = new Cluster({
    brokers: bootstrap.split(','),
    logger: kafka(bootstrap).logger(),
    socketFactory: socketFactory(),
    metadataMaxAge: TIMEOUT_MS,
    connectionTimeout: TIMEOUT_MS,
    enforceRequestTimeout: true,
  })
  await cluster.connect()
  try {
    await cluster.addMultipleTargetTopics(topics)
    const wanted = topics.map(topic => ({
      topic,
      fromBeginning: false,
      partitions: cluster.findTopicPartitionMetadata(topic).map(({ partitionId }) => ({ partition: partitionId })),
    }))
    for (const { topic, partitions } of await cluster.fetchTopicsOffset(wanted)) {
      for (const { partition, offset } of partitions) {
        await readPartition(cluster, topic, partition, Number(offset))
      }
    }
  } finally {
    await cluster.disconnect()
  }
}

async function readPartition(cluster, topic, partition, end) {
  const { leader } = cluster.findTopicPartitionMetadata(topic).find(({ partitionId }) => partitionId === partition)
  const broker = await cluster.findBroker({ nodeId: String(leader) })
  let offset = 0
  while (offset < end) {
    const { responses } = await broker.fetch({
      replicaId: -1,
      isolationLevel: 0,
      maxBytes: FETCH_BYTES,
      topics: [{ topic, partitions: [{ partition, fetchOffset: String(offset), maxBytes: FETCH_BYTES }] }],
    })
    const { messages } = responses[0].partitions[0]
    for (const found of messages) {
      if (Number(found.offset) >= offset) {
        console.log(encode(topic, partition, found))
        offset = Number(found.offset) + 1
      }
    }
    if (messages.length === 0) {
      throw new Error(`${topic}-${partition} has no record at ${offset}, before its end at ${end}`)
    }
  }
}

function encode(topic, partition, record) {
  return JSON.stringify({
    topic,
    partition,
    offset: Number(record.offset),
    timestamp_ms: Number(record.timestamp),
    key: base64(record.key),
    value: base64(record.value),
    headers: Object.entries(record.headers).flatMap(([name, values]) =>
      [values].flat().map(value => [name, base64(value)]),
    ),
  })
}

function bytes(text) {
  return text === null ? null : Buffer.from(text, 'base64')
}

function base64(buffer) {
  return buffer === null ? null : buffer.toString('base64')
}

async function main([command, ...args]) {
  const commands = { create, write, read: (bootstrap, ...topics) => read(bootstrap, topics) }
  await zstd.init()
  await commands[command](...args)
}

main(process.argv.slice(2)).catch(error => {
  console.error(error)
  process.exitCode = 1
})
