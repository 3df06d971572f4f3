/**
 * A uuid v7 (RFC 9562) made by the server, as an expression: events are written by the statement of the change, for
 * rows that only the server knows, and ids in the order of time keep the index small and warm. PostgreSQL has uuidv7()
 * from 18 on, and 15 is supported.
 */
export const eventId = `encode(
  set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
    placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1),
  'hex')::uuid`;
