"""The Kafka protocol as bytes: tables of all messages, and the codec that is generated from them.

- `headers`: requests and responses with their headers; `codec`: messages without; `frames`: where they start and end.
- `registry`: the APIs by key. Each family of APIs has a module of tables (`produce`, `fetch`, `groups`, ...);
  `consumer_protocol` and `internal_records` hold tables of what travels inside of others.
- `schema`: the notation of the tables; `decoder`, `encoder`, `source`, `primitives`: from a table to a function.

Nothing here does I/O, keeps state about a connection, or knows what a request means.
"""
