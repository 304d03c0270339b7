/** The lean gRPC client, against an HTTP/2 server that is not its own: Node's. */

import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';

import { GrpcConnection, type GrpcError } from '../../bench/etcd/grpc.ts';
import {
  countEntries,
  decodeFirstValue,
  encodeGet,
  encodePut,
  encodePuts,
  encodeScan,
} from '../../bench/etcd/messages.ts';
import { assert, rejects, suite } from '../harness.ts';

const test = suite('gRPC client of the etcd driver');
const PREFIX_BYTES = 5;

let server: Http2Server;
let connection: GrpcConnection;
/** What the server does with a whole request. */
let answer: (stream: ServerHttp2Stream, path: string, message: Buffer) => void;

test.before.each(async () => {
  server = createServer();
  server.on('stream', (stream, headers) => {
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      const body = Buffer.concat(chunks);
      assert.is(body.readUInt32BE(1), body.length - PREFIX_BYTES);
      assert.is(headers['content-type'], 'application/grpc');
      assert.is(headers['te'], 'trailers');
      answer(stream, String(headers[':path']), body.subarray(PREFIX_BYTES));
    });
    stream.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  connection = await GrpcConnection.connect('127.0.0.1', (server.address() as AddressInfo).port);
});

test.after.each(async () => {
  connection.close();
  await new Promise((resolve) => server.close(resolve));
});

function succeed(stream: ServerHttp2Stream, message: Buffer): void {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'grpc-message': '' }));
  stream.end(Buffer.concat([prefix, message]));
}

test('many calls at once get their own answers, whatever order they come in', async () => {
  answer = (stream, path, message) =>
    void setTimeout(() => succeed(stream, Buffer.concat([Buffer.from(path), message])), Math.random() * 20);
  const answers = await Promise.all(
    Array.from({ length: 500 }, (_, i) => connection.unary(`/service/${i % 3}`, Buffer.from(`call ${i}`))),
  );
  answers.forEach((text, i) => assert.is(text.toString(), `/service/${i % 3}call ${i}`));
});

test('messages larger than the windows of the server arrive whole, and do not disturb others', async () => {
  answer = (stream, _path, message) => succeed(stream, message);
  const large = Buffer.alloc(700_000, 'abc');
  const answers = await Promise.all([
    connection.unary('/a', large),
    connection.unary('/a', Buffer.from('small')),
    connection.unary('/a', large),
  ]);
  assert.is(Buffer.compare(answers[0] as Buffer, large), 0);
  assert.is(String(answers[1]), 'small');
  assert.is(Buffer.compare(answers[2] as Buffer, large), 0);
});

test('a refused call rejects with the name of its gRPC status', async () => {
  answer = (stream) =>
    stream.respond(
      { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '14', 'grpc-message': 'no leader' },
      { endStream: true },
    );
  const error = await rejects<GrpcError>(connection.unary('/a', Buffer.alloc(0)));
  assert.is(error.code, 'Unavailable');
});

test('a reset stream rejects its call alone', async () => {
  answer = (stream, path) => {
    if (path === '/bad') stream.close(2);
    else succeed(stream, Buffer.from('fine'));
  };
  const bad = rejects(connection.unary('/bad', Buffer.alloc(3)), /reset/);
  assert.is(String(await connection.unary('/good', Buffer.alloc(3))), 'fine');
  await bad;
});

test('a lost connection rejects every call that waits, and those that come later', async () => {
  answer = (stream) => stream.session?.destroy();
  const calls = [1, 2, 3].map(() => rejects<GrpcError>(connection.unary('/a', Buffer.alloc(0))));
  for (const error of await Promise.all(calls)) assert.is(error.code, 'Unavailable');
  await rejects(connection.unary('/a', Buffer.alloc(0)));
});

test('requests are what the schema of etcd says', () => {
  const key = Buffer.from('k');
  assert.is(encodePut(key, Buffer.from('vv')).toString('hex'), '0a016b12027676');
  assert.is(encodeGet(key).toString('hex'), '0a016b');
  assert.is(encodeScan(key, 5).toString('hex'), '0a016b1201001805');
  // success: RequestOp{request_put{key, value}}, twice
  assert.is(encodePuts([key, key], Buffer.from('v')).toString('hex'), '120812060a016b1201761208' + '12060a016b120176');
  // A length of two bytes.
  assert.is(encodePut(key, Buffer.alloc(300)).subarray(0, 6).toString('hex'), '0a016b12ac02');
});

test('answers are read past fields that nobody asked for', () => {
  // header{1}, kvs{key 'k', create_revision 2, mod_revision 3, version 4, value 'v'}, count 1
  const response = Buffer.from('0a02080112' + '0c' + '0a016b1002180320042a0176' + '2001', 'hex');
  assert.is(Buffer.from(decodeFirstValue(response) as Uint8Array).toString(), 'v');
  assert.is(countEntries(response), 1);
  assert.is(decodeFirstValue(Buffer.from('0a020801', 'hex')), undefined);
});
