/**
 * A lean gRPC client: unary calls over one HTTP/2 connection without TLS (RFC 9113, gRPC over HTTP/2).
 *
 * It exists because the load generator shares two cores with the servers. Node's own HTTP/2 costs about as much CPU
 * per call as etcd does, and would measure itself; here a call costs a few microseconds: requests of one turn of the
 * event loop leave in one write, repeated header fields are one byte each (HPACK dynamic table), answers are read
 * where they lie. Only what etcd needs is here; a message larger than the send window goes out in pieces.
 */

import { connect as connectSocket, type Socket } from 'node:net';

const FRAME_HEADER_BYTES = 9;
const MESSAGE_PREFIX_BYTES = 5;
const MAX_FRAME_BYTES = 16_384;
const DEFAULT_WINDOW_BYTES = 65_535;
/** Answers are taken as fast as they come, so the peer's windows are as wide as HTTP/2 allows in practice. */
const RECEIVE_WINDOW_BYTES = 1 << 30;
const WRITE_BUFFER_BYTES = 64 * 1024;
/** More than the header fields of a call take. */
const HEADERS_BYTES = 512;

const FRAME = { data: 0, headers: 1, resetStream: 3, settings: 4, ping: 6, goAway: 7, windowUpdate: 8 } as const;
const FLAG = { ack: 1, endStream: 1, endHeaders: 4, padded: 8 } as const;
const SETTING = { headerTableSize: 1, enablePush: 2, initialWindowSize: 4 } as const;

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
/** Entries of HPACK's static table, and where its dynamic table begins. */
const STATIC = { authority: 1, methodPost: 3, path: 4, schemeHttp: 6, contentType: 31 } as const;
const DYNAMIC_BASE = 62;

/** `grpc-status` as a literal name: plain, and in HPACK's Huffman code. */
const STATUS_NAMES = [Buffer.from('\x0bgrpc-status', 'latin1'), Buffer.from('889acac8b21234da8f', 'hex')];
const STATUS_TEXT: Readonly<Record<string, string>> = {
  '1': 'Cancelled',
  '2': 'Unknown',
  '3': 'InvalidArgument',
  '4': 'DeadlineExceeded',
  '5': 'NotFound',
  '8': 'ResourceExhausted',
  '9': 'FailedPrecondition',
  '11': 'OutOfRange',
  '12': 'Unimplemented',
  '13': 'Internal',
  '14': 'Unavailable',
};

/** A call that was refused or a connection that was lost; `code` is gRPC's name of the status. */
export class GrpcError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

interface Call {
  readonly resolve: (message: Buffer) => void;
  readonly reject: (error: Error) => void;
  /** The gRPC message with its prefix, as far as it has come. */
  received: Buffer | undefined;
}

interface Outgoing {
  readonly streamId: number;
  readonly message: Buffer;
  sentBytes: number;
  windowBytes: number;
}

export class GrpcConnection {
  private readonly socket: Socket;
  private readonly authority: string;
  private readonly calls = new Map<number, Call>();
  private nextStreamId = 1;
  /** Fields that the server's dynamic table holds, oldest first. */
  private readonly indexed: string[] = [];

  private out = Buffer.allocUnsafeSlow(WRITE_BUFFER_BYTES);
  private outBytes = 0;
  private flushScheduled = false;
  /** Messages that wait for window, the first perhaps half sent. */
  private readonly waiting: Outgoing[] = [];
  private sendWindowBytes = DEFAULT_WINDOW_BYTES;
  private initialStreamWindowBytes = DEFAULT_WINDOW_BYTES;

  private partial: Buffer | undefined;
  private unacknowledgedBytes = 0;
  private failure: GrpcError | undefined;

