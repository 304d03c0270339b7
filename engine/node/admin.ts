/** The questions that a node answers over NATS: `routes` (any node), `status` and `region` (every node). */

import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import { toWireError } from '../../rpc/wire/error-codec.ts';
import { ClusterMismatch, InvalidArgument, MalformedRequest, asMraftError } from '../../rpc/wire/errors.ts';
import type { Link } from '../../rpc/nats/index.ts';
import { QUEUE_GROUP, subjects } from '../../rpc/wire/subjects.ts';
import type { ReplicaStatus } from '../region/replica.ts';

export interface AdminAnswers {
  readonly cluster: string;
  readonly nodeId: number;
  /** A page of the routes, from the region that holds the key on. */
  routes(fromKey: Uint8Array): mraft.IRoutesResponse;
  status(): Promise<object>;
  /** Undefined: no replica of it here. */
  region(regionId: number): Promise<ReplicaStatus | undefined>;
}

/** Subscribes to the questions. Whatever is sent there, it is answered or dropped, and nothing is thrown. */
export function serveAdmin(link: Link, answers: AdminAnswers): void {
  const { cluster, nodeId } = answers;
  link.subscribe(
    subjects.admin(cluster, 'routes'),
    (data, _subject, replyTo) => {
      if (replyTo !== undefined) link.publish(replyTo, answerRoutes(answers, data));
    },
    { queue: QUEUE_GROUP },
  );
  answerInJson(link, nodeId, subjects.admin(cluster, 'status'), () => answers.status());
  answerInJson(link, nodeId, subjects.admin(cluster, 'region'), async (question) => {
    const status = await answers.region(parseRegionId(question));
    return status && regionJson(status);
  });
}

function parseRegionId(question: string): number {
  let asked: unknown;
  try {
    asked = JSON.parse(question);
  } catch (cause) {
    throw new MalformedRequest(`the question is no JSON: ${(cause as Error).message}`, { cause });
  }
  const regionId = (asked as { regionId?: unknown } | null)?.regionId;
  if (Number.isSafeInteger(regionId)) return regionId as number;
  throw new InvalidArgument('regionId must be a whole number, as in {"regionId": 2}', { field: 'regionId' });
}

function answerRoutes(answers: AdminAnswers, question: Uint8Array): Uint8Array {
  try {
    const { cluster, fromKey } = decode(mraft.RoutesRequest, question);
    if (cluster !== answers.cluster) {
      throw new ClusterMismatch(`this is cluster ${answers.cluster}, the request is for another`, { field: 'cluster' });
    }
    return encode(mraft.RoutesResponse, answers.routes(fromKey));
  } catch (error) {
    return encode(mraft.RoutesResponse, { error: toWireError(error) });
  }
}

/** An `answer` of undefined is none: this node has nothing to say. A failure names the node: many may answer. */
function answerInJson(
  link: Link,
  nodeId: number,
  subject: string,
  answer: (question: string) => Promise<unknown>,
): void {
  link.subscribe(subject, (data, _subject, replyTo) => {
    if (replyTo === undefined) return;
    const reply = (body: unknown): void => {
      if (body !== undefined) link.publish(replyTo, Buffer.from(JSON.stringify(body)));
    };
    Promise.resolve()
      .then(() => answer(Buffer.from(data).toString()))
      .then(reply, (thrown: unknown) => {
        const { code, message, retryable } = asMraftError(thrown);
        reply({ nodeId, error: { code, message, retryable } });
      });
  });
}

/** Keys in base64: they are bytes. */
function regionJson({ region, ...rest }: ReplicaStatus): object {
  const base64 = (key: Uint8Array): string => Buffer.from(key).toString('base64');
  return { ...rest, region: { ...region, startKey: base64(region.startKey), endKey: base64(region.endKey) } };
}