  private constructor(socket: Socket, authority: string) {
    this.socket = socket;
    this.authority = authority;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.onChunk(chunk));
    socket.on('error', (error) => this.fail(new GrpcError('Unavailable', error.message)));
    socket.on('close', () => this.fail(new GrpcError('Unavailable', 'the connection was closed')));
    this.append(PREFACE);
    this.appendSettings();
    this.appendWindowUpdate(RECEIVE_WINDOW_BYTES - DEFAULT_WINDOW_BYTES);
    this.flush();
  }

  static async connect(host: string, port: number): Promise<GrpcConnection> {
    const socket = connectSocket({ host, port, noDelay: true });
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve();
      });
    });
    return new GrpcConnection(socket, `${host}:${port}`);
  }

  /** Calls `path` with an encoded request and resolves with the encoded response. @throws GrpcError */
  unary(path: string, request: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.failure) return reject(this.failure);
      const streamId = this.nextStreamId;
      this.nextStreamId += 2;
      this.calls.set(streamId, { resolve, reject, received: undefined });
      this.appendHeaders(streamId, path);
      const outgoing = { streamId, message: request, sentBytes: 0, windowBytes: this.initialStreamWindowBytes };
      if (this.waiting.length > 0 || !this.appendMessage(outgoing)) this.waiting.push(outgoing);
      this.scheduleFlush();
    });
  }

  close(): void {
    this.fail(new GrpcError('Cancelled', 'the connection was closed by its user'));
  }

  // --- sending ------------------------------------------------------------------------------------------------------

  private appendHeaders(streamId: number, path: string): void {
    this.ensure(HEADERS_BYTES);
    const start = this.outBytes;
    this.outBytes = start + FRAME_HEADER_BYTES;
    this.out[this.outBytes++] = 0x80 | STATIC.methodPost;
    this.out[this.outBytes++] = 0x80 | STATIC.schemeHttp;
    this.appendField(STATIC.path, undefined, path);
    this.appendField(STATIC.authority, undefined, this.authority);
    this.appendField(STATIC.contentType, undefined, 'application/grpc');
    this.appendField(0, 'te', 'trailers');
    const length = this.outBytes - start - FRAME_HEADER_BYTES;
    this.outBytes = start;
    this.appendFrameHeader(length, FRAME.headers, FLAG.endHeaders, streamId);
    this.outBytes += length;
  }

  /** One header field: a byte that points into the dynamic table, or at first the literal that enters it. */
  private appendField(nameIndex: number, name: string | undefined, value: string): void {
    const position = this.indexed.indexOf(value);
    if (position >= 0) {
      this.out[this.outBytes++] = 0x80 | (DYNAMIC_BASE + this.indexed.length - 1 - position);
      return;
    }
    this.out[this.outBytes++] = 0x40 | nameIndex;
    if (name !== undefined) this.appendString(name);
    this.appendString(value);
    this.indexed.push(value);
  }

  private appendString(text: string): void {
    this.out[this.outBytes++] = text.length;
    this.outBytes += this.out.write(text, this.outBytes, 'latin1');
  }

  /** Writes as much of a message as the windows allow; true when all of it is out. */
  private appendMessage(outgoing: Outgoing): boolean {
    const { message, streamId } = outgoing;
    const totalBytes = message.length + MESSAGE_PREFIX_BYTES;
    while (outgoing.sentBytes < totalBytes) {
      const isFirst = outgoing.sentBytes === 0;
      const size = Math.min(
        totalBytes - outgoing.sentBytes,
        MAX_FRAME_BYTES,
        this.sendWindowBytes,
        outgoing.windowBytes,
      );
      if (size < (isFirst ? MESSAGE_PREFIX_BYTES : 1)) return false;
      const isLast = outgoing.sentBytes + size === totalBytes;
      this.ensure(FRAME_HEADER_BYTES + size);
      this.appendFrameHeader(size, FRAME.data, isLast ? FLAG.endStream : 0, streamId);
      if (isFirst) {
        this.out[this.outBytes] = 0;
        this.out.writeUInt32BE(message.length, this.outBytes + 1);
        this.outBytes += MESSAGE_PREFIX_BYTES;
      }
      const from = isFirst ? 0 : outgoing.sentBytes - MESSAGE_PREFIX_BYTES;
      const until = outgoing.sentBytes + size - MESSAGE_PREFIX_BYTES;
      this.outBytes += message.copy(this.out, this.outBytes, from, until);
      outgoing.sentBytes += size;
      outgoing.windowBytes -= size;
      this.sendWindowBytes -= size;
    }
    return true;
  }

  private sendWaiting(): void {
    let sent = 0;
    while (sent < this.waiting.length && this.appendMessage(this.waiting[sent] as Outgoing)) sent += 1;
    this.waiting.splice(0, sent);
    this.scheduleFlush();
  }

  private appendFrameHeader(length: number, type: number, flags: number, streamId: number): void {
    const at = this.outBytes;
    this.out[at] = length >>> 16;
    this.out[at + 1] = length >>> 8;
    this.out[at + 2] = length;
    this.out[at + 3] = type;
    this.out[at + 4] = flags;
    this.out.writeUInt32BE(streamId, at + 5);
    this.outBytes = at + FRAME_HEADER_BYTES;
  }

  private append(bytes: Buffer): void {
    this.ensure(bytes.length);
    this.outBytes += bytes.copy(this.out, this.outBytes);
  }

  private appendSettings(): void {
    // Without a dynamic table on the way back every answer's fields are literals, which is what lets this client find
    // the status of a failed call without a decoder of HPACK.
    const settings: readonly (readonly [number, number])[] = [
      [SETTING.headerTableSize, 0],
      [SETTING.enablePush, 0],
      [SETTING.initialWindowSize, RECEIVE_WINDOW_BYTES],
    ];
    this.ensure(FRAME_HEADER_BYTES + settings.length * 6);
    this.appendFrameHeader(settings.length * 6, FRAME.settings, 0, 0);
    for (const [name, value] of settings) {
      this.out.writeUInt16BE(name, this.outBytes);
      this.out.writeUInt32BE(value, this.outBytes + 2);
      this.outBytes += 6;
    }
  }

  private appendWindowUpdate(sizeBytes: number): void {
    this.ensure(FRAME_HEADER_BYTES + 4);
    this.appendFrameHeader(4, FRAME.windowUpdate, 0, 0);
    this.outBytes = this.out.writeUInt32BE(sizeBytes, this.outBytes);
  }

  /** Room for `sizeBytes` more; what is full goes to the socket, which keeps it until it is sent. */
  private ensure(sizeBytes: number): void {
    if (this.outBytes + sizeBytes <= this.out.length) return;
    this.flush();
    this.out = Buffer.allocUnsafeSlow(Math.max(WRITE_BUFFER_BYTES, sizeBytes));
  }

  /** Behind the answers of this turn, whose callers will ask again: their requests leave in one write. */
  private scheduleFlush(): void {
    if (this.flushScheduled) return;
    this.flushScheduled = true;
    setImmediate(() => {
      this.flushScheduled = false;
      this.flush();
    });
  }

  private flush(): void {
    if (this.outBytes === 0 || this.failure) return;
    this.socket.write(this.out.subarray(0, this.outBytes));
    this.out = this.out.subarray(this.outBytes);
    this.outBytes = 0;
  }

  // --- receiving ----------------------------------------------------------------------------------------------------

  private onChunk(chunk: Buffer): void {
    const bytes = this.partial === undefined ? chunk : Buffer.concat([this.partial, chunk]);
    let at = 0;
    while (bytes.length - at >= FRAME_HEADER_BYTES) {
      const length = bytes.readUIntBE(at, 3);
      const end = at + FRAME_HEADER_BYTES + length;
      if (end > bytes.length) break;
      const type = bytes[at + 3] as number;
      const flags = bytes[at + 4] as number;
      const streamId = bytes.readUInt32BE(at + 5) & 0x7fff_ffff;
      this.onFrame(type, flags, streamId, bytes.subarray(at + FRAME_HEADER_BYTES, end));
      at = end;
    }
    this.partial = at === bytes.length ? undefined : bytes.subarray(at);
  }

  private onFrame(type: number, flags: number, streamId: number, payload: Buffer): void {
    switch (type) {
      case FRAME.data:
        return this.onData(flags, streamId, payload);
      case FRAME.headers:
        if ((flags & FLAG.endStream) !== 0) this.onTrailers(streamId, payload);
        return;
      case FRAME.windowUpdate:
        return this.onWindowUpdate(streamId, payload.readUInt32BE(0));
      case FRAME.settings:
        if ((flags & FLAG.ack) === 0) this.onSettings(payload);
        return;
      case FRAME.ping:
        if ((flags & FLAG.ack) === 0) this.answerPing(payload);
        return;
      case FRAME.resetStream:
        return this.reject(
          streamId,
          new GrpcError('Unavailable', `the stream was reset, code ${payload.readUInt32BE(0)}`),
        );
      case FRAME.goAway:
        return this.fail(new GrpcError('Unavailable', 'the server said goodbye'));
    }
  }

  private onData(flags: number, streamId: number, payload: Buffer): void {
    this.unacknowledgedBytes += payload.length;
    if (this.unacknowledgedBytes > RECEIVE_WINDOW_BYTES / 4) {
      this.appendWindowUpdate(this.unacknowledgedBytes);
      this.unacknowledgedBytes = 0;
      this.scheduleFlush();
    }
    const call = this.calls.get(streamId);
    if (call === undefined) return;
    const data = (flags & FLAG.padded) === 0 ? payload : payload.subarray(1, payload.length - (payload[0] as number));
    call.received = call.received === undefined ? data : Buffer.concat([call.received, data]);
  }

  /** The end of a call. One that failed has sent no message; its trailers hold the status. */
  private onTrailers(streamId: number, block: Buffer): void {
    const call = this.calls.get(streamId);
    if (call === undefined) return;
    const { received } = call;
    if (received === undefined || received.length < MESSAGE_PREFIX_BYTES) {
      const status = statusOf(block);
      return this.reject(streamId, new GrpcError(STATUS_TEXT[status] ?? `Status${status}`, `gRPC status ${status}`));
    }
    this.calls.delete(streamId);
    call.resolve(received.subarray(MESSAGE_PREFIX_BYTES));
  }

  private onWindowUpdate(streamId: number, sizeBytes: number): void {
    if (streamId === 0) this.sendWindowBytes += sizeBytes;
    else for (const outgoing of this.waiting) if (outgoing.streamId === streamId) outgoing.windowBytes += sizeBytes;
    if (this.waiting.length > 0) this.sendWaiting();
  }

  private onSettings(payload: Buffer): void {
    for (let at = 0; at + 6 <= payload.length; at += 6) {
      if (payload.readUInt16BE(at) !== SETTING.initialWindowSize) continue;
      const sizeBytes = payload.readUInt32BE(at + 2);
      for (const outgoing of this.waiting) outgoing.windowBytes += sizeBytes - this.initialStreamWindowBytes;
      this.initialStreamWindowBytes = sizeBytes;
    }
    this.ensure(FRAME_HEADER_BYTES);
    this.appendFrameHeader(0, FRAME.settings, FLAG.ack, 0);
    this.sendWaiting();
  }

  private answerPing(payload: Buffer): void {
    this.ensure(FRAME_HEADER_BYTES + payload.length);
    this.appendFrameHeader(payload.length, FRAME.ping, FLAG.ack, 0);
    this.append(payload);
    this.scheduleFlush();
  }

  private reject(streamId: number, error: GrpcError): void {
    const call = this.calls.get(streamId);
    this.calls.delete(streamId);
    const waiting = this.waiting.findIndex((outgoing) => outgoing.streamId === streamId);
    if (waiting >= 0) this.waiting.splice(waiting, 1);
    call?.reject(error);
  }

  private fail(error: GrpcError): void {
    if (this.failure) return;
    this.failure = error;
    this.socket.destroy();
    for (const call of this.calls.values()) call.reject(error);
    this.calls.clear();
    this.waiting.length = 0;
  }
}

/** The gRPC status in a block of literal header fields; '?' where it is not found. */
function statusOf(block: Buffer): string {
  for (const name of STATUS_NAMES) {
    const at = block.indexOf(name);
    if (at < 0) continue;
    const value = at + name.length;
    const length = block[value] as number;
    // Digits are never shorter in Huffman's code, so the value is plain.
    if (length < 3) return block.toString('latin1', value + 1, value + 1 + length);
  }
  return '?';
}
